"""A given motion during the acquisition of an image, as a MONAI array transform."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from monai.config.type_definitions import NdarrayOrTensor
from monai.transforms.inverse import InvertibleTransform
from monai.utils.enums import TransformBackends
from monai.utils.type_conversion import convert_to_dst_type
from torch import Tensor

from mocodis_monai.motion import (
    Deformation,
    Motion,
    RigidTrajectory,
    band_of,
    combine,
    coregistered_target,
    line_energy,
    magnitude,
    motion_severity,
    read_trajectory,
    simulate_motion,
)
from mocodis_monai.motion.deformation import check_deformation, from_numbers, to_numbers
from mocodis_monai.motion.trajectory import check_trajectory

from .image_checks import check_simulatable
from .motion_inputs import as_image, as_spacing, as_tracked, attach, plain, spacing_of
from .scan import EchoTrain, ReceiverOptions, ScanProtocol, as_axes

__all__ = ["KSpaceMotion", "MotionSample"]

NO_MOTION: dict[str, Any] = {
    "family": "none",
    "displacement_mm": 0.0,
    "corrupted_line_fraction": 0.0,
    "severity": "none",
    "phase_encode_axis": -1,
    "num_shots": 0,
    "line_order": "none",
    "trajectory": "",
    "scan": "",
}


class MotionSample(NamedTuple):
    """One simulated acquisition.

    Attributes:
        image: moved image, channel-first, a MetaTensor if the input was one.
        target: clean image at the pose that fits the moved one best, of the same kind; None unless asked for.
        metadata: what is written to ``image.meta["motion"]``, see :class:`KSpaceMotion`.
    """

    image: Tensor
    target: Tensor | None
    metadata: dict[str, Any]


class IrreversibleMotion(InvertibleTransform):
    """A transform whose inverse is refused aloud: MONAI's ``Invertd`` would pass over it in silence."""

    def inverse(self, data: Any) -> Any:
        """Raise RuntimeError: what an acquisition loses to motion does not come back."""
        raise RuntimeError(
            f"{type(self).__name__} cannot be inverted: motion during the acquisition loses information. Give Invertd "
            "a pipeline without it, or correct the image with `mocodis correct`."
        )


