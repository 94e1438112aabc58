"""Manifests: which scans there are, of whom, and on which side of the split. Format: ``data_manifests/README.md``."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from mocodis_monai.data.files import sha256_of
from mocodis_monai.errors import InputError

__all__ = ["CONTENTS", "SPLITS", "Manifest", "ManifestEntry", "check_files", "read_manifest", "unpaired", "volumes_of"]

TRAIN, VALIDATION, TEST = SPLITS = ("train", "validation", "test")
MOVED, STILL = CONTENTS = ("moved", "still")
FORMAT = "See data_manifests/README.md."


class ManifestEntry(NamedTuple):
    """A file of a manifest.

    Attributes:
        subject: who was scanned; a subject is in one split only.
        split: one of :data:`SPLITS`.
        content: "moved" or "still".
        path: the file; not looked at until :func:`check_files`.
        session, contrast: a moved scan is paired with a still one of the same subject where these are equal; may be
            empty.
        sha256: of the file, None where the manifest does not give it.
        name: the path as the manifest writes it, which is the same wherever the files lie.
    """

    subject: str
    split: str
    content: str
    path: Path
    session: str = ""
    contrast: str = ""
    sha256: str | None = None
    name: str = ""


class Manifest(NamedTuple):
    """What a manifest says: its file, the part of the body (or its name where it gives none), and its scans."""

    path: Path
    region: str
    scans: list[ManifestEntry]


def read_manifest(path: str | Path) -> Manifest:
    """Read and check a manifest; the files that it names are not looked at.

    Raises:
        InputError: it cannot be read, an entry lacks something, holds what is not allowed or stands there twice, the
            region holds a vertical bar, a subject, a file or a sha256 is in two splits, or a file or a
            sha256 is of two subjects.
    """
    path = Path(path)
    content = _read_json(path)
    root = path.parent / _text(path, "the manifest", content, "root", ".")
    scans = [_scan(path, root, number, {**content, **entry}) for number, entry in enumerate(content["files"])]
    check_sides(path, scans)
    # A still scan may serve two sessions.
    files = [Path(os.path.realpath(scan.path)) for scan in scans]  # one may be spelled in several ways
    keys = [
        (scan.subject, file) if scan.content == MOVED else scan._replace(path=file, name="")
        for scan, file in zip(scans, files, strict=True)
    ]
    count = Counter(keys)
    twice = next((scan for scan, key in zip(scans, keys, strict=True) if count[key] > 1), None)
    if twice is not None:
        raise InputError(f"{path}: {twice.name} stands there twice for subject {twice.subject}. Remove one.")
    region = str(content.get("region") or content.get("name") or path.stem)
    if "|" in region:
        raise InputError(f"{path}: {region!r} is the region (or else the name); | is kept for tables. Leave it out.")
    return Manifest(path, region, scans)


def check_sides(path: Path, scans: Sequence[ManifestEntry]) -> None:
    """Refuse what would let a network see in training what it is tested on, or count one scan as two people.

    Raises:
        InputError: a subject, a file or the content of a file is in two splits, or one of the latter two is of two
            subjects. A file is the same through a link and however its path is written.
    """
    first: dict[tuple[str, str], ManifestEntry] = {}
    for scan in scans:
        keys = {"subject": scan.subject, "file": os.path.realpath(scan.path), "sha256": scan.sha256}
        for what, value in keys.items():
            other = first.setdefault((what, value), scan) if value else scan
            if other.split != scan.split:
                raise InputError(
                    f"{path}: {_shared(what, other, scan)} in the splits {other.split} and {scan.split}. A subject may "
                    "be in one only: correct `split`, or remove one of them."
                )
            if what != "subject" and other.subject != scan.subject:
                raise InputError(
                    f"{path}: {_shared(what, other, scan)} of the two subjects {other.subject} and {scan.subject} in "
                    f"the split {scan.split}. A scan may be of one only: correct `subject`, or remove one of them."
                )


def _shared(what: str, other: ManifestEntry, scan: ManifestEntry) -> str:
    """What two entries share that may be on one side only, in words."""
    return {
        "subject": f"subject {scan.subject} is",
        "file": f"the file {scan.path.name}{_also(other, scan)} is",
        "sha256": f"{other.path.name} of {other.subject} and {scan.path.name} of {scan.subject} hold the same, and are",
    }[what]


def _also(other: ManifestEntry, scan: ManifestEntry) -> str:
    return "" if other.name == scan.name else f" (written {other.name} and {scan.name})"


def unpaired(scans: Sequence[ManifestEntry]) -> list[str]:
    """A line for each still scan of the split "test" whose subject moved in others, none of which it is paired with.

    Nobody measures such a scan: still scans get simulated motion only where a subject has no moved one.
    """
    tested = [scan for scan in scans if scan.split == TEST]
    lines = []
    for still in (scan for scan in tested if scan.content == STILL):
        moved = [scan for scan in tested if scan.content == MOVED and scan.subject == still.subject]
        differing = [f"{scan.name} in {_difference(still, scan)}" for scan in moved]
        if moved and all(map(partial(_difference, still), moved)):
            lines.append(
                f"subject {still.subject}: {still.name} is not measured; it differs from {', from '.join(differing)}. "
                "Make these equal in the manifest where the scans are a pair."
            )
    return lines


def _difference(still: ManifestEntry, moved: ManifestEntry) -> str:
    """What keeps a still and a moved scan from being a pair, in words; empty for a pair."""
    names = [name for name in ("session", "contrast") if getattr(still, name) != getattr(moved, name)]
    return " and ".join(f"{name} ({getattr(still, name)!r}, {getattr(moved, name)!r})" for name in names)


def check_files(manifest: Manifest, scans: Sequence[ManifestEntry], progress: bool = False) -> None:
    """Make sure that the files of ``scans`` are there and are those of the manifest.

    Raises:
        InputError: a file is missing or has another sha256.
    """
    for scan in tqdm(scans, desc="checking files", unit="file", disable=not progress):
        if not scan.path.is_file():
            raise InputError(f"{scan.path}: no such file, but {manifest.path} names it. Mend `root` or `path`.")
        if scan.sha256 is not None and sha256_of([scan.path]) != scan.sha256:
            raise InputError(
                f"{scan.path}: its sha256 is not the one in {manifest.path}. Get the file again, or build the "
                "manifest again."
            )


def volumes_of(manifest: str | Path, split: str, progress: bool = True) -> list[str]:
    """Paths of the still scans of a split, checked, each once: what a training draws its planes from.

    They are absolute and the same from whichever folder the manifest is named.

    Raises:
        InputError: the manifest is unfit (see :func:`read_manifest`, :func:`check_files`) or has no such scan.
    """
    read = read_manifest(manifest)
    scans = [scan for scan in read.scans if (scan.split, scan.content) == (split, STILL)]
    if not scans:
        raise InputError(
            f"{read.path}: no still scan of the split {split}. Build the manifest from more subjects, or with a larger "
            "share of them in that split."
        )
    check_files(read, scans, progress)
    # The folder's links are followed, so that ".." is right behind one; the file's own are not: its name counts.
    found = {os.path.realpath(scan.path): Path(os.path.realpath(scan.path.parent), scan.path.name) for scan in scans}
    return list(map(str, found.values()))


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not JSON"
        raise InputError(f"{path}: this manifest cannot be read ({reason}). {FORMAT}") from error
    if not isinstance(content, dict) or not isinstance(content.get("files"), list):
        raise InputError(f"{path}: a manifest is an object with a list `files`. {FORMAT}")
    for number, entry in enumerate(content["files"]):
        if not isinstance(entry, dict):
            raise InputError(f"{path}: files[{number}] is no object. {FORMAT}")
    return content


def _scan(manifest: Path, root: Path, number: int, entry: dict[str, Any]) -> ManifestEntry:
    """A file, whose entry is filled up with what the manifest says of all files."""
    missing = [key for key in ("content", "subject", "split", "path") if not entry.get(key)]
    if missing:
        raise InputError(f"{manifest}: files[{number}] has no {missing}, nor has the manifest. Add it.")
    for key, allowed in (("split", SPLITS), ("content", CONTENTS)):
        if entry[key] not in allowed:
            raise InputError(f"{manifest}: files[{number}] has {key} {entry[key]!r}; allowed are {_listed(allowed)}.")
    where = f"files[{number}]"
    name = _text(manifest, where, entry, "path")
    sha256 = None if entry.get("sha256") is None else _text(manifest, where, entry, "sha256")
    texts = {key: _text(manifest, where, entry, key) for key in ("subject", "split", "content", "session", "contrast")}
    return ManifestEntry(**texts, path=root / name, sha256=sha256, name=name)


def _text(manifest: Path, where: str, entry: dict[str, Any], key: str, default: str = "") -> str:
    """A name or path of the manifest; a number, such as that of a subject, is taken as text."""
    value = entry.get(key)
    value = default if value is None else value
    if isinstance(value, bool) or not isinstance(value, str | int | float) or "\0" in str(value):
        raise InputError(f"{manifest}: {where} has {key} {value!r}; a text is wanted. {FORMAT}")
    return str(value)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))
