"""The smooth fields that a non-rigid motion is made of.

Places are fractions of the field of view, 0 at the lower and 1 at the upper edge of an axis, the middle of pixel i of N
at ``(i + 0.5) / N``: a field fits any image.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

PROFILES = ("flat", "bump", "ramp")

# Brings the largest value of r (1 - r^2)^2, at r = 1 / sqrt(5), to 1.
_CONTRACTION_PEAK = 16 / (25 * math.sqrt(5))


class Profile(NamedTuple):
    """Strength of a mode along one axis, 0 to 1.

    Attributes:
        shape: ``flat``: 1 everywhere. ``bump``: 1 at the centre, falling as cos^2 to 0 at ``width`` on both sides.
            ``ramp``: 0 up to the centre, rising smoothly to 1 at ``centre + width``, and staying there; a negative
            width rises toward lower fractions.
        centre: fraction of the field of view.
        width: fraction of the field of view, above 0; of a ramp also below.
    """

    shape: str = "flat"
    centre: float = 0.5
    width: float = 1.0


class Mode(NamedTuple):
    """One field of displacement, of at most 1 mm per mm of amplitude.

    Attributes:
        kind: ``shift``: along ``direction``, as strong as the product of the profiles. ``contraction``: toward the
            centre of the profiles, smoothly zero from the ellipse (ellipsoid) of their widths on.
        profiles: one per spatial axis.
        direction: unit vector along the spatial axes; not used by a contraction.
    """

    kind: str
    profiles: tuple[Profile, ...]
    direction: tuple[float, ...]


def displacement_field(modes: Sequence[Mode], shape: Sequence[int], device: torch.device | str | None = None) -> Tensor:
    """Displacement of every mode in mm per mm of amplitude, ``(modes, spatial_dims, *shape)`` float64."""
    places = [(torch.arange(size, dtype=torch.float64, device=device) + 0.5) / size for size in shape]
    return displacement_at(modes, places)


def displacement_at(modes: Sequence[Mode], grid: Sequence[Tensor]) -> Tensor:
    """Displacement at the fractions of the field of view that ``grid`` gives along each axis."""
    return torch.stack(
        [_contraction(mode, grid) if mode.kind == "contraction" else _shift(mode, grid) for mode in modes]
    )


def _shift(mode: Mode, grid: Sequence[Tensor]) -> Tensor:
    strength = torch.ones((), dtype=torch.float64, device=grid[0].device)
    for profile, place in zip(mode.profiles, grid, strict=True):
        strength = strength[..., None] * _profile(profile, place)
    direction = torch.tensor(mode.direction, dtype=torch.float64, device=strength.device)
    return direction.reshape(-1, *[1] * len(grid)) * strength


def _profile(profile: Profile, place: Tensor) -> Tensor:
    offset = (place - profile.centre) / profile.width
    if profile.shape == "flat":
        return torch.ones_like(place)
    if profile.shape == "bump":
        return torch.cos(math.pi / 2 * offset.clamp(-1, 1)).square() * (offset.abs() < 1)
    rise = offset.clamp(0, 1)
    return rise.square() * (3 - 2 * rise)


def _contraction(mode: Mode, grid: Sequence[Tensor]) -> Tensor:
    offsets = [(place - profile.centre) / profile.width for profile, place in zip(mode.profiles, grid, strict=True)]
    offset = torch.stack(torch.meshgrid(*offsets, indexing="ij"))
    return -offset * (1 - offset.square().sum(0)).clamp_min(0).square() / _CONTRACTION_PEAK
