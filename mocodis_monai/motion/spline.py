"""Cubic B-spline resampling in 2D and 3D, fourth-order accurate and differentiable.

An image is turned into spline coefficients once (Unser, Aldroubi and Eden 1993, IEEE Trans Signal Process 41:821,
doi:10.1109/78.193220) and then read anywhere: a cubic spline weighs four coefficients per axis, which two linear
look-ups between the right pairs of them do as well (Sigg and Hadwiger 2005, GPU Gems 2, chapter 20), so that
torch's linear grid sampling does the work: 4 look-ups where two axes are displaced, 8 with three. Outside the image
there is nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import product
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

# Zeros that the spline passes through on both sides of the image, until its ringing has died away (by 3.7 per pixel).
_MARGIN = 12


class _Lookup(NamedTuple):
    """Where to look between two coefficients along an axis, in pixels, and with which weight."""

    place: Tensor
    weight: Tensor


def spline_coefficients(image: Tensor, axes: Sequence[int]) -> Tensor:
    """Coefficients of the spline through the pixels of a real image, and through zeros outside, along the tensor
    dimensions ``axes`` (negative), which become longer by a margin on both sides.
    """
    for dim in axes:
        matrix = _coefficient_matrix(image.shape[dim]).to(image)
        image = torch.tensordot(image, matrix, dims=([dim], [1])).movedim(-1, dim)
    return image


@lru_cache(maxsize=32)
def _coefficient_matrix(size: int) -> Tensor:
    """``(size + margins, size)`` float64; from the inverse of the spline's values 1/6, 4/6, 1/6 at the pixels."""
    length = size + 2 * _MARGIN
    side = torch.full((length - 1,), 1 / 6, dtype=torch.float64)
    values = torch.diag(side, 1) + torch.diag(side, -1) + torch.eye(length, dtype=torch.float64) * (4 / 6)
    return torch.linalg.inv(values)[:, _MARGIN:-_MARGIN]


def resample(coefficients: Tensor, offset_px: Tensor, axes: Sequence[int]) -> Tensor:
    """Read images at every pixel plus an offset, a spline along ``axes`` and the pixels themselves along the others.

    Args:
        coefficients: ``(batch, channels, *lengths)`` from :func:`spline_coefficients` of the same axes.
        offset_px: ``(batch, spatial_dims, *spatial)`` of the same dtype.
        axes: spatial axes, from 0.

    Returns:
        ``(batch, channels, *spatial)``.
    """
    shape = offset_px.shape[2:]
    lookups = []
    for axis, size in enumerate(shape):
        first = _MARGIN if axis in axes else 0
        index = torch.arange(first, first + size, dtype=offset_px.dtype, device=offset_px.device)
        index = index.reshape([-1 if other == axis else 1 for other in range(len(shape))])
        place = index + offset_px[:, axis]
        lookups.append(_lookups(place) if axis in axes else [_Lookup(place, torch.ones_like(index))])
    total = torch.zeros((), dtype=coefficients.dtype, device=coefficients.device)
    for chosen in product(*lookups):
        # grid_sample counts from -1 at the lower to 1 at the upper edge, and takes the last axis first.
        lengths = coefficients.shape[2:]
        scaled = [(2 * lookup.place + 1) / length - 1 for lookup, length in zip(chosen, lengths, strict=True)]
        read = F.grid_sample(coefficients, torch.stack(scaled[::-1], -1), padding_mode="zeros", align_corners=False)
        weight = chosen[0].weight
        for lookup in chosen[1:]:
            weight = weight * lookup.weight
        total = total + weight[:, None] * read
    return total


def _lookups(place: Tensor) -> tuple[_Lookup, _Lookup]:
    """The two look-ups that weigh the four coefficients around ``place`` as the spline does."""
    whole = place.detach().floor()
    t = place - whole
    first, last = (1 - t) ** 3 / 6, t**3 / 6
    second, third = (4 - 6 * t**2 + 3 * t**3) / 6, (1 + 3 * t + 3 * t**2 - 3 * t**3) / 6
    below, above = first + second, third + last
    return _Lookup(whole - 1 + second / below, below), _Lookup(whole + 1 + last / above, above)
