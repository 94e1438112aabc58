"""What the Brain Imaging Data Structure (BIDS) says of a file by its name and place."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from mocodis_monai.data.files import stem

__all__ = ["SUFFIXES", "folders_beside", "is_scan_name", "other_suffix"]

# Weighted images of BIDS 1.10, which all are magnitude; maps, masks and files of several echoes are none.
SUFFIXES = ("T1w", "T2w", "PDw", "T2starw", "FLAIR", "PDT2", "inplaneT1", "inplaneT2", "angio")
_NO_MAGNITUDE = re.compile(r"_(part-(?:phase|real|imag))(?:_|$)")
_BESIDE = ("derivatives", "sourcedata")


def is_scan_name(path: Path) -> bool:
    """Whether a file has the name of a weighted magnitude image, such as ``sub-01_T1w.nii.gz``."""
    name = stem(path)
    return name.rpartition("_")[2] in SUFFIXES and not _NO_MAGNITUDE.search(name)


def other_suffix(path: Path) -> str:
    """What a file in the folder of its subject is by its name, ``dseg``, say; empty for a scan and for other names."""
    name = stem(path)
    subject = name.split("_")[0]
    if not subject.startswith("sub-") or subject not in Path(os.path.abspath(path)).parts[:-1] or is_scan_name(path):
        return ""
    part = _NO_MAGNITUDE.search(name)
    return part.group(1) if part else name.rpartition("_")[2]


def folders_beside(folders: Iterable[Path]) -> set[Path]:
    """Those of the folders of a tree that lie beside its subjects and hold what was made from their scans, or before.

    Args:
        folders: of the tree, at all depths.
    """
    folders = list(folders)
    roots = {folder.parent for folder in folders if folder.name.startswith("sub-")}
    return {folder for folder in folders if folder.name in _BESIDE and folder.parent in roots}
