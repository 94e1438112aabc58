"""How pictures are turned: superior or anterior up, the patient's right on the left, as a radiologist looks at them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import nibabel as nib
import numpy as np

__all__ = ["CANONICAL", "Turned", "lies_down", "turned", "upright"]

CANONICAL = "RAS"
"""Directions that the axes of a turned volume grow toward: right, anterior, superior."""


class Turned(NamedTuple):
    """Volumes with axes to the right, anterior and superior, and their voxel size in mm along these."""

    volumes: list[np.ndarray]
    spacing_mm: list[float]


def turned(volumes: list[np.ndarray], spacing_mm: Sequence[float], affine: np.ndarray | None) -> Turned:
    """Volumes (x, y, z) of one grid in the order and direction of :data:`CANONICAL`, by permuting and flipping only.

    Args:
        volumes: (x, y, z) each.
        spacing_mm: voxel size along x, y, z.
        affine: voxel to world, (4, 4); None takes the axes as they are.
    """
    if affine is None:
        return Turned(volumes, [float(size) for size in spacing_mm])
    orientation = nib.io_orientation(affine)
    spacing = [float(spacing_mm[int(np.flatnonzero(orientation[:, 0] == axis)[0])]) for axis in range(3)]
    return Turned([nib.apply_orientation(volume, orientation) for volume in volumes], spacing)


def upright(image: np.ndarray, orientation: str) -> np.ndarray:
    """The slice (H, W, ...) as a radiologist looks at it: rows from top to bottom, columns from left to right.

    Args:
        image: the first two axes are turned, further ones kept.
        orientation: letters of the direction that H and W grow toward, such as ``"RA"``.
    """
    if lies_down(orientation):
        image, orientation = image.swapaxes(0, 1), orientation[::-1]
    return image[:: -1 if orientation[0] in "SA" else 1, :: -1 if orientation[1] in "RA" else 1]


def lies_down(orientation: str) -> bool:
    """Whether :func:`upright` swaps the two axes: the second one is up or down in the picture."""
    return orientation[1] in ("SI" if set(orientation) & set("SI") else "AP")
