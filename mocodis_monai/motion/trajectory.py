"""Rigid poses over the shots of an acquisition; :mod:`mocodis_monai.motion.families` draws them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

MAX_ROTATION_DEG = 90.0
"""Largest sum of a pose's absolute angles. A patient in a scanner stays far below, and the shears of
:mod:`mocodis_monai.motion.rotation` become ill-conditioned towards 180 degrees."""


class RigidTrajectory(NamedTuple):
    """Pose of the object in every shot; row s belongs to shot s, shots in the order of time.

    A point x, in mm from the centre of the field of view, moves to ``R x + translation``. The centre of the
    field of view is pixel ``(N - 1) / 2`` of each axis. A single pose is a trajectory of one shot.

    Attributes:
        translation_mm: ``(shots, spatial_dims)``, along the image tensor's own spatial axes in order.
        rotation_deg: ``(shots, 1)`` in 2D, positive turns the first spatial axis toward the second; ``(shots,
            3)`` in 3D, about each spatial axis (0 turns axis 1 toward 2, 1 turns 2 toward 0, 2 turns 0 toward
            1), applied in the order 0, 1, 2.
    """

    translation_mm: Tensor
    rotation_deg: Tensor

    @property
    def num_shots(self) -> int:
        return self.translation_mm.shape[0]

    @property
    def spatial_dims(self) -> int:
        return self.translation_mm.shape[1]

    @property
    def requires_grad(self) -> bool:
        return self.translation_mm.requires_grad or self.rotation_deg.requires_grad

    @property
    def is_still(self) -> bool:
        """Whether every pose is the identity."""
        return not any(bool(values.any()) for values in self)

    def scaled(self, factor: float) -> RigidTrajectory:
        """Every translation and angle multiplied by ``factor``."""
        return RigidTrajectory(self.translation_mm * factor, self.rotation_deg * factor)


def identity_pose(spatial_dims: int) -> RigidTrajectory:
    """The pose that moves nothing, a trajectory of one shot, float64."""
    rotation = torch.zeros(1, 1 if spatial_dims == 2 else 3, dtype=torch.float64)
    return RigidTrajectory(torch.zeros(1, spatial_dims, dtype=torch.float64), rotation)


def check_trajectory(trajectory: RigidTrajectory) -> None:
    """Raise ValueError unless the trajectory has the right columns, as many rows in both parts, and finite
    values.
    """
    translation, rotation = trajectory
    if translation.ndim != 2 or translation.shape[1] not in (2, 3) or translation.shape[0] < 1:
        raise ValueError(
            f"trajectory.translation_mm: got shape {tuple(translation.shape)}; allowed is (shots, 2) in 2D "
            "and (shots, 3) in 3D. Give one row per shot and one column per spatial axis."
        )
    wanted = (translation.shape[0], 1 if translation.shape[1] == 2 else 3)
    if tuple(rotation.shape) != wanted:
        raise ValueError(
            f"trajectory.rotation_deg: got shape {tuple(rotation.shape)}; allowed is {wanted} for "
            f"translation_mm of shape {tuple(translation.shape)}. Give one angle per shot in 2D and three in "
            "3D."
        )
    for name, values in zip(trajectory._fields, trajectory, strict=True):
        bad = (~torch.isfinite(values)).nonzero()
        if len(bad):
            shot, column = bad[0].tolist()
            raise ValueError(
                f"trajectory.{name}: got {values[shot, column].item()} in shot {shot}, column {column}; "
                "allowed are finite numbers. Fill or drop the shots without a measured pose."
            )
    largest = rotation.detach().abs().sum(1).max().item()
    if largest > MAX_ROTATION_DEG + 1e-6:
        raise ValueError(
            f"trajectory.rotation_deg: got angles that add up to {largest:.1f} degrees in one shot; allowed "
            f"is up to {MAX_ROTATION_DEG:.0f}. Give degrees about the centre of the field of view, or scale "
            "the trajectory down."
        )


def rotation_matrices(rotation_deg: Tensor) -> Tensor:
    """Rotation matrices of the angles of :class:`RigidTrajectory`, ``(shots, spatial_dims,
    spatial_dims)``.
    """
    angle = torch.deg2rad(rotation_deg)
    if angle.shape[1] == 1:
        return _plane_rotation(angle[:, 0], 2, 0, 1)
    about = [_plane_rotation(angle[:, axis], 3, (axis + 1) % 3, (axis + 2) % 3) for axis in range(3)]
    return about[2] @ about[1] @ about[0]


def rotation_angles_deg(matrices: Tensor) -> Tensor:
    """Angles of rotation matrices ``(shots, spatial_dims, spatial_dims)``: undoes :func:`rotation_matrices`."""
    if matrices.shape[-1] == 2:
        return torch.rad2deg(torch.atan2(matrices[:, 1, 0], matrices[:, 0, 0]))[:, None]
    about = (
        torch.atan2(matrices[:, 2, 1], matrices[:, 2, 2]),
        torch.asin((-matrices[:, 2, 0]).clamp(-1, 1)),
        torch.atan2(matrices[:, 1, 0], matrices[:, 0, 0]),
    )
    return torch.rad2deg(torch.stack(about, 1))


def _plane_rotation(angle_rad: Tensor, spatial_dims: int, source: int, target: int) -> Tensor:
    """Rotations that turn axis ``source`` toward axis ``target``, ``(shots, spatial_dims, spatial_dims)``."""
    turn = angle_rad.new_zeros(spatial_dims, spatial_dims)
    turn[target, source], turn[source, target] = 1.0, -1.0
    plane = turn.abs() @ turn.abs()
    identity = torch.eye(spatial_dims, dtype=angle_rad.dtype, device=angle_rad.device)
    angle = angle_rad[:, None, None]
    return identity + torch.sin(angle) * turn + (torch.cos(angle) - 1) * plane
