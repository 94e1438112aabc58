"""The families of motion, and trajectories drawn from the rigid ones.

A trajectory is drawn with arbitrary scale, about 1 mm and 1 degree; what a family fixes is the course over time and
the share of each degree of freedom. Non-rigid families are drawn in :mod:`mocodis_monai.motion.organ_motion`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

from .body_axes import DEFAULT_AXES, BodyAxes, check_body_axes
from .trajectory import RigidTrajectory

RIGID_FAMILIES = ("sudden", "drift", "breathing_rigid", "tremor", "nod", "swallow")
NON_RIGID_FAMILIES = ("breathing", "cardiac", "peristalsis")
FAMILIES = RIGID_FAMILIES + NON_RIGID_FAMILIES


class _Request(NamedTuple):
    """What a sampler is asked for; every sampler returns translations and angles as columns of one array."""

    num_shots: int
    num_axes: int
    num_angles: int
    axes: BodyAxes
    rng: np.random.RandomState


def sample_trajectory(
    family: str,
    num_shots: int,
    spatial_dims: int,
    rng: np.random.RandomState,
    axes: BodyAxes | None = None,
) -> RigidTrajectory:
    """Draw a trajectory of arbitrary scale (about 1 mm and 1 degree); scale it to the severity that is wanted.

    Args:
        family: one of :data:`RIGID_FAMILIES`. ``sudden``: one to four steps to a new pose that is then held.
            ``drift``: slow and smooth. ``breathing_rigid``: quasi-periodic translation along one direction,
            amplitude and period varying from breath to breath, with a small rotation in phase. ``tremor``: an
            oscillation faster than the shots, hence rough from shot to shot. ``nod``: turns of the head up and down,
            which may be taken back, over a slow drift. ``swallow``: one to three quick excursions that return.
        num_shots: at least 2, since a single shot cannot move against itself.
        spatial_dims: 2 or 3.
        rng: the only source of randomness.
        axes: directions of the body, for ``nod`` (turns about the left-right axis) and ``swallow`` (along the
            superior-inferior axis); :data:`DEFAULT_AXES` where None.

    Returns:
        float64 trajectory on the CPU.

    Raises:
        ValueError: an unknown or a non-rigid family, fewer than 2 shots, neither 2 nor 3 spatial axes.
    """
    if family not in RIGID_FAMILIES:
        hint = "Draw it with sample_deformation." if family in NON_RIGID_FAMILIES else "Choose one of these."
        raise ValueError(f"family: got {family!r}; allowed is one of {RIGID_FAMILIES}. {hint}")
    axes = axes_to_draw_along(num_shots, spatial_dims, axes)
    request = _Request(num_shots, spatial_dims, 1 if spatial_dims == 2 else 3, axes, rng)
    poses = torch.from_numpy(_SAMPLERS[family](request))
    return RigidTrajectory(poses[:, :spatial_dims].contiguous(), poses[:, spatial_dims:].contiguous())


def axes_to_draw_along(num_shots: int, spatial_dims: int, axes: BodyAxes | None) -> BodyAxes:
    """Raise ValueError unless motion can be drawn; return the directions of the body to draw it along."""
    if num_shots < 2:
        raise ValueError(f"num_shots: got {num_shots}; allowed is 2 or more, since one shot has one pose. Raise it.")
    if spatial_dims not in (2, 3):
        raise ValueError(f"spatial_dims: got {spatial_dims}; allowed is 2 or 3. Give slices or volumes.")
    axes = DEFAULT_AXES[spatial_dims] if axes is None else axes
    check_body_axes(axes, spatial_dims)
    return axes


def _sudden(request: _Request) -> np.ndarray:
    num_shots, num_axes, num_angles, _, rng = request
    num_steps = rng.randint(1, min(4, num_shots - 1) + 1)
    steps = rng.permutation(num_shots - 1)[:num_steps] + 1
    jumps = np.zeros((num_shots, num_axes + num_angles))
    jumps[steps] = rng.normal(size=(num_steps, num_axes + num_angles))
    return jumps.cumsum(0)


def _drift(request: _Request) -> np.ndarray:
    # The first half-cosines of the acquisition, amplitudes falling as 1 / order: smooth, with a trend.
    order = np.arange(1, 4)
    time = (np.arange(request.num_shots) + 0.5) / request.num_shots
    basis = np.cos(np.pi * np.outer(time, order)) / order
    return basis @ request.rng.normal(size=(len(order), request.num_axes + request.num_angles))


class Breaths(NamedTuple):
    """The breaths of an acquisition.

    Attributes:
        phase: ``(shots,)`` breaths taken until each shot.
        depth: ``(breaths,)`` depth at every whole phase, about 1.
    """

    phase: np.ndarray
    depth: np.ndarray

    def wave(self, lag: float = 0.0) -> np.ndarray:
        """Inspiration at every shot, ``(shots,)``, from 0 to about 1, late by ``lag`` breaths.

        cos^4 rests longer at end-expiration than at end-inspiration (Lujan et al. 1999, Med Phys 26:715,
        doi:10.1118/1.598577).
        """
        phase = self.phase - lag
        return np.sin(np.pi * phase) ** 4 * np.interp(phase, np.arange(len(self.depth)), self.depth)


def draw_breaths(num_shots: int, rng: np.random.RandomState) -> Breaths:
    """Draw breaths whose depth and period vary from one to the next, at least three shots to a breath."""
    breaths = rng.uniform(min(1.0, num_shots / 4), max(1.5, num_shots / 3))
    # One entry per breath; time is warped so that the periods vary by about 15 per cent.
    count = int(np.ceil(2 * breaths)) + 2
    ends = np.concatenate([[0.0], np.cumsum(np.clip(rng.normal(1, 0.15, count), 0.5, 1.5))])
    depth = np.clip(rng.normal(1, 0.2, count + 1), 0.3, 2.0)
    time = np.arange(num_shots) / num_shots * breaths + rng.uniform(0, 1)
    return Breaths(np.interp(time, ends, np.arange(count + 1)), depth)


def _breathing_rigid(request: _Request) -> np.ndarray:
    rng = request.rng
    wave = draw_breaths(request.num_shots, rng).wave()
    direction = rng.normal(size=request.num_axes)
    # The breath runs mostly along one axis of the image, whichever that is in this view.
    direction[rng.randint(request.num_axes)] += rng.choice([-3.0, 3.0])
    turn = 0.15 * rng.normal(size=request.num_angles)
    return np.outer(wave, np.concatenate([direction / np.linalg.norm(direction), turn]))


# Tremors swing at 4 to 12 Hz (Bhatia et al. 2018, Mov Disord 33:75, doi:10.1002/mds.27121) and hold their frequency
# to about half a hertz; a shot and the pause behind it take about a second.
_TREMOR_HZ = (4.0, 12.0)
_TREMOR_WANDER_HZ = 0.5
_SHOT_INTERVAL_S = (0.5, 3.0)


def _tremor(request: _Request) -> np.ndarray:
    num_shots, num_axes, num_angles, _, rng = request
    # Many swings lie between two shots, so that the shots see the swing at a phase that is all but random.
    frequency_hz = rng.uniform(*_TREMOR_HZ) + _TREMOR_WANDER_HZ * rng.normal(size=num_shots)
    swings = np.cumsum(frequency_hz * rng.uniform(*_SHOT_INTERVAL_S))
    swing = np.sin(2 * np.pi * (swings + rng.uniform())) * np.clip(rng.normal(1, 0.25, num_shots), 0.3, 2.0)
    freedoms = np.concatenate([np.ones(num_axes), np.full(num_angles, 0.2)])
    jitter = 0.25 * rng.normal(size=(num_shots, num_axes + num_angles))
    return (np.outer(swing, rng.normal(size=num_axes + num_angles)) + jitter) * freedoms


def _nod(request: _Request) -> np.ndarray:
    num_shots, num_axes, num_angles, _, rng = request
    shot = np.arange(num_shots)
    course = rng.normal(0, 0.3) * shot / num_shots
    for _ in range(rng.randint(1, 4)):
        start = rng.randint(num_shots - 1)
        out, held = np.maximum(1, num_shots * rng.uniform([0.02, 0.05], [0.1, 0.3]))
        # Half of the nods are taken back altogether, the others in part.
        back = rng.choice([1.0, rng.uniform(0, 1)])
        swing = _rise((shot - start) / out) - back * _rise((shot - start - out - held) / (2 * out))
        course += rng.choice([-1.0, 1.0]) * rng.uniform(0.5, 1.5) * swing
    share = 0.15 * rng.normal(size=num_axes + num_angles)
    share[_nodding(request)] = 1.0
    return np.outer(course, share)


def _swallow(request: _Request) -> np.ndarray:
    num_shots, num_axes, num_angles, axes, rng = request
    course = np.zeros(num_shots)
    shot = np.arange(num_shots)
    for _ in range(rng.randint(1, 4)):
        # At the shot after the last one the pose is back, even where the acquisition ends there.
        peak = rng.randint(1, max(2, num_shots - 1))
        back = min(max(1, num_shots - 1 - peak), max(1, round(rng.uniform(0.06, 0.25) * num_shots)))
        out = back * rng.uniform(0.2, 0.4)
        course += rng.uniform(0.5, 1.5) * np.where(
            shot <= peak, _rise((shot - peak + out) / out), 1 - _rise((shot - peak) / back)
        )
    along = rng.randint(num_axes) if axes.superior_inferior is None else axes.superior_inferior
    share = 0.1 * rng.normal(size=num_axes + num_angles)
    share[along] = rng.choice([-1.0, 1.0])
    share[_nodding(request)] = rng.uniform(-0.3, 0.3)
    return np.outer(course, share)


def _nodding(request: _Request) -> int:
    """Column of the angle about the left-right axis; in a slice, whatever its direction, the turn that it can show."""
    return request.num_axes + ((request.axes.left_right or 0) if request.num_angles == 3 else 0)


def _rise(time: np.ndarray) -> np.ndarray:
    """From 0 before time 0 to 1 after time 1, with a smooth start and end."""
    return 0.5 - 0.5 * np.cos(np.pi * np.clip(time, 0.0, 1.0))


_SAMPLERS: dict[str, Callable[[_Request], np.ndarray]] = {
    "sudden": _sudden,
    "drift": _drift,
    "breathing_rigid": _breathing_rigid,
    "tremor": _tremor,
    "nod": _nod,
    "swallow": _swallow,
}
