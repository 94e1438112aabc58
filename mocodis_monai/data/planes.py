"""Random planes through a volume: many anatomies from one head.

A plane is turned, zoomed, mirrored and smoothly warped, so that two planes of one volume hardly share a shape. It is
sampled with cubic B-splines: nothing is lost beyond what the zoom takes.
"""

from functools import lru_cache
from pathlib import Path

import numpy as np
from scipy.ndimage import map_coordinates, spline_filter, zoom
from scipy.spatial.transform import Rotation

from mocodis_monai.data.intensity import SCALE_FLOOR, foreground_scale
from mocodis_monai.data.slices import read_canonical
from mocodis_monai.errors import InputError

MAX_TILT_DEG = 25.0
"""Standard deviation of the tilt away from the sagittal, coronal or axial plane is half of this."""
ZOOM = (0.8, 1.25)
WARP_SHARE = 0.035
"""Standard deviation of the warp's displacement as a share of the plane's size: about 6 pixels of 160."""
WARP_KNOTS = (3, 7)
THICK = 2.5
"""Volumes whose voxels are longer than wide by this factor or more give their own slices: others would be blurred."""
FIELD_PX = 256
"""Wider fields are sampled coarser, as if they had so many pixels: a small plane would show no more than a corner."""
MIN_FOREGROUND = 0.15
_TRIES = 20


@lru_cache(maxsize=2)
def _coefficients(path: str) -> np.ndarray:
    """Cubic B-spline coefficients of a volume on the grid of its canonical orientation, (x, y, z) float32."""
    return spline_filter(read_canonical(path).data, order=3, output=np.float32)


def random_plane(
    path: str | Path, seed: int, size: tuple[int, int], min_foreground: float = MIN_FOREGROUND
) -> np.ndarray:
    """A random plane through the volume at ``path``, (H, W) float32 in the volume's unit, not negative.

    The pixel is 1 / zoom times the volume's smallest voxel size, or more where the volume is more than 256 voxels wide
    (:data:`FIELD_PX`). What lies outside the volume is zero. Planes with little foreground are drawn again.

    Args:
        path: a NIfTI volume.
        seed: the plane; the same arguments give the same plane.
        size: rows and columns.
        min_foreground: share of the plane above 5 % of the volume's ``foreground_scale``, at least.

    Raises:
        InputError: the file is unfit, or its object too small for planes of this size.
    """
    volume = read_canonical(path)
    rng = np.random.default_rng((20, seed))
    threshold = SCALE_FLOOR * _scale(str(path))
    for _ in range(_TRIES):
        points = _draw_points(volume.data.shape, volume.spacing_mm, size, rng)
        plane = map_coordinates(_coefficients(str(path)), points, order=3, prefilter=False, cval=0.0)
        plane = np.maximum(plane, 0, dtype=np.float32)
        if (plane > threshold).mean() >= min_foreground:
            return plane
    raise InputError(
        f"{path}: {_TRIES} random planes of {size[0]} x {size[1]} pixels had under {min_foreground:.0%} foreground. "
        f"{_what_to_do(size)}"
    )


def _what_to_do(size: tuple[int, int]) -> str:
    smaller = min(96, (min(size) - 1) // 16 * 16)  # training wants multiples of 16
    asked = f"Ask for smaller ones (--image_size {smaller}, say), or leave" if smaller > 0 else "Leave"
    return f"{asked} the scan out."


@lru_cache(maxsize=8)
def _scale(path: str) -> float:
    return foreground_scale(read_canonical(path).data)


def _draw_points(
    shape: tuple[int, ...], spacing_mm: tuple[float, float, float], size: tuple[int, int], rng: np.random.Generator
) -> np.ndarray:
    """Voxel coordinates (3, H, W) of a random plane's pixels."""
    across, thick = int(rng.integers(3)), max(spacing_mm) >= THICK * min(spacing_mm)
    if thick:
        across = spacing_mm.index(max(spacing_mm))
    rows, columns = (axis for axis in range(3) if axis != across)
    tilt = Rotation.from_rotvec(np.deg2rad(rng.normal(0, 0 if thick else MAX_TILT_DEG / 2, 3)))
    axes = tilt.apply(np.eye(3))
    coarser = max(1, shape[rows] / FIELD_PX, shape[columns] / FIELD_PX)
    pixel_mm = coarser * min(spacing_mm) / np.exp(rng.uniform(*np.log(ZOOM)))
    grid = np.stack(np.meshgrid(*(np.arange(count) - (count - 1) / 2 for count in size), indexing="ij"))
    grid = grid * rng.choice([-1, 1], 2)[:, None, None] + _warp(size, rng)
    extent_mm = np.array(shape) * spacing_mm
    centre_mm = extent_mm * (0.5 + rng.uniform(-0.08, 0.08, 3))
    centre_mm[across] = extent_mm[across] * rng.uniform(0.08, 0.92)
    flat = (grid * pixel_mm).reshape(2, -1)
    points_mm = centre_mm[:, None] + axes[rows][:, None] * flat[0] + axes[columns][:, None] * flat[1]
    points = points_mm / np.array(spacing_mm)[:, None] - 0.5
    if thick:
        points[across] = points[across].round()  # a slice, not a mixture of two
    return points.reshape(3, *size)


def _warp(size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """A smooth displacement field in pixels, (2, H, W), small against its own wavelength so that nothing folds."""
    knots = int(rng.integers(WARP_KNOTS[0], WARP_KNOTS[1] + 1))
    strength = rng.uniform(0, WARP_SHARE) * max(size) * WARP_KNOTS[0] / knots
    coarse = rng.normal(0, strength, (2, knots, knots))
    return np.stack([zoom(field, [count / knots for count in size], order=3) for field in coarse])
