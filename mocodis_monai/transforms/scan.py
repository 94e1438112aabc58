"""How the scanner acquires an image, apart from the motion: what the motion transforms are told of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from mocodis_monai.motion import LINE_ORDERS, Acquisition, Receiver, plan_acquisition, t2_decay
from mocodis_monai.motion.receiver import coil_maps, random_phase

from .motion_inputs import check_members


class ReceiverOptions(NamedTuple):
    """The receiving end of the scanner; by default it adds nothing.

    Attributes:
        num_coils: coils around the field of view; 0 for one that sees all alike.
        phase_rad: largest absolute value of the random smooth phase, which stays with the scanner.
        noise_std: standard deviation of the noise in the real and imaginary part of each coil, in image units.
    """

    num_coils: int = 0
    phase_rad: float = 0.0
    noise_std: float = 0.0

    @property
    def is_ideal(self) -> bool:
        """Whether it adds nothing."""
        return not any(self)


class EchoTrain(NamedTuple):
    """Decay of the signal within a shot, which weights the lines of k-space by their echo.

    Attributes:
        echo_spacing_ms: time from echo to echo.
        t2_ms: decay time of the tissue.
    """

    echo_spacing_ms: float
    t2_ms: float


_Options = TypeVar("_Options", ReceiverOptions, EchoTrain)


class ScanProtocol(NamedTuple):
    """An acquisition in plain numbers: with the shape of an image and a motion it is the whole forward model.

    Attributes:
        phase_encode_axes: one spatial axis, or two in 3D.
        line_order: one of ``mocodis_monai.motion.LINE_ORDERS``.
        slice_axis: spatial axis across the slices of a 2D multi-slice volume; None for a slice or a 3D acquisition.
        num_packages: groups of interleaved slices that are acquired one after the other.
        receiver: phase, coils and noise.
        echo_train: decay within a shot; None for none.
        complex_output: give the complex image instead of its magnitude.
        seed: of the line order ``random``, the phase and the noise.
        image_number: of several images that were acquired alike, each with noise of its own.
    """

    phase_encode_axes: tuple[int, ...]
    line_order: str = "linear"
    slice_axis: int | None = None
    num_packages: int = 1
    receiver: ReceiverOptions = ReceiverOptions()
    echo_train: EchoTrain | None = None
    complex_output: bool = False
    seed: int = 0
    image_number: int = 0

    def plan(self, spatial_shape: Sequence[int], num_shots: int) -> Acquisition:
        """The acquisition of an image of ``spatial_shape`` in ``num_shots`` shots, those of all packages.

        Raises:
            ValueError: the shots cannot be shared out over the packages or the lines.
        """
        if num_shots % self.num_packages:
            raise ValueError(
                f"num_packages: got {self.num_packages} for {num_shots} shots; allowed is a divisor of the number of "
                "shots, since every package is acquired in as many. Give another number of packages or of shots."
            )
        rng = np.random.RandomState(self.seed)
        per_package = num_shots // self.num_packages
        return plan_acquisition(
            spatial_shape,
            per_package,
            self.line_order,
            self.phase_encode_axes,
            self.slice_axis,
            self.num_packages,
            rng,
            echo_bands=self.echo_train is not None,
        )

    def make_receiver(self, spatial_shape: Sequence[int]) -> Receiver | None:
        """Phase, coil maps and noise for an image of ``spatial_shape``; None where there are none."""
        if self.receiver.is_ideal:
            return None
        num_coils, phase_rad, noise_std = self.receiver
        # A stream of its own: the phase does not change with the line order.
        rng = np.random.RandomState([self.seed, 1])
        phase = random_phase(spatial_shape, rng, phase_rad) if phase_rad else None
        return Receiver(phase, coil_maps(num_coils, spatial_shape) if num_coils else None, noise_std)

    def echo_weights(self, acquisition: Acquisition) -> Tensor | None:
        """Weight of every echo, ``(echoes,)``; None without an echo train."""
        if self.echo_train is None:
            return None
        return t2_decay(acquisition.num_echoes, *self.echo_train)

    def noise_generator(self) -> torch.Generator:
        """The source of the noise, on the CPU: the same noise whatever device the image is on."""
        mixed = np.random.SeedSequence([self.seed, self.image_number]).generate_state(1)
        return torch.Generator().manual_seed(int(mixed[0]))

    def to_numbers(self) -> dict[str, Any]:
        """The scan as JSON keeps it; :meth:`from_numbers` reads it back."""
        numbers = self._asdict()
        numbers["receiver"] = self.receiver._asdict()
        numbers["echo_train"] = None if self.echo_train is None else self.echo_train._asdict()
        return numbers

    @classmethod
    def from_numbers(cls, numbers: Mapping[str, Any]) -> ScanProtocol:
        """The scan that :meth:`to_numbers` wrote, or one from a configuration; receiver and train may be mappings."""
        options = dict(numbers)
        options["phase_encode_axes"] = as_axes(options["phase_encode_axes"])
        options["receiver"] = as_options("receiver", options.get("receiver"), ReceiverOptions) or ReceiverOptions()
        options["echo_train"] = as_options("echo_train", options.get("echo_train"), EchoTrain)
        check_members("line_order", (options.get("line_order", "linear"),), LINE_ORDERS)
        for name, lowest in (("num_packages", 1), ("seed", 0), ("slice_axis", 0)):
            if options.get(name) is not None:
                options[name] = as_whole(name, options[name], lowest)
        check_apart(options["phase_encode_axes"], options.get("slice_axis"))
        return cls(**options)


def as_axes(axes: int | Sequence[int]) -> tuple[int, ...]:
    """One axis, or a pair of them, as a tuple."""
    return (int(axes),) if isinstance(axes, (int, np.integer)) else tuple(int(axis) for axis in axes)


def as_whole(name: str, number: Any, lowest: int) -> int:
    """A whole number of whatever library as Python's, which JSON takes; ValueError for another one, or a lower one."""
    if not isinstance(number, (int, np.integer)) or isinstance(number, bool) or number < lowest:
        raise ValueError(f"{name}: got {number!r}; allowed is a whole number from {lowest} up. Mend it.")
    return int(number)


