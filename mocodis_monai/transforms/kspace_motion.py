"""Motion during the acquisition of an image, as MONAI array transforms: a replay and its random version."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from monai.config.type_definitions import NdarrayOrTensor
from monai.data.meta_obj import get_track_meta
from monai.transforms.transform import RandomizableTransform, Transform
from monai.utils.enums import TransformBackends
from monai.utils.type_conversion import convert_to_dst_type, convert_to_tensor
from torch import Tensor

from mocodis_monai.motion import (
    FAMILIES,
    LINE_ORDERS,
    RigidTrajectory,
    assign_shots,
    band_of,
    coregistered_target,
    line_energy,
    magnitude,
    motion_severity,
    sample_trajectory,
    scale_to_displacement,
    simulate_motion,
)
from mocodis_monai.motion.severity import excursion_mm
from mocodis_monai.motion.trajectory import check_trajectory, scale

from .motion_inputs import as_range, as_tuple, attach, check_channel_first, check_members, plain, spacing_of

__all__ = ["KSpaceMotion", "MotionSample", "RandKSpaceMotion"]

MAX_EXCURSION_MM = 20.0
"""Excursion from the mean pose up to which a drawn trajectory is taken. The score is weighted with k-space
energy, so a trajectory that moves only while outer lines are acquired would need tens of centimetres to reach
it.
"""

# Beyond this, about half the field of view of a head scan, no pose makes sense.
_FARTHEST_MM = 100.0
_MAX_TRIES = 50


class MotionSample(NamedTuple):
    """One simulated acquisition.

    Attributes:
        image: moved magnitude image, channel-first, a MetaTensor if the input was one.
        target: clean image at the pose that fits the moved one best, of the same kind; None unless asked for.
        metadata: what is written to ``image.meta["motion"]``, see :class:`KSpaceMotion`.
    """

    image: Tensor
    target: Tensor | None
    metadata: dict[str, Any]


class KSpaceMotion(Transform):
    """Acquire the image while the object follows a given rigid trajectory; the same motion for every channel.

    The result carries ``meta["motion"]``, a flat dictionary of numbers and strings that always has the same
    keys, so
    that the data loader can collate samples with different numbers of shots: ``family``, ``displacement_mm``,
    ``corrupted_line_fraction``, ``severity`` (band of the score, ``"none"`` without motion),
    ``phase_encode_axis``, ``num_shots``, ``line_order``, and ``trajectory``, the poses as a JSON text with
    ``translation_mm``, ``rotation_deg`` and ``spacing_mm``. :meth:`from_metadata` makes the same sample from
    it again, bit for bit.

    Args:
        trajectory: pose of every shot, in the image's own spatial axes; its rows give the number of shots.
        phase_encode_axis: spatial axis that is phase-encoded, 0 is the first one after the channel.
        line_order: ``"linear"`` or ``"interleaved"``.
        spacing_mm: voxel size; None takes it from the affine of a MetaTensor, 1 mm for an image without one.
        family: name of the motion for the metadata.

    Raises:
        TypeError: for an image that is not floating point.
        ValueError: for a trajectory, an axis, an order, a spacing or values that do not fit.
    """

    backend = [TransformBackends.TORCH]  # noqa: RUF012 - the form that MONAI reads

    def __init__(
        self,
        trajectory: RigidTrajectory,
        phase_encode_axis: int,
        line_order: str = "linear",
        spacing_mm: Sequence[float] | None = None,
        family: str = "given",
    ) -> None:
        check_trajectory(trajectory)
        check_members("line_order", (line_order,), LINE_ORDERS)
        self.trajectory = trajectory
        self.phase_encode_axis = phase_encode_axis
        self.line_order = line_order
        self.spacing_mm = spacing_mm
        self.family = family

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Any]) -> KSpaceMotion:
        """The transform that made a sample, from its ``meta["motion"]``."""
        if metadata["family"] == "none":
            raise ValueError(
                "metadata: got family 'none', a sample without motion; there is nothing to replay."
            )
        poses = json.loads(metadata["trajectory"])
        parts = [torch.tensor(poses[name], dtype=torch.float64) for name in RigidTrajectory._fields]
        return cls(
            RigidTrajectory(*parts),
            int(metadata["phase_encode_axis"]),
            metadata["line_order"],
            poses["spacing_mm"],
            metadata["family"],
        )

    def __call__(self, img: NdarrayOrTensor) -> Tensor:
        """Return the moved image, ``(C, H, W)`` or ``(C, H, W, D)`` as the input."""
        return self.simulate(img).image

    def simulate(self, img: NdarrayOrTensor, with_target: bool = False) -> MotionSample:
        """Return the moved image, the co-registered target if asked for, and the metadata."""
        img = convert_to_tensor(img, track_meta=get_track_meta())
        data = plain(img)
        dims = self.trajectory.spatial_dims
        check_channel_first(data, dims, self.phase_encode_axis)
        spacing_mm = spacing_of(img, self.spacing_mm)
        shots = assign_shots(
            data.shape[1 + self.phase_encode_axis], self.trajectory.num_shots, self.line_order
        )
        acquired = (self.trajectory, shots, self.phase_encode_axis, spacing_mm)
        moved = magnitude(simulate_motion(data, *acquired))
        severity = motion_severity(self.trajectory, shots, line_energy(data, self.phase_encode_axis, dims))
        metadata = self._metadata(*severity, spacing_mm)
        target = None
        if with_target:
            target = convert_to_dst_type(
                coregistered_target(data, moved, *acquired).image, img, dtype=data.dtype
            )[0]
        return MotionSample(
            attach(convert_to_dst_type(moved, img, dtype=data.dtype)[0], metadata), target, metadata
        )

    def _metadata(
        self, displacement_mm: float, corrupted_line_fraction: float, spacing_mm: Sequence[float]
    ) -> dict[str, Any]:
        poses = {name: values.tolist() for name, values in self.trajectory._asdict().items()}
        return {
            "family": self.family,
            "displacement_mm": displacement_mm,
            "corrupted_line_fraction": corrupted_line_fraction,
            "severity": band_of(displacement_mm),
            "phase_encode_axis": self.phase_encode_axis,
            "num_shots": self.trajectory.num_shots,
            "line_order": self.line_order,
            "trajectory": json.dumps({**poses, "spacing_mm": list(spacing_mm)}),
        }


NO_MOTION: dict[str, Any] = {
    "family": "none",
    "displacement_mm": 0.0,
    "corrupted_line_fraction": 0.0,
    "severity": "none",
    "phase_encode_axis": -1,
    "num_shots": 0,
    "line_order": "none",
    "trajectory": "",
}


class RandKSpaceMotion(RandomizableTransform):
    """Acquire the image during random rigid motion of a chosen severity.

    ``randomize`` draws a :class:`KSpaceMotion` for an image, ``__call__`` applies it. The severity is the
    displacement score in mm (see :mod:`mocodis_monai.motion.severity`), met to within 1 per cent. Metadata as
    in :class:`KSpaceMotion`; where the transform was not applied, family ``"none"`` and displacement 0.

    Args:
        prob: probability of motion.
        families: motion families to draw from, see ``mocodis_monai.motion.FAMILIES``.
        displacement_mm: the score, or a ``(low, high)`` range to draw it from uniformly.
        phase_encode_axis: spatial axis, or axes to draw from; None draws from all.
        num_shots: number of shots, or a ``(low, high)`` range, both included; clipped to the number of lines.
        line_orders: line orders to draw from.
        spacing_mm: voxel size; None takes it from the affine of a MetaTensor.
    """

    backend = KSpaceMotion.backend

    def __init__(
        self,
        prob: float = 0.1,
        families: str | Sequence[str] = FAMILIES,
        displacement_mm: float | Sequence[float] = (0.5, 5.0),
        phase_encode_axis: int | Sequence[int] | None = None,
        num_shots: int | Sequence[int] = (4, 32),
        line_orders: str | Sequence[str] = LINE_ORDERS,
        spacing_mm: Sequence[float] | None = None,
    ) -> None:
        RandomizableTransform.__init__(self, prob=prob)
        self.families = as_tuple(families)
        self.line_orders = as_tuple(line_orders)
        check_members("families", self.families, FAMILIES)
        check_members("line_orders", self.line_orders, LINE_ORDERS)
        self.displacement_mm = as_range("displacement_mm", displacement_mm, 0)
        self.num_shots = as_range("num_shots", num_shots, 2)
        self.phase_encode_axis = None if phase_encode_axis is None else as_tuple(phase_encode_axis)
        self.spacing_mm = spacing_mm
        self.motion: KSpaceMotion | None = None

    def randomize(self, data: NdarrayOrTensor) -> None:
        """Draw whether there is motion, and which, for an image ``(C, *spatial)``.

        The image is needed for its number of lines and for the energy in them, which the score is weighted
        with.
        """
        super().randomize(None)
        if not self._do_transform:
            return
        image = plain(convert_to_tensor(data, track_meta=get_track_meta()))
        dims = image.ndim - 1
        axes = tuple(range(dims)) if self.phase_encode_axis is None else self.phase_encode_axis
        axis = int(axes[self.R.randint(len(axes))])
        check_channel_first(image, dims, axis)
        family = self.families[self.R.randint(len(self.families))]
        displacement_mm = self.R.uniform(*self.displacement_mm)
        trajectory, line_order = self._draw_trajectory(
            family, displacement_mm, line_energy(image, axis, dims), dims
        )
        self.motion = KSpaceMotion(trajectory, axis, line_order, self.spacing_mm, family)

    def __call__(self, img: NdarrayOrTensor, randomize: bool = True) -> Tensor:
        """Return the moved image, or the image itself where no motion was drawn."""
        return self.simulate(img, randomize=randomize).image

    def simulate(
        self, img: NdarrayOrTensor, with_target: bool = False, randomize: bool = True
    ) -> MotionSample:
        """As :meth:`KSpaceMotion.simulate`; without motion the target is the image itself."""
        img = convert_to_tensor(img, track_meta=get_track_meta())
        if randomize:
            self.randomize(img)
        if self._do_transform and self.motion is not None:
            return self.motion.simulate(img, with_target)
        return MotionSample(attach(img, NO_MOTION), img.clone() if with_target else None, dict(NO_MOTION))

    def _draw_trajectory(
        self, family: str, displacement_mm: float, energy: Tensor, dims: int
    ) -> tuple[RigidTrajectory, str]:
        """Draw shots, order and poses until no pose lies farther than a patient moves; else the nearest
        drawn.
        """
        nearest, tried = float("inf"), None
        for _ in range(_MAX_TRIES):
            line_order = self.line_orders[self.R.randint(len(self.line_orders))]
            low, high = (min(int(count), len(energy)) for count in self.num_shots)
            num_shots = self.R.randint(low, high + 1)
            shots = assign_shots(len(energy), num_shots, line_order)
            # Small angles, so that the score of a rotation is linear in them.
            small = scale(sample_trajectory(family, num_shots, dims, self.R), 1e-3)
            score = motion_severity(small, shots, energy).displacement_mm
            reach = displacement_mm * excursion_mm(small) / max(score, 1e-12)
            if reach < nearest:
                nearest, tried = reach, (small, shots, line_order)
            if reach <= MAX_EXCURSION_MM:
                break
        if nearest > _FARTHEST_MM:
            raise ValueError(
                f"displacement_mm: got {displacement_mm:.2f}; with family {family!r}, num_shots "
                f"{self.num_shots} and line_orders {self.line_orders} a pose would have to lie {nearest:.0f} "
                "mm away, since one shot holds nearly all the energy. Ask for less, allow more shots, or "
                "allow the interleaved order."
            )
        small, shots, line_order = tried
        return scale_to_displacement(small, displacement_mm, shots, energy), line_order
