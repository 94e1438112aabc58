"""What the receiver adds to the object: a smooth phase, the sensitivity of its coils, and noise.

All of it stands still in the scanner while the object moves.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .fourier import unit_phasor

# Size of the loops and their distance from the centre, in half fields of view: outside the corners of a slice, so that
# their phase has no jump within it.
_LOOP_RADIUS, _LOOP_DISTANCE = 1.0, 2.0
# Highest harmonic of the random phase along each axis, in half-cosines over the field of view.
_PHASE_HARMONICS = 2


class Receiver(NamedTuple):
    """The receiving end of the scanner.

    Attributes:
        phase_rad: ``(*spatial)`` smooth phase, or None.
        coil_maps: ``(coils, *spatial)`` complex, sum over coils of ``|c|^2`` = 1, or None.
        noise_std: standard deviation of the noise in the real and in the imaginary part of each coil's image, in image
            units.
    """

    phase_rad: Tensor | None = None
    coil_maps: Tensor | None = None
    noise_std: float = 0.0


def check_receiver(receiver: Receiver, spatial_shape: Sequence[int]) -> None:
    """Raise ValueError unless phase and coil maps fit the image and the noise is finite and not negative."""
    wanted = tuple(spatial_shape)
    phase, maps, noise_std = receiver
    if phase is not None and (tuple(phase.shape) != wanted or phase.is_complex()):
        raise ValueError(
            f"receiver.phase_rad: got shape {tuple(phase.shape)}, {phase.dtype}; allowed is {wanted}, real. Make it "
            "with random_phase of the image's spatial shape."
        )
    if maps is not None and (tuple(maps.shape[1:]) != wanted or not maps.is_complex() or len(maps) < 1):
        raise ValueError(
            f"receiver.coil_maps: got shape {tuple(maps.shape)}, {maps.dtype}; allowed is {('coils', *wanted)}, "
            "complex. Make them with coil_maps of the image's spatial shape."
        )
    if not (math.isfinite(noise_std) and noise_std >= 0):
        raise ValueError(f"receiver.noise_std: got {noise_std}; allowed is 0 or more. Give image units.")


def random_phase(shape: Sequence[int], rng: np.random.RandomState, max_rad: float) -> Tensor:
    """A smooth object phase: a random sum of low harmonics that reaches ``max_rad`` and has mean zero.

    Phase in MRI comes from the field's inhomogeneity and the transmit and receive chain, which vary slowly over the
    body (Haacke et al. 1999, Magnetic Resonance Imaging, chapter 20).

    Args:
        shape: spatial shape.
        rng: the only source of randomness.
        max_rad: largest absolute phase.

    Returns:
        ``(*shape)`` float64.

    Raises:
        ValueError: ``max_rad`` is negative or not finite.
    """
    if not (math.isfinite(max_rad) and max_rad >= 0):
        raise ValueError(f"max_rad: got {max_rad}; allowed is 0 or more radians. Give a finite phase.")
    order = np.stack(np.meshgrid(*[np.arange(_PHASE_HARMONICS + 1)] * len(shape), indexing="ij"))
    decay = np.linalg.norm(order, axis=0)
    weight = rng.normal(size=decay.shape) / np.maximum(decay, 1) ** 2 * (decay > 0)
    phase = torch.from_numpy(weight)
    for size in shape:
        place = (torch.arange(size, dtype=torch.float64) + 0.5) / size
        basis = torch.cos(math.pi * torch.outer(torch.arange(_PHASE_HARMONICS + 1, dtype=torch.float64), place))
        # Each turn consumes the first axis and appends the pixels, so that the axes end in their order.
        phase = torch.tensordot(phase, basis, dims=([0], [0]))
    largest = phase.abs().max()
    return phase * (max_rad / largest) if largest > 0 else phase


def coil_maps(num_coils: int, shape: Sequence[int]) -> Tensor:
    """Sensitivities of loops spaced evenly around the first two axes, sum over coils of ``|c|^2`` = 1.

    Each loop sees less with the distance d from it, as the field on the axis of a current loop of radius a falls with
    (1 + (d / a)^2)^(-3/2) (Roemer et al. 1990, Magn Reson Med 16:192), with a phase that turns with the direction from
    the loop, as in a birdcage array. In 3D neighbouring loops lie alternately before and behind the middle of the third
    axis.

    Args:
        num_coils: number of coils; one coil has magnitude 1 everywhere.
        shape: spatial shape.

    Returns:
        ``(coils, *shape)`` complex128.

    Raises:
        ValueError: no coil.
    """
    if num_coils < 1:
        raise ValueError(f"num_coils: got {num_coils}; allowed is 1 or more. Give the number of coils.")
    axes = [2 * (torch.arange(size, dtype=torch.float64) + 0.5) / size - 1 for size in shape]
    place = torch.meshgrid(*axes, indexing="ij")
    maps = []
    for coil in range(num_coils):
        angle = 2 * math.pi * coil / num_coils
        centre = [_LOOP_DISTANCE * math.cos(angle), _LOOP_DISTANCE * math.sin(angle), 0.5 * (-1) ** coil]
        offset = [axis - at for axis, at in zip(place, centre[: len(shape)], strict=True)]
        strength = (1 + sum(step.square() for step in offset) / _LOOP_RADIUS**2) ** -1.5
        # The direction from the loop, counted from the way to the centre: within a right angle, so without a jump.
        inward = -(offset[0] * math.cos(angle) + offset[1] * math.sin(angle))
        sideways = offset[1] * math.cos(angle) - offset[0] * math.sin(angle)
        maps.append(strength * unit_phasor(torch.atan2(sideways, inward) + angle))
    stack = torch.stack(maps)
    return stack / stack.abs().square().sum(0).sqrt()


def combine(coil_images: Tensor, coil_maps: Tensor | None = None) -> Tensor:
    """One image of the coils' images.

    Args:
        coil_images: ``(coils, ..., *spatial)`` complex.
        coil_maps: ``(coils, *spatial)`` complex, or None.

    Returns:
        ``(..., *spatial)``: without maps the root of the sum of squares, real; with maps the complex combination, sum
        over coils of conj(c) y, which has the least noise (Roemer et al. 1990, Magn Reson Med 16:192).

    Raises:
        ValueError: not one map for each coil image.
    """
    if coil_maps is None:
        return torch.linalg.vector_norm(coil_images, dim=0)
    if len(coil_maps) != len(coil_images):
        raise ValueError(
            f"coil_maps: got {len(coil_maps)} maps for {len(coil_images)} coil images; allowed is one per coil. Give "
            "the maps that the images were acquired with."
        )
    between = [1] * (coil_images.ndim - coil_maps.ndim)
    maps = coil_maps.reshape(len(coil_maps), *between, *coil_maps.shape[1:]).to(coil_images)
    return (maps.conj() * coil_images).sum(0)