def check_apart(phase_encode_axes: tuple[int, ...], slice_axis: int | None) -> None:
    """Raise ValueError for axes that no image could have: below zero, twice, or two of them within slices."""
    used = (*phase_encode_axes, *(() if slice_axis is None else (slice_axis,)))
    if min(used, default=-1) < 0 or len(set(used)) < len(used) or len(used) > 2:
        raise ValueError(
            f"phase_encode_axis: got {phase_encode_axes} with slice_axis {slice_axis}; allowed are different axes from "
            "0 up, one of them, or two without slices. Name each axis once."
        )


def as_options(name: str, options: _Options | Mapping[str, Any] | None, kind: type[_Options]) -> _Options | None:
    """Options given as ``kind``, as a mapping of its fields, or None.

    Raises:
        ValueError: an unknown field, one that is missing, or a value that no scanner has.
    """
    if options is None:
        return None
    if isinstance(options, kind):
        options = options._asdict()
    if not isinstance(options, Mapping) or set(options) - set(kind._fields):
        raise ValueError(f"{name}: got {options!r}; allowed is a mapping with keys of {kind._fields}. Give these.")
    try:
        return _checked(name, kind(**{key: _of_python(value) for key, value in options.items()}))
    except TypeError as missing:
        raise ValueError(f"{name}: got {dict(options)!r}; every one of {kind._fields} is needed.") from missing


def _of_python(value: Any) -> Any:
    """A number of numpy as Python's, which JSON takes."""
    return value.item() if isinstance(value, np.generic) else value


def _checked(name: str, options: _Options) -> _Options:
    """The options, once every value is known to be a finite number: of a receiver not negative, of a train positive."""
    for field, value in options._asdict().items():
        kinds = (int, np.integer) if field == "num_coils" else (int, float, np.number)
        what = "a whole number from 0 up" if field == "num_coils" else "a number from 0 up"
        fits = isinstance(value, kinds) and not isinstance(value, bool) and math.isfinite(value)
        if not fits or value < 0 or (value == 0 and isinstance(options, EchoTrain)):
            above = ", above 0" if isinstance(options, EchoTrain) else ""
            raise ValueError(f"{name}.{field}: got {value!r}; allowed is {what}{above}. Mend it.")
    return options
