"""What the motion transforms ask of their images and arguments."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, cast

import numpy as np
import torch
from monai.config.type_definitions import NdarrayOrTensor
from monai.data.meta_obj import get_track_meta
from monai.data.meta_tensor import MetaTensor
from monai.data.utils import affine_to_spacing
from monai.utils.type_conversion import convert_to_tensor
from nibabel.orientations import aff2axcodes
from torch import Tensor

from mocodis_monai.motion import BodyAxes

# Least share of an axis's length along one axis of the world: then SqueezeDim takes less than 1 per cent of the size.
_ALONG = 0.99
# Letter -> place of the direction in BodyAxes, and +1 where the axis grows toward superior, anterior, right.
_DIRECTIONS = {"S": (0, 1), "I": (0, -1), "A": (1, 1), "P": (1, -1), "R": (2, 1), "L": (2, -1)}


def as_image(img: NdarrayOrTensor, spacing_mm: Sequence[float] | None) -> Tensor:
    """The image as a tensor, with its metadata; says once if neither these nor ``spacing_mm`` tell the voxel size.

    What metadata there are is read also where MONAI is told to track none (see :func:`as_tracked`).
    """
    if isinstance(img, MetaTensor):
        return img
    if spacing_mm is None:
        _say_that_spacing_is_unknown()
    image: Tensor = convert_to_tensor(img, track_meta=get_track_meta())
    return image


def as_tracked(img: Tensor) -> Tensor:
    """The image as MONAI wants it: without metadata after ``set_track_meta(False)``."""
    return img if get_track_meta() else plain(img)


@lru_cache(maxsize=1)
def _say_that_spacing_is_unknown() -> None:
    logging.getLogger(__name__).warning(
        "RandKSpaceMotion, KSpaceMotion: an image came without an affine and without spacing_mm; its pixels count as 1 "
        "mm. Give spacing_mm. (MONAI's PersistentDataset drops the affine, unless it has track_meta=True and "
        "weights_only=False.)"
    )


@lru_cache(maxsize=1)
def _say_that_a_tilt_may_be_hidden() -> None:
    logging.getLogger(__name__).warning(
        "RandKSpaceMotion, KSpaceMotion: a slice was cut by SqueezeDim out of a volume that was tilted when it was "
        "read. Unless it was resampled straight before, its pixels count as smaller than they are. Give spacing_mm."
    )


def attach(img: Tensor, metadata: Mapping[str, Any]) -> Tensor:
    """Copy of the image with ``meta["motion"]``; without metadata if there are none, or none are tracked."""
    if not isinstance(img, MetaTensor) or not get_track_meta():
        return plain(img)
    copy: MetaTensor = img.clone()
    copy.meta["motion"] = dict(metadata)
    return copy


def spacing_of(img: Tensor, spacing_mm: Sequence[float] | None) -> list[float]:
    """Voxel size along each spatial axis of a channel-first image: as given, else from the affine, else 1
    mm.

    Raises:
        ValueError: not one for each axis; the affine is that of a cut through a tilted volume, which does not tell.
    """
    dims = img.ndim - 1
    if spacing_mm is not None:
        if len(spacing_mm) != dims:
            raise ValueError(
                f"spacing_mm: got {tuple(spacing_mm)} for an image of {dims} spatial axes; allowed is one for each."
            )
        return [float(mm) for mm in spacing_mm]
    if isinstance(img, MetaTensor):
        if _is_cut(img) and _was_tilted(img):
            _say_that_a_tilt_may_be_hidden()
        if _is_cut(img) and _is_tilted(img.affine[:dims, :dims]):
            raise ValueError(
                "spacing_mm: got None; SqueezeDim has left of the affine of a volume that is tilted, or of an image "
                "that was turned, too little to tell the voxel size. Give spacing_mm, or turn images after the motion."
            )
        # A 2D image has a 4 x 4 affine too; its first columns belong to its spatial axes.
        return affine_to_spacing(img.affine, r=3, suppress_zeros=False)[:dims].tolist()
    return [1.0] * dims


def body_axes_of(img: Tensor, orientation: str | None) -> BodyAxes | None:
    """Directions of the body along the spatial axes: from the letters given, else from the affine; None unknown.

    Of a slice that ``SqueezeDim`` has cut nothing is known: it takes a row of the affine away, whichever direction of
    the body that was.

    Args:
        img: channel-first.
        orientation: the letter (R, L, A, P, S or I) that each spatial axis grows toward.

    Raises:
        ValueError: not one letter for each axis, or a direction twice.
    """
    dims = img.ndim - 1
    if orientation is None:
        if not isinstance(img, MetaTensor) or _is_cut(img):
            return None
        orientation = "".join(str(code) for code in aff2axcodes(img.affine.cpu().numpy())[:dims])
    found = [_DIRECTIONS.get(letter) for letter in orientation.upper()]
    named = [direction for direction, _ in filter(None, found)]
    if len(found) != dims or None in found or len(set(named)) != dims:
        raise ValueError(
            f"orientation: got {orientation!r} for {dims} spatial axes; allowed is one letter of R, L, A, P, S, I for "
            "each, no direction twice, such as 'RAS', or 'PL' for a slice. Mend it, or the affine."
        )
    axes: list[int | None] = [None, None, None]
    signs = [1, 1, 1]
    for axis, entry in enumerate(found):
        direction, sign = cast("tuple[int, int]", entry)
        axes[direction], signs[direction] = axis, sign
    return BodyAxes(axes[0], axes[1], axes[2], signs=(signs[0], signs[1], signs[2]))


def _is_tilted(directions: Tensor) -> bool:
    """Whether a column of ``(dims, dims)`` lies so far from the axes of the world that a cut takes of its length."""
    return bool((directions.abs().amax(0) <= _ALONG * directions.norm(dim=0)).any())  # "<=": an empty column too


def _was_tilted(img: MetaTensor) -> bool:
    """Whether the volume was when it was read: a tilt about an axis that is left does not show in a cut affine."""
    as_read = torch.as_tensor(img.meta.get("original_affine", torch.eye(4)))
    return as_read.shape[-1] == 4 and _is_tilted(as_read[:3, :3])


def _is_cut(img: MetaTensor) -> bool:
    """Whether a dimension was taken out of the affine too, as ``SqueezeDim`` does by default."""
    return img.affine.shape[-1] != 4


def plain(img: Tensor) -> Tensor:
    """The image without its metadata."""
    return img.as_tensor() if isinstance(img, MetaTensor) else img


def as_tuple(values: Any) -> tuple[Any, ...]:
    """One value, or a sequence of them, as a tuple."""
    return (values,) if isinstance(values, (str, int, np.integer)) else tuple(values)


def as_choice(name: str, values: Any) -> tuple[Any, ...]:
    """One value, or several to draw from, as a tuple.

    Raises:
        ValueError: there is none.
    """
    choice = as_tuple(values)
    if not choice:
        raise ValueError(f"{name}: got {values!r}; there is nothing to draw from. Name one, or leave it out for all.")
    return choice


def as_whole_range(name: str, value: int | Sequence[int], lowest: int) -> tuple[int, int]:
    """As :func:`as_range`, of whole numbers."""
    low, high = as_range(name, value, lowest)
    if low != int(low) or high != int(high):
        raise ValueError(f"{name}: got {value}; allowed is a whole number, or a range of them. Round it.")
    return int(low), int(high)


def as_range(
    name: str, value: float | Sequence[float], lowest: float, highest: float = math.inf, above: bool = False
) -> tuple[float, float]:
    """A number as an empty range; a range checked.

    Args:
        name: of the argument, for the error.
        value: the number, or ``(low, high)``.
        lowest, highest: what the ends may be.
        above: the lower end must be above ``lowest``.

    Raises:
        ValueError: not finite, out of bounds, or the wrong way round.
    """
    pair = (value, value) if isinstance(value, (int, float, np.number)) else tuple(value)
    if (
        len(pair) != 2
        or not all(math.isfinite(end) for end in pair)
        or not lowest <= pair[0] <= pair[1] <= highest
        or (above and pair[0] == lowest)
    ):
        bounds = f"{lowest} {'<' if above else '<='} low <= high" + ("" if highest == math.inf else f" <= {highest}")
        raise ValueError(f"{name}: got {value}; allowed is a number or a range (low, high) with {bounds}. Mend it.")
    return pair


def as_spacing(spacing_mm: Sequence[float] | None) -> tuple[float, ...] | None:
    """The voxel size along each axis, checked; None, that of the affine, stays.

    Raises:
        ValueError: not two or three positive numbers.
    """
    if spacing_mm is None:
        return None
    sizes = tuple(spacing_mm) if isinstance(spacing_mm, (Sequence, np.ndarray, Tensor)) else (spacing_mm,)
    if len(sizes) not in (2, 3) or not all(math.isfinite(size) and size > 0 for size in map(float, sizes)):
        raise ValueError(
            f"spacing_mm: got {spacing_mm!r}; allowed is a positive number for each of the two or three spatial axes, "
            "such as (1.0, 1.0). Mend it, or leave it out: then the affine tells."
        )
    return tuple(map(float, sizes))


def check_letters(orientation: str | None) -> None:
    """Raise ValueError unless every letter names a direction of the body; how many there are an image must tell."""
    if orientation is not None and (len(orientation) not in (2, 3) or set(orientation.upper()) - set(_DIRECTIONS)):
        raise ValueError(
            f"orientation: got {orientation!r}; allowed are two or three letters of R, L, A, P, S, I, such as 'RAS', "
            "or 'PL' for a slice. Mend it."
        )


def check_members(name: str, values: Sequence[str], allowed: Sequence[str]) -> None:
    """Raise ValueError unless there is at least one value and all are allowed."""
    unknown = [value for value in values if value not in allowed]
    if unknown or not values:
        raise ValueError(f"{name}: got {list(values)}; allowed are {tuple(allowed)}. Choose from these.")
