"""Random motion during the acquisition of an image, as a MONAI array transform."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from monai.config.type_definitions import NdarrayOrTensor
from monai.transforms.transform import RandomizableTransform
from torch import Tensor

from mocodis_monai.motion import (
    FAMILIES,
    LINE_ORDERS,
    RIGID_FAMILIES,
    Acquisition,
    BodyAxes,
    Deformation,
    Motion,
    RigidTrajectory,
    displacement_range,
    line_energy,
    motion_severity,
    reachable_mm,
    sample_motion,
    scale_to_displacement,
)
from mocodis_monai.motion.reference import held_in_place, without_mean
from mocodis_monai.motion.severity import excursion_mm, largest_angle_deg

from .image_checks import check_simulatable
from .kspace_motion import NO_MOTION, IrreversibleMotion, KSpaceMotion, MotionSample
from .motion_inputs import (
    as_choice,
    as_image,
    as_spacing,
    as_tracked,
    as_tuple,
    as_whole_range,
    attach,
    body_axes_of,
    check_letters,
    check_members,
    plain,
    spacing_of,
)
from .scan import EchoTrain, ReceiverOptions, ScanProtocol, as_axes, as_options, as_whole, check_apart

__all__ = ["RandKSpaceMotion"]

MAX_EXCURSION_MM = 20.0
"""Excursion from the mean pose up to which a drawn motion is taken. The score is weighted with k-space energy, so a
motion that happens only while outer lines are acquired would need tens of centimetres to reach it.
"""

# Beyond this, about half the field of view of a head scan, no pose makes sense.
_FARTHEST_MM = 100.0
_MAX_ANGLE_DEG = 75.0  # scaled as if the score were linear in the angles; so much less than the 90 allowed
# Organs are driven up to this share of where tissue would fold.
_SHARE_OF_REACH = 0.9
_MAX_TRIES = 50


class _Object(NamedTuple):
    """What a motion is drawn for."""

    image: Tensor
    spacing_mm: list[float]
    body_axes: BodyAxes | None
    energy: Tensor


class _Drawn(NamedTuple):
    """A motion of arbitrary scale, how it is acquired, and the largest score that it can be scaled to."""

    motion: Motion
    scan: ScanProtocol
    acquisition: Acquisition
    reachable_mm: float


class _Missed(NamedTuple):
    """No motion of a family was found: the last drawn, and how far its nearest pose would have to lie."""

    last: _Drawn
    nearest_mm: float


class OutOfReachError(ValueError):
    """A family cannot reach the score in an image."""


class RandKSpaceMotion(RandomizableTransform, IrreversibleMotion):
    """Acquire the image during random motion of a chosen severity.

    ``randomize`` draws a :class:`KSpaceMotion` for an image, ``__call__`` applies it. The severity is the displacement
    score in mm (see :mod:`mocodis_monai.motion.severity`), met to within 1 per cent. Metadata as in
    :class:`KSpaceMotion`; without motion family ``"none"`` and displacement 0. Then too the image is acquired with the
    receiver and the echo train that were asked for, so that noise does not tell motion; an empty one stays as it is.

    Args:
        prob: probability of motion.
        families: families to draw from, see ``mocodis_monai.motion.FAMILIES``; by default the rigid ones.
        displacement_mm: the score, a ``(low, high)`` range to draw it from uniformly, or the name of a band: ``mild``,
            ``moderate``, ``severe``, ``extreme``. The heart and the gut are so small a part of the body that tissue
            would fold before the score is much above 1 mm: of a range what can be reached is drawn. Where an image
            does not let a family reach it, another of ``families`` is drawn; where none can, the score is refused.
        phase_encode_axis: spatial axis, or several to draw one from; None draws from all. A pair among them, such as
            ``[(0, 1)]``, is a 3D acquisition with two phase-encode axes.
        num_shots: number of shots (of one package), or a ``(low, high)`` range, both included; clipped to the number of
            lines.
        line_orders: line orders to draw from.
        centred: shift and turn the motion so that the moved image lies where the image lay, and its labels fit as well
            as they can; takes as long again. Otherwise the place is drawn too.
        slice_axis, num_packages, receiver, echo_train, complex_output: see :class:`KSpaceMotion`.
        orientation: letters of the direction that each spatial axis grows toward, such as ``"RAS"``, or ``"PL"`` for a
            slice; None takes it from the affine of a MetaTensor. Tells breathing where the spine is.
        spacing_mm: voxel size; None takes it from the affine of a MetaTensor.

    Attributes:
        drawn: what ``randomize`` drew; None where the image stays as it is.

    Raises:
        ValueError: an unknown family or line order, a range the wrong way round, an option that is not known; when it
            is called, axes that the image does not have, or a score that no family can reach.
    """

    backend = KSpaceMotion.backend

    def __init__(
        self,
        prob: float = 0.1,
        families: str | Sequence[str] = RIGID_FAMILIES,
        displacement_mm: float | str | Sequence[float] = (0.5, 5.0),
        phase_encode_axis: int | Sequence[int | Sequence[int]] | None = None,
        num_shots: int | Sequence[int] = (4, 32),
        line_orders: str | Sequence[str] = LINE_ORDERS,
        *,
        centred: bool = False,
        slice_axis: int | None = None,
        num_packages: int = 1,
        receiver: ReceiverOptions | Mapping[str, Any] | None = None,
        echo_train: EchoTrain | Mapping[str, float] | None = None,
        complex_output: bool = False,
        orientation: str | None = None,
        spacing_mm: Sequence[float] | None = None,
    ) -> None:
        if not (isinstance(prob, (int, float, np.number)) and 0 <= prob <= 1):
            raise ValueError(f"prob: got {prob!r}; allowed is 0 to 1. Give the share of images that are to move.")
        RandomizableTransform.__init__(self, prob=prob)
        self.families, self.line_orders = as_tuple(families), as_tuple(line_orders)
        check_members("families", self.families, FAMILIES)
        check_members("line_orders", self.line_orders, LINE_ORDERS)
        self.displacement_mm = displacement_range(displacement_mm)
        self.num_shots = as_whole_range("num_shots", num_shots, 2)
        axes = phase_encode_axis
        self.phase_encode_axis = None if axes is None else as_choice("phase_encode_axis", axes)
        self.centred = centred
        self.slice_axis = None if slice_axis is None else as_whole("slice_axis", slice_axis, 0)
        for candidate in self.phase_encode_axis or ():
            check_apart(as_axes(candidate), self.slice_axis)
        self.num_packages, self.complex_output = as_whole("num_packages", num_packages, 1), complex_output
        self.receiver = as_options("receiver", receiver, ReceiverOptions) or ReceiverOptions()
        self.echo_train = as_options("echo_train", echo_train, EchoTrain)
        check_letters(orientation)
        self.orientation, self.spacing_mm = orientation, as_spacing(spacing_mm)
        self.drawn: KSpaceMotion | None = None

    def randomize(self, data: NdarrayOrTensor) -> None:
        """Draw whether there is motion, and which, for an image ``(C, *spatial)``.

        The image is needed for its number of lines and for the energy in them, which the score is weighted with.
        """
        super().randomize(None)
        self.drawn = None
        shows_anyway = not self.receiver.is_ideal or self.echo_train is not None
        if not (self._do_transform or shows_anyway):
            return
        image = as_image(data, self.spacing_mm)
        dims = image.ndim - 1
        axes = self._draw_axes(dims)
        check_simulatable(image, dims, axes)
        if not bool(plain(image).any()):  # nothing that could move: an empty crop is no reason to stop a training
            return
        if not self._do_transform:
            self.drawn = self._hold_still(axes, image.shape[1:])
            return
        self.drawn = self._draw(image, axes)

    def __call__(self, img: NdarrayOrTensor, randomize: bool = True) -> Tensor:
        """Return the moved image, or the image itself where no motion was drawn."""
        return self.simulate(img, randomize=randomize).image

    def simulate(
        self, img: NdarrayOrTensor, with_target: bool = False, randomize: bool = True, image_number: int = 0
    ) -> MotionSample:
        """As :meth:`KSpaceMotion.simulate`; without motion the target is the image itself.

        Of several images that are acquired during one motion, give each its ``image_number``, and noise of its own.
        """
        image = as_image(img, self.spacing_mm)
        if randomize:
            self.randomize(image)
        if self.drawn is not None:
            return self.drawn.numbered(image_number).simulate(image, with_target)
        # Those too that do not move: better refused at once than on the day that one moves.
        named = [axis for axes in self.phase_encode_axis or () for axis in as_axes(axes)]
        check_simulatable(image, image.ndim - 1, named)
        spacing_of(image, self.spacing_mm)
        still = image.to(image.dtype.to_complex()) if self.complex_output else image
        target = as_tracked(image.clone()) if with_target else None
        return MotionSample(attach(still, NO_MOTION), target, dict(NO_MOTION))

    def _draw_axes(self, dims: int) -> tuple[int, ...]:
        candidates = self.phase_encode_axis or tuple(axis for axis in range(dims) if axis != self.slice_axis)
        return as_axes(candidates[self.R.randint(len(candidates))])

    def _describe(self, image: Tensor, axes: tuple[int, ...]) -> _Object:
        """The image and what is drawn from it; the energy hangs on the axes alone, not on the shots."""
        data = plain(image)
        one_shot = ScanProtocol(axes, slice_axis=self.slice_axis, num_packages=self.num_packages)
        energy = line_energy(data, one_shot.plan(data.shape[1:], self.num_packages), data.ndim - 1)
        return _Object(data, spacing_of(image, self.spacing_mm), body_axes_of(image, self.orientation), energy)

    def _draw(self, image: Tensor, axes: tuple[int, ...]) -> KSpaceMotion:
        """Draw families until one can reach the score that was drawn, and scale its motion to it."""
        left = list(self.families)
        family = left.pop(self.R.randint(len(left)))
        displacement_mm = self.R.uniform(*self.displacement_mm)
        subject = self._describe(image, axes)
        while isinstance(drawn := self._draw_motion(family, displacement_mm, axes, subject), _Missed):
            if not left:
                raise OutOfReachError(self._out_of_reach(family, displacement_mm, drawn, subject))
            family = left.pop(self.R.randint(len(left)))
        motion = self._scaled(drawn, min(displacement_mm, drawn.reachable_mm), subject)
        return KSpaceMotion.from_scan(motion, drawn.scan, self.spacing_mm, family)

    def _scaled(self, drawn: _Drawn, displacement_mm: float, subject: _Object) -> Motion:
        """The motion that was drawn, at the score; held in place where that is asked for."""
        acquired = (drawn.acquisition, subject.energy, subject.image, subject.spacing_mm)
        scaled = scale_to_displacement(drawn.motion, displacement_mm, *acquired)
        if not self.centred or isinstance(scaled, Deformation):  # that one lost its mean when it was drawn
            return scaled
        held = held_in_place(subject.image, scaled, drawn.acquisition, subject.spacing_mm)
        return scale_to_displacement(held, displacement_mm, *acquired)

    def _draw_motion(self, family: str, asked_mm: float, axes: tuple[int, ...], subject: _Object) -> _Drawn | _Missed:
        """Draw shots, order and motion until no shot lies farther than a patient moves; else the nearest drawn."""
        nearest, kept = float("inf"), None
        for _ in range(_MAX_TRIES):
            drawn = self._draw_once(family, axes, subject)
            if drawn.reachable_mm < self.displacement_mm.low:
                continue
            score = motion_severity(drawn.motion, drawn.acquisition, subject.energy, subject.image).displacement_mm
            factor = min(asked_mm, drawn.reachable_mm) / max(score, 1e-12)
            reach = factor * excursion_mm(drawn.motion, subject.image)
            if reach < nearest and factor * largest_angle_deg(drawn.motion) <= _MAX_ANGLE_DEG:
                nearest, kept = reach, drawn
            if reach <= MAX_EXCURSION_MM:
                break
        if kept is None or nearest > _FARTHEST_MM:
            return _Missed(drawn, nearest)
        return kept

    def _hold_still(self, axes: tuple[int, ...], shape: Sequence[int]) -> KSpaceMotion:
        """The acquisition of an image during which nothing moves."""
        scan, num_shots = self._draw_scan(axes, shape)
        still = (torch.zeros(num_shots, degrees, dtype=torch.float64) for degrees in ((2, 1), (3, 3))[len(shape) - 2])
        return KSpaceMotion.from_scan(RigidTrajectory(*still), scan, self.spacing_mm, NO_MOTION["family"])

    def _draw_scan(self, axes: tuple[int, ...], shape: Sequence[int]) -> tuple[ScanProtocol, int]:
        """How an image of a spatial shape is acquired, and in how many shots."""
        line_order = self.line_orders[self.R.randint(len(self.line_orders))]
        lines = int(np.prod([shape[axis] for axis in axes]))
        low, high = (min(int(count), lines) for count in self.num_shots)
        num_shots = self.R.randint(low, high + 1) * self.num_packages
        # Drawn only where something hangs on it, so that a plain scan draws the same motion whatever comes to exist.
        seeded = line_order == "random" or not self.receiver.is_ideal
        scan = ScanProtocol(
            phase_encode_axes=axes,
            line_order=line_order,
            slice_axis=self.slice_axis,
            num_packages=self.num_packages,
            receiver=self.receiver,
            echo_train=self.echo_train,
            complex_output=self.complex_output,
            seed=int(self.R.randint(2**31)) if seeded else 0,
        )
        return scan, num_shots

    def _draw_once(self, family: str, axes: tuple[int, ...], subject: _Object) -> _Drawn:
        shape = subject.image.shape[1:]
        scan, num_shots = self._draw_scan(axes, shape)
        acquisition = scan.plan(shape, num_shots)
        motion = sample_motion(family, num_shots, len(shape), self.R, subject.body_axes)
        if isinstance(motion, Deformation):
            if self.centred:
                motion = without_mean(motion, subject.energy, acquisition)
            least_mm = self.displacement_mm.low / _SHARE_OF_REACH
            subjected = (motion, acquisition, subject.energy, subject.image, subject.spacing_mm)
            return _Drawn(motion, scan, acquisition, _SHARE_OF_REACH * reachable_mm(*subjected, least_mm))
        # Small, so that the score of a rotation is linear in its angles.
        return _Drawn(motion.scaled(1e-3), scan, acquisition, float("inf"))

    def _out_of_reach(self, family: str, asked_mm: float, missed: _Missed, subject: _Object) -> str:
        asked = f"displacement_mm: got {asked_mm:.2f}; with family {family!r}, num_shots {self.num_shots} and "
        motion, _, acquisition, _ = missed.last
        if isinstance(motion, Deformation):
            most_mm = reachable_mm(motion, acquisition, subject.energy, subject.image, subject.spacing_mm)
            return (
                f"{asked}this image some {_SHARE_OF_REACH * most_mm:.2f} mm are reached before tissue would fold: the "
                "organ that moves is a small part of it. Ask for less, or choose another family."
            )
        return (
            f"{asked}line_orders {self.line_orders} a pose would have to lie {missed.nearest_mm:.0f} mm away, since "
            "one shot holds nearly all the energy. Ask for less, allow more shots, or allow the interleaved order."
        )
