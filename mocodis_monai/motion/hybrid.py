"""Hybrid space: every sample of an acquisition in k-space, the other axes of the image still in image space.

A layout has its encoded axes first, and k = 0 first as in torch.fft: see ``encode_lines``. Its hybrid space is
``(batch, samples, *others)``, the samples in the order of the flattened ``shot_of_line``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import NamedTuple

import torch
from torch import Tensor

from .acquisition import Acquisition
from .blocks import in_blocks, matters
from .fourier import unit_phasor


class SampleLayout(NamedTuple):
    """An acquisition as the transforms need it.

    Attributes:
        order: spatial axes, the encoded ones first.
        sizes: of the axes in that order.
        encoded: number of dimensions of ``shot_of_line``.
        sliced: whether the second of them is the slice axis, which stays in image space.
        shot_of_sample: ``(samples,)``, k = 0 first along phase-encode axes.
        spacing_mm: of the axes in that order.
    """

    order: tuple[int, ...]
    sizes: tuple[int, ...]
    encoded: int
    sliced: bool
    shot_of_sample: Tensor
    spacing_mm: Tensor

    @property
    def encoded_sizes(self) -> tuple[int, ...]:
        return self.sizes[: self.encoded]


def plan_layout(acquisition: Acquisition, image: Tensor, spacing_mm: Sequence[float]) -> SampleLayout:
    """The layout of ``(..., *spatial)`` images."""
    dims = len(spacing_mm)
    encoded = acquisition.encoded_axes
    order = (*encoded, *(axis for axis in range(dims) if axis not in encoded))
    shot = zero_first(acquisition.shot_of_line.to(image.device), acquisition).flatten()
    spacing = torch.tensor([spacing_mm[axis] for axis in order], dtype=torch.float64, device=image.device)
    sizes = tuple(image.shape[axis - dims] for axis in order)
    return SampleLayout(order, sizes, len(encoded), acquisition.slice_axis is not None, shot, spacing)


def zero_first(of_line: Tensor, acquisition: Acquisition) -> Tensor:
    """Numbers of lines of centred k-space, k = 0 first along the phase-encode axes."""
    return torch.fft.ifftshift(of_line, dim=tuple(range(len(acquisition.phase_encode_axes))))


def to_layout(image: Tensor, layout: SampleLayout) -> Tensor:
    """``(batch, *spatial)``, axes in the order of the layout."""
    dims = len(layout.order)
    stack = image.movedim([axis - dims for axis in layout.order], list(range(-dims, 0)))
    return stack.reshape(-1, *layout.sizes)


def lines_of(mask: Tensor) -> Tensor:
    """Numbers of the lines along the first axis that a mask of samples touches."""
    return (mask if mask.ndim == 1 else mask.any(1)).nonzero()[:, 0]


def pick(hybrid: Tensor, lines: Tensor, mask: Tensor, layout: SampleLayout) -> Tensor:
    """The samples of a mask ``(batch, chosen, *others)`` out of lines ``(batch, lines, ...)``."""
    if layout.encoded == 1:
        return hybrid
    if not layout.sliced:
        hybrid = torch.fft.fft(hybrid, dim=2, norm="ortho")
    return hybrid[:, mask[lines]]


def slices_of_shots(
    hybrid: Tensor, lines: Tensor, mask: Tensor, shift_px: Tensor, layout: SampleLayout
) -> Iterator[tuple[Tensor, Tensor]]:
    """Samples and masks of the shots in ``mask``: the object is shifted across the slices before a slice is taken."""
    shot_of_sample = layout.shot_of_sample.reshape(layout.encoded_sizes)
    frequency = torch.fft.fftfreq(layout.sizes[1], dtype=torch.float64, device=hybrid.device)
    index = torch.arange(layout.sizes[1], device=hybrid.device)
    for shot in shot_of_sample[mask].unique():
        chosen = shot_of_sample == shot
        own, slices = lines_of(chosen), chosen.any(0).nonzero()[:, 0]
        kernel = torch.fft.ifft(unit_phasor(-2 * math.pi * frequency * shift_px[shot]))
        shift = kernel[(slices[:, None] - index) % len(index)].to(hybrid.dtype)
        moved = shift @ hybrid[:, torch.isin(lines, own)]
        yield moved[:, chosen[own][:, slices]], chosen


def assemble(pieces: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    """All samples ``(batch, samples, *others)`` of the pieces and the masks of theirs."""
    remaining = iter(pieces)
    first, chosen = next(remaining)
    samples = first.new_empty(len(first), chosen.numel(), *first.shape[2:])
    for part, mask in chain([(first, chosen)], remaining):
        samples.index_copy_(1, mask.flatten().nonzero()[:, 0], part)
    return samples


def translate(samples: Tensor, shift_px: Tensor, layout: SampleLayout) -> Tensor:
    """Shift the object of every sample by exact phase ramps; ``shift_px`` is ``(shots, spatial_dims)``.

    Without a gradient the samples are changed in place.
    """
    if not matters(shift_px):
        return samples
    frequency = [torch.fft.fftfreq(size, dtype=torch.float64, device=samples.device) for size in layout.sizes]
    phase_encoded = range(1 if layout.sliced else layout.encoded)
    grid = torch.meshgrid(*[frequency[axis] for axis in range(layout.encoded)], indexing="ij")
    turns = torch.stack([grid[axis].flatten() * shift_px[layout.shot_of_sample, axis] for axis in phase_encoded]).sum(0)
    along = unit_phasor(-2 * math.pi * turns).to(samples.dtype).reshape(-1, *[1] * (samples.ndim - 2))
    axes = [axis for axis in range(layout.encoded, len(layout.sizes)) if matters(shift_px[:, axis])]
    dims = [2 + axis - layout.encoded for axis in axes]
    ramps = []
    for dim, axis in zip(dims, axes, strict=True):
        ramp = unit_phasor(-2 * math.pi * torch.outer(shift_px[:, axis], frequency[axis])).to(samples.dtype)
        ramps.append(ramp.reshape(-1, *[layout.sizes[axis] if dim == other else 1 for other in range(2, samples.ndim)]))

    def block(start: int, count: int) -> Tensor:
        chosen = slice(start, start + count)
        moved = samples[:, chosen] * along[chosen]
        if not dims:
            return moved
        moved = torch.fft.fftn(moved, dim=dims)
        for ramp in ramps:
            moved = moved * ramp[layout.shot_of_sample[chosen]]
        return torch.fft.ifftn(moved, dim=dims)

    in_place = not (samples.requires_grad or shift_px.requires_grad)
    planes = samples.shape[1]
    return in_blocks(block, planes, samples.numel() // planes, 1, samples if in_place else None)


def reconstruct(samples: Tensor, batch_shape: torch.Size, layout: SampleLayout) -> Tensor:
    """Image ``(*batch_shape, *spatial)`` of hybrid space, in place without a gradient."""
    dims = len(layout.order)
    stack = samples.reshape(-1, *layout.sizes)
    phase_encoded = tuple(range(1, 2 if layout.sliced else 1 + layout.encoded))
    other = len(phase_encoded) + 1

    def block(start: int, count: int) -> Tensor:
        return torch.fft.ifftn(stack.narrow(other, start, count), dim=phase_encoded, norm="ortho")

    planes = stack.shape[other]
    image = in_blocks(block, planes, stack.numel() // planes, other, None if stack.requires_grad else stack)
    image = image.reshape(*batch_shape, *layout.sizes)
    return image.movedim(list(range(-dims, 0)), [axis - dims for axis in layout.order])
