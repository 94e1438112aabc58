"""The forward model y = | sum over shots s of F^-1 M_s F T_s x |, with T_s a rigid pose and M_s the lines of
shot s.

Work is done only where it shows: lines whose shots share a rotation are rotated once, only the kept lines of
    a rotated image are encoded (partial transform), translations are phase ramps on the lines, and one
    inverse transform ends it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .fourier import encode_lines, unit_phasor
from .rotation import rotate
from .trajectory import RigidTrajectory, check_trajectory, is_still, rotation_matrices

# Pixels that are rotated at a time: small images go through in one batch, volumes pose by pose to spare
# memory.
_PIXELS_AT_A_TIME = 2**20


def simulate_motion(
    image: Tensor,
    trajectory: RigidTrajectory,
    shot_of_line: Tensor,
    phase_encode_axis: int,
    spacing_mm: Sequence[float],
) -> Tensor:
    """Acquire a moving object; the same motion for every image of the batch.

    Content that leaves the field of view by translation comes back on the other side, as in a Fourier
    acquisition (fold-over); outside the field of view there is nothing. With every pose the identity the
    result is a copy of the input. Differentiable in the image and in the trajectory.

    Args:
        image: ``(..., H, W)`` or ``(..., H, W, D)``, float or complex; spatial dimensions as in the
            trajectory.
        trajectory: pose of every shot.
        shot_of_line: ``(lines,)`` shot of every line of centred k-space, see ``assign_shots``.
        phase_encode_axis: spatial axis that is phase-encoded, 0 is the first spatial axis.
        spacing_mm: voxel size along each spatial axis.

    Returns:
        complex image of the shape of ``image``, before the modulus (:func:`magnitude`).

    Raises:
        TypeError: for an image that is neither floating point nor complex.
        ValueError: for an axis, a spacing, a trajectory or shots that do not fit the image.
    """
    check_trajectory(trajectory)
    check_image(image, trajectory.spatial_dims, phase_encode_axis)
    check_spacing(spacing_mm, trajectory.spatial_dims)
    check_shots(shot_of_line, trajectory, image.shape[phase_encode_axis - trajectory.spatial_dims])
    if is_still(trajectory) and not trajectory.requires_grad:
        return image.to(image.dtype.to_complex(), copy=True)
    dims = trajectory.spatial_dims
    order = [phase_encode_axis, *(axis for axis in range(dims) if axis != phase_encode_axis)]
    spacing = torch.tensor(spacing_mm, dtype=torch.float64, device=image.device)[order]
    translation = trajectory.translation_mm.to(image.device, torch.float64)[:, order]
    rotation_deg = trajectory.rotation_deg.to(image.device, torch.float64)
    rotation = rotation_matrices(rotation_deg)[:, order][:, :, order]
    # Lines in the order of torch.fft from here on, k = 0 first: see encode_lines.
    shot_of_line = torch.fft.ifftshift(shot_of_line.to(image.device))

    # (batch, lines, *others): the phase-encode axis leads the spatial axes.
    stack = image.movedim(phase_encode_axis - dims, -dims)
    flat = stack.reshape(-1, *stack.shape[-dims:])
    lines = _encode_rotated(flat, rotation, shot_of_line, spacing)
    lines = torch.fft.fftn(lines, dim=tuple(range(2, dims + 1)), norm="ortho")
    lines = _translate(lines, (translation / spacing)[shot_of_line])
    moved = torch.fft.ifftn(lines, dim=tuple(range(1, dims + 1)), norm="ortho").reshape(stack.shape)
    return moved.movedim(-dims, phase_encode_axis - dims)


def magnitude(image: Tensor) -> Tensor:
    """Modulus of a complex image: what a scanner stores."""
    return image.abs()


def move_image(
    image: Tensor, pose: RigidTrajectory, phase_encode_axis: int, spacing_mm: Sequence[float]
) -> Tensor:
    """Magnitude of an object held in one pose: :func:`simulate_motion` of a single shot."""
    lines = image.shape[phase_encode_axis - pose.spatial_dims]
    shots = torch.zeros(lines, dtype=torch.long, device=image.device)
    return magnitude(simulate_motion(image, pose, shots, phase_encode_axis, spacing_mm))


def _encode_rotated(flat: Tensor, rotation: Tensor, shot_of_line: Tensor, spacing_mm: Tensor) -> Tensor:
    """Phase-encode lines ``(batch, lines, *others)``, each of the object rotated as in its own shot."""
    rotations, group_of_shot = _distinct(rotation)
    group_of_line = group_of_shot[shot_of_line]
    kept = [(group_of_line == group).nonzero()[:, 0] for group in range(len(rotations))]
    at_a_time = max(1, _PIXELS_AT_A_TIME // flat.numel())
    encoded = []
    for start in range(0, len(rotations), at_a_time):
        turned = _rotate_all(flat, rotations[start : start + at_a_time], spacing_mm)
        pairs = zip(turned, kept[start : start + at_a_time], strict=True)
        encoded += [encode_lines(view, lines, 1 - view.ndim) for view, lines in pairs]
    return torch.cat(encoded, 1)[:, torch.cat(kept).argsort()]


def _rotate_all(flat: Tensor, rotations: Tensor, spacing_mm: Tensor) -> Tensor:
    """``(rotations, batch, *spatial)``; an identity on its own costs nothing."""
    identity = torch.eye(rotations.shape[-1], dtype=rotations.dtype, device=rotations.device)
    if len(rotations) == 1 and not rotations.requires_grad and bool((rotations[0] == identity).all()):
        return flat[None]
    return rotate(flat, rotations, spacing_mm)


def _distinct(rotation: Tensor) -> tuple[Tensor, Tensor]:
    """Distinct rotations and the number of each shot's own; all of them where a gradient must reach every
    shot.
    """
    if rotation.requires_grad:
        return rotation, torch.arange(len(rotation), device=rotation.device)
    return torch.unique(rotation, dim=0, return_inverse=True)


def _translate(lines: Tensor, shift_px: Tensor) -> Tensor:
    """Shift the object of every line by an exact phase ramp.

    Args:
        lines: k-space ``(batch, lines, *others)``.
        shift_px: ``(lines, spatial_dims)``, the phase-encode axis first.
    """
    for axis in range(shift_px.shape[1]):
        if not (shift_px.requires_grad or bool(shift_px[:, axis].any())):
            continue
        size = lines.shape[1 + axis]
        frequency = torch.fft.fftfreq(size, dtype=torch.float64, device=lines.device)
        turns = (
            (frequency * shift_px[:, 0])[:, None] if axis == 0 else torch.outer(shift_px[:, axis], frequency)
        )
        ramp = unit_phasor(-2 * math.pi * turns).to(lines.dtype)
        layout = [1, len(shift_px)] + [1] * (lines.ndim - 2)
        layout[1 + axis] = size
        lines = lines * ramp.reshape(layout)
    return lines


def check_image(image: Tensor, spatial_dims: int, phase_encode_axis: int) -> None:
    """Raise unless the image is float or complex, has the spatial dimensions, and the phase-encode axis
    exists.
    """
    if not (image.is_floating_point() or image.is_complex()):
        raise TypeError(
            f"image: got dtype {image.dtype}; allowed are float and complex. Convert it with .float()."
        )
    if image.ndim < spatial_dims:
        raise ValueError(
            f"image: got shape {tuple(image.shape)}; a {spatial_dims}D trajectory needs at least "
            f"{spatial_dims} dimensions. Give an image with as many spatial axes as the trajectory has "
            "translation columns."
        )
    if not 0 <= phase_encode_axis < spatial_dims:
        raise ValueError(
            f"phase_encode_axis: got {phase_encode_axis} for an image with {spatial_dims} spatial axes; "
            f"allowed is 0 to {spatial_dims - 1}. Count the spatial axes from 0, without the channel."
        )


def check_spacing(spacing_mm: Sequence[float], spatial_dims: int) -> None:
    """Raise ValueError unless there is one positive, finite voxel size per spatial axis."""
    if len(spacing_mm) != spatial_dims or not all(math.isfinite(s) and s > 0 for s in spacing_mm):
        raise ValueError(
            f"spacing_mm: got {[float(s) for s in spacing_mm]}; allowed are {spatial_dims} positive voxel "
            "sizes in mm. Mend the image's affine or give spacing_mm."
        )


def check_shots(shot_of_line: Tensor, trajectory: RigidTrajectory, num_lines: int) -> None:
    """Raise ValueError unless every line has a shot and the trajectory has a row for every shot."""
    if tuple(shot_of_line.shape) != (num_lines,):
        raise ValueError(
            f"shot_of_line: got shape {tuple(shot_of_line.shape)}; allowed is ({num_lines},), a shot for "
            "each line of the phase_encode_axis. Make it with assign_shots."
        )
    needed = int(shot_of_line.max()) + 1
    if needed != trajectory.num_shots or int(shot_of_line.min()) < 0:
        raise ValueError(
            f"trajectory: got {trajectory.num_shots} rows for {needed} shots; allowed is one row per shot. "
            "Give the trajectory as many rows as assign_shots was given shots."
        )
