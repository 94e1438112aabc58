"""Cases of real motion from a manifest: pairs of a moved and a still scan, and moved scans alone."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from nibabel.orientations import aff2axcodes

from mocodis_monai.data.manifest import FORMAT, MOVED, STILL, TEST, ManifestEntry, check_files, read_manifest, unpaired
from mocodis_monai.data.nifti import read_geometry, read_volume
from mocodis_monai.errors import InputError
from mocodis_monai.evaluation.cases import MOVED_ALONE, PAIRS, REAL, Case, Cell
from mocodis_monai.evaluation.registration import check_registrable, registered_to
from mocodis_monai.evaluation.still_scans import StillScan, check_slices
from mocodis_monai.inferers import choose_slice_axis

__all__ = ["ManifestScans", "RealScan", "cells_of_scans", "check_sizes", "name_of", "read_scans"]

_logger = logging.getLogger(__name__)


class RealScan(NamedTuple):
    """A scan of a patient who moved, and one of the same subject lying still; None where there is none.

    ``name`` tells the moved scan from all others, wherever the files lie.
    """

    region: str
    subject: str
    moved: Path
    still: Path | None
    name: str


class ManifestScans(NamedTuple):
    """What a manifest gives to an evaluation.

    Attributes:
        real: moved scans, with their still ones.
        still: still scans of subjects without a moved one, which get simulated motion.
    """

    real: list[RealScan]
    still: list[StillScan]


def read_scans(manifest: str | Path, progress: bool = False) -> ManifestScans:
    """The scans of the split "test" of a manifest (format: data_manifests/README.md).

    A moved scan is paired with the still scan of the same subject, session and contrast. A still scan that is left over
    is named in a warning.

    Raises:
        InputError: the manifest is unfit (:func:`mocodis_monai.data.manifest.read_manifest`), has no scan in the split
            "test", names a file that is missing or has another sha256, or several still scans for one moved scan.
    """
    read = read_manifest(manifest)
    scans = [scan for scan in read.scans if scan.split == TEST]
    if not scans:
        raise InputError(f"{read.path}: no file of the split {TEST!r}; only these are evaluated. {FORMAT}")
    check_files(read, scans, progress)
    for line in unpaired(scans):
        _logger.warning("%s: %s", read.path, line)
    moved = [scan for scan in scans if scan.content == MOVED]
    still = [scan for scan in scans if scan.content == STILL]
    real = [
        RealScan(read.region, scan.subject, scan.path, _partner(read.path, scan, still), scan.name) for scan in moved
    ]
    paired = {scan.subject for scan in moved}
    alone = [StillScan(read.region, scan.subject, scan.path, scan.name) for scan in still if scan.subject not in paired]
    return ManifestScans(list(dict.fromkeys(real)), list(dict.fromkeys(alone)))


def check_sizes(scans: list[RealScan]) -> None:
    """Refuse, before the work, pairs that cannot be registered or for which SSIM is not defined.

    Raises:
        InputError: a scan has too few slices, or slices smaller than the window of SSIM; or its header cannot be read.
    """
    for scan in scans:
        if scan.still is None:
            continue  # nothing to register, and SSIM is not asked for
        for path in (scan.moved, scan.still):
            check_registrable(path, read_geometry(path).shape)
        geometry = read_geometry(scan.moved)
        check_slices(scan.moved, geometry.shape, choose_slice_axis(*geometry))


def _partner(manifest: Path, moved: ManifestEntry, still: list[ManifestEntry]) -> Path | None:
    def same(scan: ManifestEntry) -> tuple[str, str, str]:
        return scan.subject, scan.session, scan.contrast

    found = sorted({scan.path for scan in still if same(scan) == same(moved)})
    if len(found) > 1:
        raise InputError(
            f"{manifest}: subject {moved.subject} has two still scans, {found[0].name} and {found[1].name}, for "
            f"{moved.path.name}. Keep one, or tell them apart by `session` or `contrast`."
        )
    return found[0] if found else None


def cells_of_scans(scans: list[RealScan]) -> Iterator[tuple[Cell, Iterator[Case]]]:
    """A cell of the pairs of each region, and one of its moved scans alone; volumes are read when asked for.

    A pair that cannot be registered is left out with a warning: the others are worth their evaluation.
    """
    for region in dict.fromkeys(scan.region for scan in scans):
        for severity, paired in ((PAIRS, True), (MOVED_ALONE, False)):
            found = [scan for scan in scans if scan.region == region and (scan.still is not None) == paired]
            if found:
                cell = Cell(region, REAL, severity, "subject")
                yield cell, _cases(cell, found)


def name_of(scan: RealScan) -> str:
    """What the case of ``scan`` is called."""
    return f"{scan.subject} {scan.name}"


def _cases(cell: Cell, scans: list[RealScan]) -> Iterator[Case]:
    for scan in scans:
        try:
            case = _case(cell, scan)
        except InputError as error:
            _logger.warning("left out: %s", error)
        else:
            yield case


def _case(cell: Cell, scan: RealScan) -> Case:
    volume = read_volume(scan.moved)
    registered = None if scan.still is None else registered_to(volume, read_volume(scan.still))
    return Case(
        cell=cell,
        subject=scan.subject,
        name=name_of(scan),
        moved=torch.from_numpy(volume.data),
        target=None if registered is None else torch.from_numpy(registered.data),
        spacing_mm=volume.spacing_mm,
        slice_axis=choose_slice_axis(volume.data.shape, volume.spacing_mm, volume.phase_encode_axis),
        displacement_mm=float("nan"),
        motion={},
        orientation="".join(aff2axcodes(volume.affine)),
        alignment=None if registered is None else registered.alignment,
    )