class KSpaceMotion(IrreversibleMotion):
    """Acquire the image while the object moves in a given way; the same motion for every channel.

    The result carries ``meta["motion"]``, a flat dictionary of numbers and strings that always has the same keys, so
    that the data loader can collate samples with different numbers of shots: ``family``, ``displacement_mm``,
    ``corrupted_line_fraction``, ``severity`` (band of the score, ``"none"`` without motion), ``phase_encode_axis`` (the
    first of them), ``num_shots``, ``line_order``, and two JSON texts: ``trajectory``, the poses (``translation_mm``,
    ``rotation_deg``) or the deformation with ``spacing_mm``; and ``scan``, the rest of the acquisition.
    :meth:`from_metadata` makes the same sample from it again, bit for bit.

    Args:
        motion: pose of every shot in the image's own spatial axes (``RigidTrajectory``), or a ``Deformation``, or the
            path of a table of poses (CSV, see ``mocodis_monai.motion.read_trajectory``), or a mapping of what
            ``meta["motion"]["trajectory"]`` holds as JSON; its rows give the number of shots. Arrays and lists of
            numbers count as float64 tensors.
        phase_encode_axis: spatial axis that is phase-encoded, 0 is the first one after the channel; two in 3D.
        line_order: one of ``mocodis_monai.motion.LINE_ORDERS``.
        slice_axis: spatial axis across the slices, for a volume that is acquired slice by slice.
        num_packages: groups of interleaved slices acquired one after the other; each has its share of the poses.
        receiver: phase, coils and noise, a ``ReceiverOptions`` or a mapping of its fields.
        echo_train: T2 decay within a shot, an ``EchoTrain`` or a mapping of its fields.
        complex_output: give the complex image instead of its magnitude.
        seed: of the line order ``random``, the phase and the noise: the same for every image.
        spacing_mm: voxel size; None takes it from the mapping where that has it, else from the affine of a MetaTensor,
            1 mm for an image without one.
        family: name of the motion for the metadata.

    Raises:
        TypeError: for a motion of another kind, and for an image that is neither float32 nor float64.
        ValueError: for a motion, an axis, an order, a spacing or values that do not fit.
    """

    backend = [TransformBackends.TORCH]  # noqa: RUF012 - the form that MONAI reads

    def __init__(
        self,
        motion: Motion | str | os.PathLike[str] | Mapping[str, Any],
        phase_encode_axis: int | Sequence[int],
        line_order: str = "linear",
        *,
        slice_axis: int | None = None,
        num_packages: int = 1,
        receiver: ReceiverOptions | Mapping[str, Any] | None = None,
        echo_train: EchoTrain | Mapping[str, float] | None = None,
        complex_output: bool = False,
        seed: int = 0,
        spacing_mm: Sequence[float] | None = None,
        family: str = "given",
    ) -> None:
        self.motion = _as_motion(motion)
        self.scan = ScanProtocol.from_numbers(
            {
                "phase_encode_axes": as_axes(phase_encode_axis),
                "line_order": line_order,
                "slice_axis": slice_axis,
                "num_packages": num_packages,
                "receiver": receiver,
                "echo_train": echo_train,
                "complex_output": complex_output,
                "seed": seed,
            }
        )
        if spacing_mm is None and isinstance(motion, Mapping):
            spacing_mm = motion.get("spacing_mm")
        self.spacing_mm = as_spacing(spacing_mm)
        self.family = family

    @classmethod
    def from_scan(
        cls, motion: Motion, scan: ScanProtocol, spacing_mm: Sequence[float] | None, family: str
    ) -> KSpaceMotion:
        """The transform of a motion and a :class:`ScanProtocol`."""
        made = cls(motion, scan.phase_encode_axes, spacing_mm=spacing_mm, family=family)
        made.scan = scan
        return made

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Any]) -> KSpaceMotion:
        """The transform that made a sample, from its ``meta["motion"]`` or the file of ``mocodis simulate``.

        Raises:
            ValueError: the sample was left as it was, or the metadata are not whole.
        """
        missing = [key for key in ("scan", "trajectory", "family") if key not in metadata]
        if missing:
            raise ValueError(f"metadata: {', '.join(missing)} missing. Give the metadata of the sample unchanged.")
        if not metadata["scan"]:
            raise ValueError("metadata: got an empty scan, of an image left as it was. There is nothing to replay.")
        numbers, scan = (_as_mapping(metadata[name]) for name in ("trajectory", "scan"))
        if "spacing_mm" not in numbers:
            raise ValueError(
                "metadata: its trajectory has no 'spacing_mm'. Give the metadata of the sample unchanged."
            )
        spacing_mm, motion = numbers["spacing_mm"], _from_mapping(numbers)
        return cls.from_scan(motion, ScanProtocol.from_numbers(scan), spacing_mm, metadata["family"])

    def numbered(self, image_number: int) -> KSpaceMotion:
        """The same motion for another of several images that are acquired during it: with noise of its own."""
        scan = self.scan._replace(image_number=image_number)
        return self.from_scan(self.motion, scan, self.spacing_mm, self.family)

    def __call__(self, img: NdarrayOrTensor) -> Tensor:
        """Return the moved image, ``(C, H, W)`` or ``(C, H, W, D)`` as the input."""
        return self.simulate(img).image

    def simulate(self, img: NdarrayOrTensor, with_target: bool = False) -> MotionSample:
        """Return the moved image, the co-registered target if asked for, and the metadata."""
        still: Tensor = as_image(img, self.spacing_mm)
        data, motion, scan = plain(still), self.motion, self.scan
        dims = motion.spatial_dims
        check_simulatable(still, dims, scan.phase_encode_axes)
        spacing_mm = spacing_of(still, self.spacing_mm)
        acquisition = scan.plan(data.shape[1:], motion.num_shots)
        moved = self._acquire(data, acquisition, spacing_mm)
        severity = motion_severity(motion, acquisition, line_energy(data, acquisition, dims), data)
        metadata = self._metadata(*severity, spacing_mm)
        target = None
        if with_target:
            found = coregistered_target(data, magnitude(moved), motion, acquisition, spacing_mm).image
            # A clone has metadata of its own, which what is done to the target changes alone.
            target = as_tracked(convert_to_dst_type(found, still, dtype=data.dtype)[0].clone())
        image = convert_to_dst_type(moved, still, dtype=moved.dtype if scan.complex_output else data.dtype)[0]
        return MotionSample(attach(image, metadata), target, metadata)

    def _acquire(self, data: Tensor, acquisition: Any, spacing_mm: Sequence[float]) -> Tensor:
        """The acquired image: magnitude, root-sum-of-squares of the coils, or complex."""
        receiver = self.scan.make_receiver(data.shape[1:])
        moved = simulate_motion(
            data,
            self.motion,
            acquisition,
            spacing_mm,
            receiver,
            self.scan.echo_weights(acquisition),
            self.scan.noise_generator(),
        )
        maps = None if receiver is None else receiver.coil_maps
        if self.scan.complex_output:
            return moved if maps is None else combine(moved, maps)
        return magnitude(moved) if maps is None else combine(moved)

    def _metadata(
        self, displacement_mm: float, corrupted_line_fraction: float, spacing_mm: Sequence[float]
    ) -> dict[str, Any]:
        motion = self.motion
        if isinstance(motion, Deformation):
            numbers = to_numbers(motion)
        else:
            numbers = {name: values.tolist() for name, values in motion._asdict().items()}
        return {
            "family": self.family,
            "displacement_mm": displacement_mm,
            "corrupted_line_fraction": corrupted_line_fraction,
            "severity": band_of(displacement_mm) if displacement_mm > 0 else "none",
            "phase_encode_axis": self.scan.phase_encode_axes[0],
            "num_shots": motion.num_shots,
            "line_order": self.scan.line_order,
            "trajectory": json.dumps({**numbers, "spacing_mm": list(spacing_mm)}),
            "scan": json.dumps(self.scan.to_numbers()),
        }


