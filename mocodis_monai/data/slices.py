"""Two-dimensional slices of NIfTI volumes, in the orientation closest to RAS, never resampled."""

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from nibabel.orientations import apply_orientation, io_orientation

from mocodis_monai.data.nifti import read_volume

CACHED_VOLUMES = 4


class CanonicalVolume(NamedTuple):
    """A volume reoriented by flips and transposes alone.

    Attributes:
        data: shape ``(x, y, z)`` float32, read-only; x grows to the right, y to the front, z upwards.
        spacing_mm: voxel size along x, y and z.
    """

    data: np.ndarray
    spacing_mm: tuple[float, float, float]


class Slice(NamedTuple):
    """One slice: ``image`` (H, W) float32, its pixel size along H and W, and its thickness."""

    image: np.ndarray
    spacing_mm: tuple[float, float]
    thickness_mm: float


def read_canonical(path: str | Path) -> CanonicalVolume:
    """Read a volume once per process (the last 4 are kept).

    Raises:
        InputError: the file is unfit, see ``read_volume``.
    """
    return _read_canonical(str(path))


@lru_cache(maxsize=CACHED_VOLUMES)
def _read_canonical(path: str) -> CanonicalVolume:
    volume = read_volume(path)
    orientation = io_orientation(volume.affine)
    data = np.ascontiguousarray(apply_orientation(volume.data, orientation), dtype=np.float32)
    data.flags.writeable = False
    spacing_mm = np.empty(3)
    spacing_mm[orientation[:, 0].astype(int)] = volume.spacing_mm
    x, y, z = spacing_mm.tolist()
    return CanonicalVolume(data, (x, y, z))


def read_slice(path: str | Path, axis: int, index: int) -> Slice:
    """Cut slice ``index`` across ``axis`` (0 sagittal, 1 coronal, 2 axial); the other axes keep their order.

    Raises:
        ValueError: the axis or the index is out of range.
        InputError: the file is unfit.
    """
    if axis not in (0, 1, 2):
        raise ValueError(f"axis is {axis}; allowed are 0 (sagittal), 1 (coronal) and 2 (axial).")
    volume = read_canonical(path)
    count = volume.data.shape[axis]
    if not 0 <= index < count:
        raise ValueError(f"index is {index}; {path} has slices 0 to {count - 1} across axis {axis}.")
    rows, columns = (k for k in range(3) if k != axis)
    spacing_mm = (volume.spacing_mm[rows], volume.spacing_mm[columns])
    return Slice(np.take(volume.data, index, axis), spacing_mm, volume.spacing_mm[axis])
