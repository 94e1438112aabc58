"""Cases of real motion from a manifest: pairs of a moved and a still scan, and moved scans alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from nibabel.orientations import aff2axcodes

from mocodis_monai.data.nifti import read_volume
from mocodis_monai.errors import InputError
from mocodis_monai.evaluation.cases import Case, Cell
from mocodis_monai.evaluation.registration import registered_to
from mocodis_monai.inferers import thickest_axis

__all__ = ["RealScan", "cells_of_scans", "read_scans"]

MOVED, STILL = "moved", "still"


class RealScan(NamedTuple):
    """A scan of a patient who moved, and one of the same subject lying still; None where there is none."""

    region: str
    subject: str
    moved: Path
    still: Path | None


def read_scans(manifest: str | Path) -> list[RealScan]:
    """The moved scans of a manifest (format: data_manifests/README.md), each with its subject's still scan.

    Raises:
        InputError: the manifest cannot be read, is for training, names a file that is missing or has another sha256,
            names no moved scan, or names several still scans of one subject.
    """
    path = Path(manifest)
    content = _read_json(path)
    root = path.parent / str(content.get("root", "."))
    moved: list[tuple[str, Path]] = []
    still: dict[str, Path] = {}
    for number, entry in enumerate(content["files"]):
        kind, subject, file = _checked(path, root, number, {**content, **entry})
        if kind == MOVED:
            moved.append((subject, file))
        elif still.setdefault(subject, file) != file:
            raise InputError(f"{path}: subject {subject} has two still scans. Keep one, or name it as another subject.")
    if not moved:
        raise InputError(
            f"{path}: no file with content {MOVED!r}; evaluation wants scans with motion. See data_manifests/README.md."
        )
    region = str(content.get("region") or content.get("name") or path.stem)
    return [RealScan(region, subject, file, still.get(subject)) for subject, file in moved]


def cells_of_scans(scans: list[RealScan]) -> Iterator[tuple[Cell, Iterator[Case]]]:
    """A cell of the pairs of each region, and one of its moved scans alone; volumes are read when asked for."""
    for region in dict.fromkeys(scan.region for scan in scans):
        for severity, paired in (("pairs", True), ("moved alone", False)):
            found = [scan for scan in scans if scan.region == region and (scan.still is not None) == paired]
            if found:
                cell = Cell(region, "real", severity, "subject")
                yield cell, (_case(cell, scan) for scan in found)


def _case(cell: Cell, scan: RealScan) -> Case:
    volume = read_volume(scan.moved)
    target = None
    if scan.still is not None:
        target = torch.from_numpy(registered_to(volume, read_volume(scan.still)))
    return Case(
        cell=cell,
        subject=scan.subject,
        name=f"{scan.subject} {scan.moved.name}",
        moved=torch.from_numpy(volume.data),
        target=target,
        spacing_mm=volume.spacing_mm,
        slice_axis=thickest_axis(volume.spacing_mm),
        displacement_mm=float("nan"),
        motion={},
        orientation="".join(aff2axcodes(volume.affine)),
    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not JSON"
        raise InputError(f"{path}: this manifest cannot be read ({reason}). See data_manifests/README.md.") from error
    if not isinstance(content, dict) or not isinstance(content.get("files"), list):
        raise InputError(f"{path}: a manifest is an object with a list `files`. See data_manifests/README.md.")
    return content


def _checked(manifest: Path, root: Path, number: int, entry: dict[str, Any]) -> tuple[str, str, Path]:
    """Content, subject and path of a file, whose entry is filled up with what the manifest says of all files."""
    missing = [key for key in ("content", "subject", "split", "path") if not entry.get(key)]
    if missing:
        raise InputError(f"{manifest}: files[{number}] has no {missing}, nor has the manifest. Add it.")
    if entry["split"] == "train":
        raise InputError(f"{manifest}: files[{number}] is of the split train; evaluation wants validation or test.")
    if entry["content"] not in (MOVED, STILL):
        raise InputError(
            f"{manifest}: files[{number}] has content {entry['content']!r}; allowed are {MOVED!r} and {STILL!r}."
        )
    file = root / entry["path"]
    if not file.is_file():
        raise InputError(f"{file}: no such file, but {manifest} names it. Mend `root` or `path`.")
    if "sha256" in entry and hashlib.sha256(file.read_bytes()).hexdigest() != entry["sha256"]:
        raise InputError(f"{file}: its sha256 is not the one in {manifest}. Get the file again.")
    return str(entry["content"]), str(entry["subject"]), file
