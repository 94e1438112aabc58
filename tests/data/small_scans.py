"""Small volumes on disk, each with content of its own."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np


def scan(path: Path, seed: int | None = None) -> Path:
    """A small volume, another one for each name unless a seed is given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(list(path.name.encode()) if seed is None else seed)
    nib.save(nib.Nifti1Image(rng.random((4, 5, 3), np.float32), np.eye(4)), path)
    return path


def scans(folder: Path, *names: str) -> Path:
    """A folder with a volume of each name."""
    for name in names:
        scan(folder / f"{name}.nii.gz")
    return folder
