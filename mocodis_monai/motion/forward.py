"""The forward model y = sum over shots s of F^-1 M_s F (phase * coil * T_s x) + noise, with T_s a rigid pose or a
deformation and M_s the samples of shot s.

Work is done only where it shows: lines whose shots share a rotation are rotated once, only the kept lines of a rotated
image are encoded (partial transform), translations are phase ramps on the lines, and one inverse transform ends it.
Only where the receiver has a phase or coils, or the object deforms, is every shot's image made. In between, the data
are in the hybrid space of :mod:`mocodis_monai.motion.hybrid`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from .acquisition import Acquisition, check_acquisition, single_shot
from .blocks import PIXELS_AT_A_TIME, matters
from .deformation import Motion, check_deformation, deform
from .fourier import encode_lines, unit_phasor
from .full_precision import at_full_precision
from .hybrid import (
    SampleLayout,
    assemble,
    lines_of,
    pick,
    plan_layout,
    reconstruct,
    slices_of_shots,
    to_layout,
    translate,
    zero_first,
)
from .receiver import Receiver, check_receiver
from .rotation import encode_rotated
from .trajectory import RigidTrajectory, check_trajectory, rotation_matrices


@at_full_precision
def simulate_motion(
    image: Tensor,
    motion: Motion,
    acquisition: Acquisition,
    spacing_mm: Sequence[float],
    receiver: Receiver | None = None,
    echo_weights: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Acquire a moving object; the same motion for every image of the batch.

    Content that leaves the field of view by translation comes back on the other side, as in a Fourier acquisition
    (fold-over), across the slices of a multi-slice scan too; what turns out of it is lost. With every pose the identity
    and nothing else asked for, the result is a copy of the input. Differentiable in the image and in the motion.

    Args:
        image: ``(..., H, W)`` or ``(..., H, W, D)``, float or complex; spatial dimensions as in the motion.
        motion: pose or deformation of every shot.
        acquisition: the shot of every sample, see ``plan_acquisition``.
        spacing_mm: voxel size along each spatial axis.
        receiver: phase, coil maps and noise, which do not move; None: the object alone.
        echo_weights: ``(echoes,)`` weight of each place in the echo train, such as :func:`t2_decay`; only their ratio
            to the echo that acquires the centre of k-space matters.
        generator: where the noise is drawn from; default torch's own generator.

    Returns:
        complex image of the shape of ``image``, before the modulus (:func:`magnitude`); with coil maps ``(coils,
        *image.shape)``, see ``combine``.

    Raises:
        TypeError: for an image that is neither floating point nor complex.
        ValueError: for an acquisition, a spacing, a motion, a receiver or weights that do not fit the image.
    """
    check_acquired(image, motion, acquisition, spacing_mm)
    if receiver is None and echo_weights is None and not motion.requires_grad and motion.is_still:
        return image.to(image.dtype.to_complex(), copy=True)
    dims = motion.spatial_dims
    receiver = Receiver() if receiver is None else receiver
    check_receiver(receiver, image.shape[-dims:])
    layout = plan_layout(acquisition, image, spacing_mm)
    if isinstance(motion, RigidTrajectory) and receiver.phase_rad is None and receiver.coil_maps is None:
        batch_shape = image.shape[:-dims]
        samples = _acquire_rigid(to_layout(image, layout), motion, layout)
    else:
        batch_shape, samples = _acquire_views(image, motion, spacing_mm, receiver, layout)
    if echo_weights is not None:
        weight = _sample_weights(echo_weights, acquisition).to(samples)
        samples = samples * weight.reshape(-1, *[1] * (samples.ndim - 2))
    if receiver.noise_std:
        samples = samples + receiver.noise_std * _noise(samples, generator)
    return reconstruct(samples, batch_shape, layout)


def magnitude(image: Tensor) -> Tensor:
    """Modulus of a complex image: what a scanner stores."""
    return image.abs()


def move_image(image: Tensor, pose: RigidTrajectory, spacing_mm: Sequence[float]) -> Tensor:
    """Magnitude of an object held in one pose: :func:`simulate_motion` of a single shot."""
    return magnitude(_move(image, pose, spacing_mm))


