"""A head at two poses, on two grids: what a scanner would give of a patient who lies down twice."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

AFFINE = np.array([[0, -3.0, 0, 60], [2.5, 0, 0, -70], [0, 0, 3.0, -50], [0, 0, 0, 1]])
SHAPE = (56, 44, 36)
TURNED = Rotation.from_euler("zx", (5, -3), degrees=True)
CARRIED_MM = (4.0, -3.0, 2.0)


def head(world_mm: np.ndarray) -> np.ndarray:
    """A lopsided ellipsoid with an inner structure at positions (3, ...) in mm: no two poses look alike."""
    x, y, z = world_mm
    inside = (x / 45) ** 2 + (y / 60) ** 2 + ((z - 0.1 * y) / 42) ** 2 < 1
    return inside * (300 + 120 * np.sin(x / 9) * np.cos(y / 11 + 1) + 90 * np.sin(z / 8 + x / 25))


def positions(affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"))
    return np.einsum("ij,jxyz->ixyz", affine[:3, :3], index) + affine[:3, 3].reshape(3, 1, 1, 1)


def write(path: Path, data: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    nib.save(nib.Nifti1Image(gaussian_filter(data, 0.7).astype(np.float32), affine), path)
    return path