def _as_mapping(numbers: str | Mapping[str, Any]) -> dict[str, Any]:
    return json.loads(numbers) if isinstance(numbers, str) else dict(numbers)


def _as_motion(motion: Motion | str | os.PathLike[str] | Mapping[str, Any]) -> Motion:
    """Read a table or a mapping, check a trajectory or a deformation."""
    if isinstance(motion, (str, os.PathLike)):
        return read_trajectory(motion)
    if isinstance(motion, Mapping):
        return _from_mapping(motion)
    if isinstance(motion, Deformation):
        motion = motion._replace(amplitude_mm=_as_numbers("deformation.amplitude_mm", motion.amplitude_mm))
        check_deformation(motion)
        return motion
    if isinstance(motion, RigidTrajectory):
        return _rigid(motion._asdict())
    raise TypeError(
        f"motion: got a {type(motion).__name__}; allowed is a RigidTrajectory, a Deformation, the path of a table of "
        "poses, or a mapping of their numbers. Give RigidTrajectory(translation_mm, rotation_deg), for instance."
    )


def _from_mapping(numbers: Mapping[str, Any]) -> Motion:
    """The motion that the metadata hold: of a deformation its modes and amplitudes, else the poses."""
    if "modes" in numbers:
        return from_numbers(dict(numbers))
    missing = [name for name in RigidTrajectory._fields if name not in numbers]
    if missing:
        raise ValueError(
            f"motion: its mapping has no {missing[0]!r}, there are {list(numbers)}; allowed are translation_mm and "
            "rotation_deg, or amplitude_mm and modes. Give them, or the metadata of the sample unchanged."
        )
    return _rigid(numbers)


def _rigid(numbers: Mapping[str, Any]) -> RigidTrajectory:
    poses = (_as_numbers(f"trajectory.{name}", numbers[name]) for name in RigidTrajectory._fields)
    trajectory = RigidTrajectory(*poses)
    check_trajectory(trajectory)
    return trajectory


def _as_numbers(name: str, values: Any) -> Tensor:
    """A tensor as it is; other numbers as one of float64."""
    if isinstance(values, Tensor):
        return values
    try:
        return torch.tensor(np.asarray(values, dtype=np.float64))
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"{name}: got a {type(values).__name__} that holds no table of numbers ({error}); allowed is a tensor, an "
            "array or a list of rows. Give one row per shot."
        ) from error