def _move(image: Tensor, pose: RigidTrajectory, spacing_mm: Sequence[float]) -> Tensor:
    """Complex image of the object in a pose."""
    return simulate_motion(image, pose, single_shot(image.shape[-pose.spatial_dims :]), spacing_mm)


def _acquire_rigid(stack: Tensor, trajectory: RigidTrajectory, layout: SampleLayout) -> Tensor:
    """Hybrid space of an object that in every sample has the pose of its shot."""
    order = list(layout.order)
    shift_px = trajectory.translation_mm.to(stack.device, torch.float64)[:, order] / layout.spacing_mm
    rotation = rotation_matrices(trajectory.rotation_deg.to(stack.device, torch.float64))[:, order][:, :, order]
    rotations, group_of_shot = _distinct(rotation)
    group_of_sample = group_of_shot[layout.shot_of_sample].reshape(layout.encoded_sizes)
    masks = [group_of_sample == group for group in range(len(rotations))]
    lines = [lines_of(mask) for mask in masks]
    encoded = _encode_all(stack, rotations, layout.spacing_mm, lines)
    by_shot = layout.sliced and matters(shift_px[:, 1])

    def pieces() -> Iterator[tuple[Tensor, Tensor]]:
        for hybrid, own, mask in zip(encoded, lines, masks, strict=True):
            if by_shot:
                yield from slices_of_shots(hybrid, own, mask, shift_px[:, 1], layout)
            else:
                yield pick(hybrid, own, mask, layout), mask

    return translate(assemble(pieces()), shift_px, layout)


def _acquire_views(
    image: Tensor,
    motion: Motion,
    spacing_mm: Sequence[float],
    receiver: Receiver,
    layout: SampleLayout,
) -> tuple[torch.Size, Tensor]:
    """Leading shape and hybrid space of the images that the receiver sees in each shot."""
    dims = len(layout.order)
    pieces, batch_shape = [], torch.Size()
    for shots, view in _views(image, motion, spacing_mm):
        seen = _receive(view, receiver, dims)
        batch_shape = seen.shape[:-dims]
        mask = torch.isin(layout.shot_of_sample, shots.to(image.device)).reshape(layout.encoded_sizes)
        lines = lines_of(mask)
        hybrid = encode_lines(to_layout(seen, layout), lines, -dims)
        pieces.append((pick(hybrid, lines, mask, layout), mask))
    return batch_shape, assemble(pieces)


