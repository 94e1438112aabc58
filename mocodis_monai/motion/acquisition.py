"""Which sample of k-space is acquired in which shot, and at which echo of it.

A sample here is a whole readout: a phase-encode line, in 3D a point of the (ky, kz) plane, in 2D multi-slice a line
of one slice. The readout itself takes milliseconds, during which nothing moves.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

LINE_ORDERS = ("linear", "interleaved", "centric", "random")


class Acquisition(NamedTuple):
    """Which sample of k-space is acquired in which shot, and where in its echo train.

    Axes are counted among the spatial axes, from 0; lines are numbered as in centred k-space, shots in the order of
    time.

    Attributes:
        phase_encode_axes: one spatial axis, or two in 3D.
        slice_axis: None; or the spatial axis of a 2D multi-slice volume, across which there is no encoding.
        shot_of_line: ``(lines,)`` long; ``(lines, partitions)`` with two phase-encode axes; ``(lines, slices)`` with a
            slice axis.
        echo_of_line: the same shape, place of the line in its shot's echo train, from 0.
    """

    phase_encode_axes: tuple[int, ...]
    slice_axis: int | None
    shot_of_line: Tensor
    echo_of_line: Tensor

    @property
    def num_shots(self) -> int:
        return int(self.shot_of_line.max()) + 1

    @property
    def num_echoes(self) -> int:
        return int(self.echo_of_line.max()) + 1

    @property
    def encoded_axes(self) -> tuple[int, ...]:
        """The image axes of the dimensions of ``shot_of_line``."""
        return self.phase_encode_axes if self.slice_axis is None else (*self.phase_encode_axes, self.slice_axis)


def plan_acquisition(
    shape: Sequence[int],
    num_shots: int,
    line_order: str,
    phase_encode_axes: Sequence[int],
    slice_axis: int | None = None,
    num_packages: int = 1,
    rng: np.random.RandomState | None = None,
    echo_bands: bool = False,
) -> Acquisition:
    """Share the samples of k-space out among the shots.

    With one phase-encode axis, ``linear`` gives each shot a contiguous block of lines, from one edge of k-space to the
    other; ``interleaved`` gives shot s the lines s, s + num_shots, ...; ``centric`` takes the lines by their distance
    from the centre, the negative one of two first, in contiguous blocks of that ranking; ``random`` cuts a permutation
    into blocks. With two phase-encode axes the same goes for the samples of the (ky, kz) plane: ``linear`` and
    ``interleaved`` count them line by line of the first axis, ``centric`` by the elliptic radius, k over size.

    With ``echo_bands``, as in turbo spin echo, each echo has a contiguous block of this ranking instead of each shot:
    line n of the ranking is echo ``n // num_shots``. So the decay along a train changes smoothly across k-space, and a
    still object gets no ghosts. ``linear`` is then ``interleaved``, and ``random`` deals the lines of an echo out to
    the shots at random.

    2D multi-slice: slice z belongs to package ``z % num_packages``. A package is acquired in ``num_shots`` shots of
    all its slices, then the next one, so that there are ``num_packages * num_shots`` shots in all.

    Args:
        shape: spatial shape of the image.
        num_shots: number of shots, of one package where there is a slice axis.
        line_order: one of :data:`LINE_ORDERS`.
        phase_encode_axes: one spatial axis, or two of a 3D acquisition.
        slice_axis: spatial axis across the slices of a 2D multi-slice acquisition.
        num_packages: 1 acquires all slices side by side, the number of slices acquires one after the other.
        rng: where the order ``random`` draws from.
        echo_bands: for an acquisition whose signal decays along the echo train.

    Raises:
        ValueError: for more shots than samples, an axis that is not there or given twice, an unknown order, more
            packages than slices, or the order ``random`` without ``rng``.
    """
    axes = tuple(int(axis) for axis in phase_encode_axes)
    _check_encoded_axes(axes, slice_axis, len(shape))
    sizes = [shape[axis] for axis in axes]
    samples = math.prod(sizes)
    if not 1 <= num_shots <= samples:
        raise ValueError(
            f"num_shots: got {num_shots} for {samples} phase-encode lines; allowed is 1 to {samples}, since every shot "
            "acquires at least one line. Lower num_shots or choose a longer phase-encode axis."
        )
    shot, echo = (part.reshape(sizes) for part in _share_out(sizes, num_shots, line_order, rng, echo_bands))
    if slice_axis is None:
        _check_packages(num_packages, 1)
        return Acquisition(axes, None, shot, echo)
    slices = shape[slice_axis]
    _check_packages(num_packages, slices)
    package = torch.arange(slices) % num_packages
    return Acquisition(
        axes, slice_axis, package * num_shots + shot[:, None], echo[:, None].expand(-1, slices).contiguous()
    )


def single_shot(shape: Sequence[int]) -> Acquisition:
    """All lines of an image of a spatial shape in one shot. They share its pose, so it does not matter which axis they
    encode.
    """
    shot = torch.zeros(shape[0], dtype=torch.long)
    return Acquisition((0,), None, shot, shot)


def check_acquisition(acquisition: Acquisition, spatial_shape: Sequence[int]) -> None:
    """Raise ValueError unless the axes exist and every sample of the image has a shot and an echo."""
    _check_encoded_axes(acquisition.phase_encode_axes, acquisition.slice_axis, len(spatial_shape))
    wanted = tuple(spatial_shape[axis] for axis in acquisition.encoded_axes)
    for name in ("shot_of_line", "echo_of_line"):
        numbers = getattr(acquisition, name)
        if tuple(numbers.shape) != wanted or int(numbers.min()) < 0:
            raise ValueError(
                f"acquisition.{name}: got shape {tuple(numbers.shape)}, least value "
                f"{int(numbers.min()) if numbers.numel() else None}; allowed is {wanted}, from 0. Make it with "
                f"plan_acquisition of the image's spatial shape {tuple(spatial_shape)}."
            )


def t2_decay(num_echoes: int, echo_spacing_ms: float, t2_ms: float) -> Tensor:
    """Signal of each echo of a train relative to the first, ``(num_echoes,)`` float64: echo_weights of the forward
    model, which relates them to the echo that acquires the centre of k-space.

    Args:
        num_echoes: echoes of the train.
        echo_spacing_ms: time from one echo to the next.
        t2_ms: transverse relaxation time of the tissue.

    Raises:
        ValueError: a time is not positive.
    """
    for name, value in (("echo_spacing_ms", echo_spacing_ms), ("t2_ms", t2_ms)):
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name}: got {value}; allowed is a positive time. Give milliseconds.")
    return torch.exp(-torch.arange(num_echoes, dtype=torch.float64) * (echo_spacing_ms / t2_ms))


def _share_out(
    sizes: Sequence[int], num_shots: int, line_order: str, rng: np.random.RandomState | None, echo_bands: bool
) -> tuple[Tensor, Tensor]:
    """Shot and echo of every sample of the raster, each ``(samples,)`` long."""
    samples = math.prod(sizes)
    rank = torch.arange(samples)
    if line_order == "centric":
        rank = _squared_radius(sizes).argsort(stable=True).argsort()
    elif line_order == "random":
        if rng is None:
            raise ValueError(
                "rng: got None; the line_order 'random' draws from a np.random.RandomState. Give one, or choose "
                "another order."
            )
        drawn = rng.permutation(samples)
        # With bands of echoes: shuffled within each band, which keeps its lines.
        rank = torch.from_numpy(np.lexsort((drawn, rank // num_shots)).argsort() if echo_bands else drawn).long()
    elif line_order not in LINE_ORDERS:
        raise ValueError(f"line_order: got {line_order!r}; allowed is one of {LINE_ORDERS}. Choose one of these.")
    if echo_bands or line_order == "interleaved":
        return rank % num_shots, rank // num_shots
    shot = rank * num_shots // samples
    # The first rank of shot s is the least whole number of at least s * samples / num_shots.
    return shot, rank - (shot * samples + num_shots - 1) // num_shots


def _squared_radius(sizes: Sequence[int]) -> Tensor:
    """Squared elliptic distance of every sample from k = 0, ``(samples,)``, in whole numbers so that ties are exact."""
    samples = math.prod(sizes)
    steps = [(torch.arange(size) - size // 2) * (samples // size) for size in sizes]
    squares = [step.square() for step in steps]
    return squares[0] if len(sizes) == 1 else (squares[0][:, None] + squares[1]).flatten()


def _check_encoded_axes(phase_encode_axes: tuple[int, ...], slice_axis: int | None, spatial_dims: int) -> None:
    if not 1 <= len(phase_encode_axes) <= (2 if spatial_dims == 3 else 1):
        raise ValueError(
            f"phase_encode_axes: got {phase_encode_axes} for {spatial_dims} spatial axes; allowed is one axis, or two "
            "in 3D. Leave one axis for the readout."
        )
    for name, axis in [("phase_encode_axes", axis) for axis in phase_encode_axes] + [("slice_axis", slice_axis)]:
        if axis is not None and not 0 <= axis < spatial_dims:
            raise ValueError(
                f"{name}: got {axis} for an image with {spatial_dims} spatial axes; allowed is 0 to "
                f"{spatial_dims - 1}. Count the spatial axes from 0, without the channel."
            )
    if slice_axis is not None and (spatial_dims != 3 or len(phase_encode_axes) != 1):
        raise ValueError(
            f"slice_axis: got {slice_axis} with {spatial_dims} spatial axes and phase_encode_axes "
            f"{phase_encode_axes}; allowed is a volume with one phase-encode axis. Drop the slice_axis or one "
            "phase-encode axis."
        )
    used = [*phase_encode_axes, *([] if slice_axis is None else [slice_axis])]
    if len(set(used)) < len(used):
        raise ValueError(
            f"phase_encode_axes: got {phase_encode_axes} with slice_axis {slice_axis}; allowed are different axes. "
            "Name each axis once."
        )


def _check_packages(num_packages: int, slices: int) -> None:
    if not 1 <= num_packages <= slices:
        raise ValueError(
            f"num_packages: got {num_packages} for {slices} slices; allowed is 1 to {slices}. Lower it, or give the "
            "slice_axis of a 2D multi-slice volume."
        )
