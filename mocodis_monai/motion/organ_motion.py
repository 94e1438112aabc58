"""Deformations drawn from the non-rigid families: breathing, the beating heart, the moving gut."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch

from .body_axes import BodyAxes
from .deformation import Deformation, Motion
from .families import NON_RIGID_FAMILIES, RIGID_FAMILIES, axes_to_draw_along, draw_breaths, sample_trajectory
from .modes import Mode, Profile


def sample_deformation(
    family: str,
    num_shots: int,
    spatial_dims: int,
    rng: np.random.RandomState,
    axes: BodyAxes | None = None,
) -> Deformation:
    """Draw a deformation of arbitrary scale (about 1 mm); scale it to the severity that is wanted.

    Args:
        family: one of :data:`NON_RIGID_FAMILIES`. ``breathing``: the diaphragm pushes the organs down, most at its own
            level and less above and below it; the anterior wall rises; what lies behind the spine's front edge stays
            where it is. The wall is late by part of a breath, so that the way in is not the way out (hysteresis).
            Depth and period vary as in ``breathing_rigid``. ``cardiac``: the heart contracts toward its centre, beat
            by beat. ``peristalsis``: slow waves along short pieces of gut.
        num_shots: at least 2.
        spatial_dims: 2 or 3.
        rng: the only source of randomness.
        axes: directions of the body in the image, :data:`DEFAULT_AXES` where None. Motion along a direction that a
            slice does not have cannot be shown and is left out.

    Returns:
        float64 deformation on the CPU.

    Raises:
        ValueError: an unknown or a rigid family, fewer than 2 shots, neither 2 nor 3 spatial axes.
    """
    if family not in NON_RIGID_FAMILIES:
        hint = "Draw it with sample_trajectory." if family in RIGID_FAMILIES else "Choose one of these."
        raise ValueError(f"family: got {family!r}; allowed is one of {NON_RIGID_FAMILIES}. {hint}")
    axes = axes_to_draw_along(num_shots, spatial_dims, axes)
    return _SAMPLERS[family](num_shots, spatial_dims, axes, rng)


def sample_motion(
    family: str,
    num_shots: int,
    spatial_dims: int,
    rng: np.random.RandomState,
    axes: BodyAxes | None = None,
) -> Motion:
    """Draw from any family, see :func:`sample_trajectory` and :func:`sample_deformation`.

    Raises:
        ValueError: as these do.
    """
    draw = sample_deformation if family in NON_RIGID_FAMILIES else sample_trajectory
    return draw(family, num_shots, spatial_dims, rng, axes)


def _breathing(num_shots: int, spatial_dims: int, axes: BodyAxes, rng: np.random.RandomState) -> Deformation:
    """Superior-inferior and anterior-posterior displacement.

    Organs move mostly along superior-inferior, less along anterior-posterior, and not on the same path in and out
    (Keall et al. 2006, Med Phys 33:3874, doi:10.1118/1.2349696).
    """
    breaths = draw_breaths(num_shots, rng)
    diaphragm, reach = rng.uniform(0.45, 0.65), rng.uniform(0.4, 0.6)
    # Front edge of the spine and anterior wall of a body that fills about two thirds of the field of view.
    spine, wall, side = rng.uniform(0.36, 0.44), rng.uniform(0.75, 0.85), rng.uniform(0.6, 0.9)
    rise, lag = rng.uniform(0.15, 0.25), rng.uniform(0.05, 0.15)
    wall_share = rng.uniform(0.2, 0.5)
    columns, modes = [], []
    if axes.superior_inferior is not None:
        down = [Profile()] * spatial_dims
        down[axes.superior_inferior] = _along(axes, 0, "bump", diaphragm, reach)
        if axes.anterior_posterior is not None:
            down[axes.anterior_posterior] = _along(axes, 1, "ramp", spine, rise)
        modes.append(Mode("shift", tuple(down), _unit(spatial_dims, axes.superior_inferior, -axes.signs[0])))
        columns.append(breaths.wave())
    if axes.anterior_posterior is not None:
        forward = [Profile()] * spatial_dims
        forward[axes.anterior_posterior] = _along(axes, 1, "ramp", spine, wall - spine)
        if axes.superior_inferior is not None:
            forward[axes.superior_inferior] = _along(axes, 0, "bump", diaphragm - 0.1, reach)
        if axes.left_right is not None:
            forward[axes.left_right] = _along(axes, 2, "bump", 0.5, side)
        modes.append(Mode("shift", tuple(forward), _unit(spatial_dims, axes.anterior_posterior, axes.signs[1])))
        columns.append(wall_share * breaths.wave(lag))
    return Deformation(torch.from_numpy(np.stack(columns, 1)), tuple(modes))


def _cardiac(num_shots: int, spatial_dims: int, axes: BodyAxes, rng: np.random.RandomState) -> Deformation:
    """Contraction and filling take about two thirds of a beat, then the heart rests; R-R times vary by 7 per cent."""
    places = (rng.uniform(0.5, 0.65), rng.uniform(0.55, 0.65), rng.uniform(0.4, 0.5))
    profiles = [
        _along(axes, body, "bump", places[body], rng.uniform(0.14, 0.2)) for body in _directions(axes, spatial_dims)
    ]
    beats = rng.uniform(3, max(4, num_shots))
    count = int(np.ceil(2 * beats)) + 2
    ends = np.concatenate([[0.0], np.cumsum(np.clip(rng.normal(1, 0.07, count), 0.5, 1.5))])
    strength = np.clip(rng.normal(1, 0.1, count), 0.5, 1.5)
    # The first shot sees the heart on its way, lest a few shots all fall into its rest.
    time = np.arange(num_shots) / num_shots * beats + rng.uniform(0.05, 0.6)
    beat = np.interp(time, ends, np.arange(count + 1))
    wave = np.sin(np.pi * np.minimum(beat % 1 / 0.67, 1)) ** 2 * strength[beat.astype(int)]
    mode = Mode("contraction", tuple(profiles), (0.0,) * spatial_dims)
    return Deformation(torch.from_numpy(wave[:, None]), (mode,))


def _peristalsis(num_shots: int, spatial_dims: int, axes: BodyAxes, rng: np.random.RandomState) -> Deformation:
    """Pieces of gut in a row, each moving after the one before it, one half to two waves in the acquisition."""
    time = (np.arange(num_shots) + 0.5) / num_shots
    columns, modes = [], []
    for _ in range(rng.randint(1, 4)):
        places = (rng.uniform(0.3, 0.6), rng.uniform(0.5, 0.7), rng.uniform(0.3, 0.7))
        start = np.array(
            [_along(axes, body, "bump", places[body], 1).centre for body in _directions(axes, spatial_dims)]
        )
        width, (course, push) = rng.uniform(0.06, 0.1), rng.normal(size=(2, spatial_dims))
        course, push = course / np.linalg.norm(course), push / np.linalg.norm(push)
        waves, lag, begin = rng.uniform(0.5, 2), rng.uniform(0.1, 0.2), rng.uniform()
        fading = 1 + rng.uniform(-0.5, 0.5) * np.cos(np.pi * time)
        for piece in range(3):
            centre = start + 1.2 * width * (piece - 1) * course
            profiles = tuple(Profile("bump", float(middle), float(width)) for middle in centre)
            modes.append(Mode("shift", profiles, tuple(push.tolist())))
            columns.append(fading * np.sin(2 * math.pi * (waves * time + begin - lag * piece)))
    return Deformation(torch.from_numpy(np.stack(columns, 1)), tuple(modes))


def _along(axes: BodyAxes, body: int, shape: str, centre: float, width: float) -> Profile:
    """Profile along a direction of the body (0 superior, 1 anterior, 2 right), its fractions counted that way."""
    if axes.signs[body] == 1:
        return Profile(shape, float(centre), float(width))
    return Profile(shape, float(1 - centre), float(-width if shape == "ramp" else width))


def _directions(axes: BodyAxes, spatial_dims: int) -> list[int]:
    """The direction of the body along each spatial axis, as in :func:`_along`."""
    return [axes[:3].index(axis) for axis in range(spatial_dims)]


def _unit(spatial_dims: int, axis: int, sign: int) -> tuple[float, ...]:
    return tuple(float(sign) if other == axis else 0.0 for other in range(spatial_dims))


_SAMPLERS: dict[str, Callable[[int, int, BodyAxes, np.random.RandomState], Deformation]] = {
    "breathing": _breathing,
    "cardiac": _cardiac,
    "peristalsis": _peristalsis,
}