def _views(
    image: Tensor, motion: Motion, spacing_mm: Sequence[float]
) -> Iterator[tuple[Tensor, Tensor]]:
    """The shots that share a state of the object, and the object in that state, of the shape of ``image``."""
    if isinstance(motion, RigidTrajectory):
        numbers, at_a_time = torch.cat(motion, 1), 1
    else:
        numbers, at_a_time = motion.amplitude_mm, max(1, PIXELS_AT_A_TIME // image.numel())
    states, state_of_shot = _distinct(numbers)
    members = [(state_of_shot == state).nonzero()[:, 0] for state in range(len(states))]
    first = torch.stack([shots[0] for shots in members])
    for start in range(0, len(first), at_a_time):
        shots = first[start : start + at_a_time]
        if isinstance(motion, RigidTrajectory):
            views = _move(image, RigidTrajectory(*(values[shots] for values in motion)), spacing_mm)[None]
        else:
            views = deform(image, motion, shots, spacing_mm)
        yield from zip(members[start : start + at_a_time], views, strict=True)


def _receive(view: Tensor, receiver: Receiver, spatial_dims: int) -> Tensor:
    """The object as the receiver sees it: with coil maps ``(coils, *view.shape)``."""
    if receiver.phase_rad is not None:
        view = view * unit_phasor(receiver.phase_rad).to(view.device, view.dtype.to_complex())
    if receiver.coil_maps is not None:
        maps = receiver.coil_maps.to(view.device, view.dtype.to_complex())
        view = view * maps.reshape(len(maps), *[1] * (view.ndim - spatial_dims), *maps.shape[1:])
    return view


def _encode_all(stack: Tensor, rotations: Tensor, spacing_mm: Tensor, lines: list[Tensor]) -> Iterator[Tensor]:
    """For each rotation its lines ``(batch, lines, *others)``; the identity costs no rotation."""
    identity = torch.eye(rotations.shape[-1], dtype=rotations.dtype, device=rotations.device)
    turns = (rotations != identity).any(2).any(1) | rotations.requires_grad
    numbers = turns.nonzero()[:, 0].tolist()
    # One rotated image at a time: each is made when it is asked for, in the order of ``numbers``.
    turned = encode_rotated(stack, rotations[numbers], spacing_mm, [lines[number] for number in numbers])
    for number, own in enumerate(lines):
        yield next(turned) if number in numbers else encode_lines(stack, own, 1 - stack.ndim)


def _distinct(states: Tensor) -> tuple[Tensor, Tensor]:
    """Distinct rows and the number of each shot's own; all of them where a gradient must reach every shot."""
    if states.requires_grad:
        return states, torch.arange(len(states), device=states.device)
    return torch.unique(states, dim=0, return_inverse=True)


def _sample_weights(echo_weights: Tensor, acquisition: Acquisition) -> Tensor:
    """Weight of every sample, one at the centre of k-space, ``(samples,)`` with k = 0 first."""
    if echo_weights.ndim != 1 or len(echo_weights) < acquisition.num_echoes:
        raise ValueError(
            f"echo_weights: got shape {tuple(echo_weights.shape)}; allowed is ({acquisition.num_echoes},) or longer, "
            "a weight for every echo of the acquisition. Make it with t2_decay(acquisition.num_echoes, ...)."
        )
    weight = zero_first(echo_weights[acquisition.echo_of_line.to(echo_weights.device)], acquisition)
    centre = weight[(0,) * len(acquisition.phase_encode_axes)]
    if not (bool(torch.isfinite(weight).all()) and bool((centre != 0).all())):
        raise ValueError(
            "echo_weights: got a weight that is not finite, or zero at the echo of the centre of k-space; allowed are "
            "finite weights, not zero there. Lower the echo spacing or raise T2."
        )
    return (weight / centre).flatten()


def _noise(samples: Tensor, generator: torch.Generator | None) -> Tensor:
    """Complex noise of the shape of ``samples``, standard deviation 1 in each part; the transform is unitary, so it
    has the same in the image.
    """
    device = samples.device if generator is None else generator.device
    parts = torch.randn(*samples.shape, 2, generator=generator, dtype=samples.dtype.to_real(), device=device)
    return torch.view_as_complex(parts).to(samples.device)


def check_acquired(
    image: Tensor, motion: Motion, acquisition: Acquisition, spacing_mm: Sequence[float]
) -> None:
    """Raise unless image, motion, acquisition and spacing fit each other, see :func:`simulate_motion`."""
    if isinstance(motion, RigidTrajectory):
        check_trajectory(motion)
    else:
        check_deformation(motion)
    dims = motion.spatial_dims
    check_image(image, dims)
    check_spacing(spacing_mm, dims)
    check_acquisition(acquisition, image.shape[-dims:])
    if motion.num_shots != acquisition.num_shots:
        raise ValueError(
            f"motion: got {motion.num_shots} rows for {acquisition.num_shots} shots; allowed is one row per shot. Give "
            "the motion as many rows as the acquisition has shots (packages times num_shots with a slice_axis)."
        )


def check_image(image: Tensor, spatial_dims: int) -> None:
    """Raise unless the image is float or complex and has the spatial dimensions."""
    if not (image.is_floating_point() or image.is_complex()):
        raise TypeError(f"image: got dtype {image.dtype}; allowed are float and complex. Convert it with .float().")
    if image.ndim < spatial_dims:
        raise ValueError(
            f"image: got shape {tuple(image.shape)}; a {spatial_dims}D motion needs at least {spatial_dims} "
            "dimensions. Give an image with as many spatial axes as the motion has."
        )


def check_spacing(spacing_mm: Sequence[float], spatial_dims: int) -> None:
    """Raise ValueError unless there is one positive, finite voxel size per spatial axis."""
    if len(spacing_mm) != spatial_dims or not all(math.isfinite(s) and s > 0 for s in spacing_mm):
        raise ValueError(
            f"spacing_mm: got {[float(s) for s in spacing_mm]}; allowed are {spatial_dims} positive voxel "
            "sizes in mm. Mend the image's affine or give spacing_mm."
        )
