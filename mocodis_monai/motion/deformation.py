"""Non-rigid motion: organs that move inside the body, as a few smooth fields with an amplitude in every shot.

A deformation is made of plain numbers, so that it can be written down and replayed bit for bit, and it fits any image.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from .blocks import PIXELS_AT_A_TIME
from .full_precision import at_full_precision
from .modes import PROFILES, Mode, Profile, displacement_at, displacement_field
from .spline import resample, spline_coefficients
from .trajectory import RigidTrajectory

UNIT_TOLERANCE = 1e-3
"""What the length of a direction may differ from 1 by."""
MIN_JACOBIAN = 0.05
"""Least volume ratio that a deformation may have anywhere: at zero tissue would be folded."""

# Grid that the volume ratio is taken on, per axis: the narrowest organ spans several of its pixels.
_JACOBIAN_GRID = {2: 64, 3: 32}


class Deformation(NamedTuple):
    """Displacement of the object in every shot: the sum of its modes, each with its amplitude.

    The tissue that is found at x in shot s has come from ``x - displacement(x)``: where the displacement is zero the
    image is untouched. Intensity travels with the tissue.

    Attributes:
        amplitude_mm: ``(shots, modes)``.
        modes: the fields.
    """

    amplitude_mm: Tensor
    modes: tuple[Mode, ...]

    @property
    def num_shots(self) -> int:
        return self.amplitude_mm.shape[0]

    @property
    def spatial_dims(self) -> int:
        return len(self.modes[0].profiles)

    @property
    def requires_grad(self) -> bool:
        return self.amplitude_mm.requires_grad

    @property
    def is_still(self) -> bool:
        """Whether every amplitude is zero."""
        return not bool(self.amplitude_mm.any())

    def scaled(self, factor: float) -> Deformation:
        """Every amplitude multiplied by ``factor``."""
        return self._replace(amplitude_mm=self.amplitude_mm * factor)


Motion: TypeAlias = RigidTrajectory | Deformation
"""The motion of an acquisition, rigid or not: both have ``num_shots``, ``spatial_dims``, ``requires_grad``,
``is_still`` and ``scaled``."""


def to_numbers(deformation: Deformation) -> dict[str, Any]:
    """The deformation as lists and numbers that JSON keeps bit for bit; :func:`from_numbers` reads them back."""
    modes = [
        {"kind": mode.kind, "profiles": [list(profile) for profile in mode.profiles], "direction": list(mode.direction)}
        for mode in deformation.modes
    ]
    return {"amplitude_mm": deformation.amplitude_mm.double().tolist(), "modes": modes}


def from_numbers(numbers: dict[str, Any]) -> Deformation:
    """The deformation that :func:`to_numbers` wrote, its amplitudes float64; ValueError for one that is not whole."""
    try:
        modes = tuple(
            Mode(mode["kind"], tuple(Profile(*profile) for profile in mode["profiles"]), tuple(mode["direction"]))
            for mode in numbers["modes"]
        )
        deformation = Deformation(torch.tensor(numbers["amplitude_mm"], dtype=torch.float64), modes)
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"deformation: got numbers that are not whole ({error!r}); allowed is what to_numbers gives, amplitude_mm "
            "and modes of kind, profiles and direction. Give those of the sample unchanged."
        ) from error
    check_deformation(deformation)
    return deformation


@at_full_precision
def deform(image: Tensor, deformation: Deformation, shots: Tensor, spacing_mm: Sequence[float]) -> Tensor:
    """The object as it is in each of the shots; nothing comes in from outside the field of view.

    Resampled with cubic B-splines in 2D and in 3D, which are exact for polynomials up to the third degree. Accuracy,
    measured in tests/motion/test_deformation.py: a Gaussian of 2 to 3 pixels is moved to within 4e-4 of its peak in 2D
    (bicubic interpolation 1.6e-2) and 5e-4 in 3D (trilinear 4.6e-2).
    Differentiable in the image and in the amplitudes.

    Args:
        image: ``(..., *spatial)``, float or complex.
        deformation: on as many spatial axes as ``spacing_mm`` has entries.
        shots: ``(n,)`` long, the shots wanted, in any order.
        spacing_mm: voxel size along each spatial axis.

    Returns:
        ``(n, *image.shape)`` of the dtype of ``image``.

    Raises:
        ValueError: for a deformation that is not whole, or that would fold or crush tissue.
    """
    check_deformation(deformation)
    dims, shape = deformation.spatial_dims, image.shape[-deformation.spatial_dims :]
    amplitude = deformation.amplitude_mm[shots.to(deformation.amplitude_mm.device)]
    check_invertible(deformation._replace(amplitude_mm=amplitude), shape, spacing_mm)
    channels = torch.view_as_real(image).movedim(-1, 0) if image.is_complex() else image[None]
    flat = channels.reshape(-1, *shape)
    spacing = torch.tensor(spacing_mm, dtype=flat.dtype, device=flat.device).reshape(-1, *[1] * dims)
    fields_px = displacement_field(deformation.modes, shape, flat.device).to(flat.dtype) / spacing
    moved = _resample_views(flat, amplitude.to(flat), fields_px, _moving_axes(deformation.modes))
    stack = moved.reshape(len(shots), *channels.shape)
    return torch.complex(stack[:, 0], stack[:, 1]) if image.is_complex() else stack[:, 0]


def _moving_axes(modes: Sequence[Mode]) -> list[int]:
    """Spatial axes along which anything is displaced."""
    axes = range(len(modes[0].profiles))
    return [axis for axis in axes if any(mode.kind == "contraction" or mode.direction[axis] for mode in modes)]


def _resample_views(flat: Tensor, amplitude: Tensor, fields_px: Tensor, moving: list[int]) -> Tensor:
    """``(shots, batch, *spatial)`` of ``(batch, *spatial)``, the modes' fields being ``(modes, dims, *spatial)``."""
    dims = flat.ndim - 1
    coefficients = spline_coefficients(flat, [axis - dims for axis in moving])
    if dims == 2 or len(moving) == 3:
        at_a_time = max(1, PIXELS_AT_A_TIME // flat[0].numel())
        offsets = (-torch.tensordot(part, fields_px, dims=1) for part in amplitude.split(at_a_time))
        return torch.cat(
            [resample(coefficients.expand(len(offset), *coefficients.shape), offset, moving) for offset in offsets]
        )
    # A volume without displacement along an axis is a stack of slices, each of which moves in its own plane.
    across = next(axis for axis in range(3) if axis not in moving)
    plane = [axis for axis in range(3) if axis != across]
    slices, fields = coefficients.movedim(1 + across, 0), fields_px[:, plane].movedim(2 + across, 1)
    in_plane = [plane.index(axis) for axis in moving]
    views = [resample(slices, -torch.tensordot(row, fields, dims=1), in_plane) for row in amplitude]
    return torch.stack(views).movedim(1, 2 + across)


def check_deformation(deformation: Deformation) -> None:
    """Raise ValueError unless there is a finite amplitude for every shot and mode, and every mode is well formed."""
    amplitude, modes = deformation
    if amplitude.ndim != 2 or amplitude.shape[0] < 1 or amplitude.shape[1] != len(modes) or not modes:
        raise ValueError(
            f"deformation.amplitude_mm: got shape {tuple(amplitude.shape)} for {len(modes)} modes; allowed is (shots, "
            "modes), at least one of each. Give one row per shot and one column per mode."
        )
    bad = (~torch.isfinite(amplitude)).nonzero()
    if len(bad):
        shot, mode = bad[0].tolist()
        raise ValueError(
            f"deformation.amplitude_mm: got {amplitude[shot, mode].item()} in shot {shot}, mode {mode}; allowed are "
            "finite numbers. Mend the amplitudes."
        )
    dims = deformation.spatial_dims
    for number, (kind, profiles, direction) in enumerate(modes):
        if kind not in ("shift", "contraction") or not len(profiles) == len(direction) == dims or dims not in (2, 3):
            raise ValueError(
                f"deformation.modes[{number}]: got kind {kind!r} with {len(profiles)} profiles and {len(direction)} "
                "components of direction; allowed is 'shift' or 'contraction' with 2 of each, or 3, in every mode. "
                "Give one of each per spatial axis."
            )
        if kind == "shift" and not abs(math.hypot(*direction) - 1) <= UNIT_TOLERANCE:
            raise ValueError(
                f"deformation.modes[{number}].direction: got {direction}; allowed is a unit vector. Divide it by its "
                "length, and multiply the amplitudes with it."
            )
        for axis, profile in enumerate(profiles):
            wide = profile.width > 0 or (profile.shape == "ramp" and profile.width < 0)
            if profile.shape not in PROFILES or not wide or not math.isfinite(profile.centre + profile.width):
                raise ValueError(
                    f"deformation.modes[{number}].profiles[{axis}]: got {profile}; allowed is a shape of {PROFILES} "
                    "with a finite centre and a finite width above 0, of a ramp also below 0. Mend it."
                )


def check_invertible(deformation: Deformation, shape: Sequence[int], spacing_mm: Sequence[float]) -> None:
    """Raise ValueError where tissue would be folded, or crushed below :data:`MIN_JACOBIAN` of its volume."""
    ratios = volume_ratios(deformation, shape, spacing_mm)
    shot = int(ratios.argmin())
    if not ratios[shot] >= MIN_JACOBIAN:
        largest = deformation.amplitude_mm[shot].abs().max().item()
        raise ValueError(
            f"deformation.amplitude_mm: got up to {largest:.1f} mm, which leaves {ratios[shot]:.2f} of the volume "
            f"somewhere in shot {shot}; allowed is {MIN_JACOBIAN} or more, since tissue must not fold. Multiply "
            f"the amplitudes with {largest_factor(deformation, shape, spacing_mm):.2g} or less, or widen the modes."
        )


def volume_ratios(deformation: Deformation, shape: Sequence[int], spacing_mm: Sequence[float]) -> Tensor:
    """Least determinant of ``I - d displacement / dx`` anywhere in the field of view, ``(shots,)`` float64."""
    return _least_ratios(_amplitudes(deformation), _slopes(deformation.modes, shape, spacing_mm))


def largest_factor(
    deformation: Deformation, shape: Sequence[int], spacing_mm: Sequence[float], least: float = 0.0
) -> float:
    """Factor that the amplitudes may be multiplied with before tissue would fold, to within 1 per cent; at most 1e3.

    Less than ``least`` is given as 0, which spares nine tenths of the work.
    """
    amplitude, slopes = _amplitudes(deformation), _slopes(deformation.modes, shape, spacing_mm)
    if least > 0 and _folds(least, amplitude, slopes):
        return 0.0
    low, high = 1e-3, 1e3
    while _folds(low, amplitude, slopes):
        low /= 10
    while high > 1.01 * low:
        middle = math.sqrt(low * high)
        if _folds(middle, amplitude, slopes):
            high = middle
        else:
            low = middle
    return low


def _folds(factor: float, amplitude_mm: Tensor, slopes: Tensor) -> bool:
    """Whether any shot does; those that move most are asked first."""
    by_size = amplitude_mm.abs().sum(1).argsort(descending=True)
    return any(bool(_least_ratios(row[None] * factor, slopes) < MIN_JACOBIAN) for row in amplitude_mm[by_size])


def _amplitudes(deformation: Deformation) -> Tensor:
    return deformation.amplitude_mm.detach().double().cpu()


def _least_ratios(amplitude_mm: Tensor, slopes: Tensor) -> Tensor:
    dims = slopes.shape[1]
    identity = torch.eye(dims, dtype=torch.float64)[(...,) + (None,) * dims]
    return torch.stack([_determinant(identity - torch.tensordot(row, slopes, dims=1)).min() for row in amplitude_mm])


def _slopes(modes: Sequence[Mode], shape: Sequence[int], spacing_mm: Sequence[float]) -> Tensor:
    """Slope of every mode's displacement, per mm of amplitude, ``(modes, component, axis, *grid)`` float64.

    Differences over a step so small that they are the derivatives, on a grid that need not resolve the image.
    """
    step = 1e-4
    grid = [(torch.arange(_JACOBIAN_GRID[len(shape)]).double() + 0.5) / _JACOBIAN_GRID[len(shape)]] * len(shape)
    slopes = []
    for axis, (size, mm) in enumerate(zip(shape, spacing_mm, strict=True)):
        after, before = (
            displacement_at(modes, [place + sign * step * (other == axis) for other, place in enumerate(grid)])
            for sign in (1, -1)
        )
        slopes.append((after - before) / (2 * step * size * mm))
    return torch.stack(slopes, 2)


def _determinant(matrix: Tensor) -> Tensor:
    """Determinant over the first two of ``(dims, dims, *grid)``."""
    if len(matrix) == 2:
        return matrix[0, 0] * matrix[1, 1] - matrix[0, 1] * matrix[1, 0]
    return (matrix[0] * torch.linalg.cross(matrix[1], matrix[2], dim=0)).sum(0)
