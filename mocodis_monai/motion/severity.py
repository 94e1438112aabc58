"""How much the object moved: a displacement score in mm, and the share of corrupted lines."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from .trajectory import RigidTrajectory, check_trajectory, rotation_matrices, scale

HEAD_RADIUS_MM = 64.0
"""Radius of the sphere whose surface point the rotation moves, Tisdall et al. 2012, Magn Reson Med 68:389."""

CORRUPTED_ABOVE_MM = 0.5
"""A line counts as corrupted when it was acquired more than this away from the reference pose: half a voxel
of a usual 1 mm scan.
"""

SEVERITY_BANDS = (("mild", 1.0), ("moderate", 2.5), ("severe", 5.0), ("extreme", math.inf))
"""Names of the displacement score and the upper end of each band in mm, see :func:`band_of`."""


class MotionSeverity(NamedTuple):
    """The score of an acquisition.

    Attributes:
        displacement_mm: mean over the phase-encode lines, weighted with their k-space energy, of the
            displacement from the mean pose.
        corrupted_line_fraction: share of lines displaced by more than :data:`CORRUPTED_ABOVE_MM`, 0 to 1.
    """

    displacement_mm: float
    corrupted_line_fraction: float


def band_of(displacement_mm: float) -> str:
    """Name of the score: mild below 1 mm, moderate 1 to 2.5, severe above 2.5 to 5, extreme above 5."""
    if displacement_mm < 1.0:
        return "mild"
    return next(name for name, upper in SEVERITY_BANDS[1:] if displacement_mm <= upper)


def line_energy(image: Tensor, phase_encode_axis: int, spatial_dims: int) -> Tensor:
    """Share of the spectrum's energy in every phase-encode line.

    The k = 0 sample is left out: a shift does not change it, and as it holds most of the energy of a
    magnitude image the score would otherwise hang on the one shot that acquires it. An image without contrast
    weighs all lines alike.

    Args:
        image: ``(..., *spatial)``; leading axes are summed over.
        phase_encode_axis: spatial axis, from 0.
        spatial_dims: 2 or 3.

    Returns:
        ``(lines,)`` float64, non-negative, sum 1, lines as in centred k-space.
    """
    flat = image.detach().movedim(phase_encode_axis - spatial_dims, -1).flatten(-spatial_dims, -2)
    lines = flat.shape[-1]
    # Parseval: the transform along the phase-encode axis alone has the same energy in every line.
    power = torch.fft.fft(flat - flat.mean((-2, -1), keepdim=True), dim=-1).abs().square()
    energy = torch.fft.fftshift(power.reshape(-1, lines).sum(0)).double()
    total = energy.sum()
    return energy / total if total > 0 else torch.full_like(energy, 1 / lines)


def shot_weights(energy: Tensor, shot_of_line: Tensor, num_shots: int) -> Tensor:
    """Share of the energy that each shot acquires, ``(shots,)``."""
    return torch.zeros(num_shots, dtype=energy.dtype).index_add(0, shot_of_line.cpu(), energy.cpu())


def mean_pose(trajectory: RigidTrajectory, weights: Tensor) -> RigidTrajectory:
    """Weighted mean of translations and of angles, as a trajectory of one shot, float64."""
    translation, rotation = (values.detach().double().cpu() for values in trajectory)
    return RigidTrajectory((weights @ translation)[None], (weights @ rotation)[None])


def shot_displacement_mm(trajectory: RigidTrajectory, reference: RigidTrajectory) -> Tensor:
    """Tisdall displacement of every shot from the reference pose, ``(shots,)`` float64.

    64 mm * sqrt((1 - cos t)^2 + sin^2 t) + |dt| of the relative pose. For the matrices, sqrt((1 - cos t)^2 +
    sin^2 t) is the Frobenius norm of R - R_ref over sqrt(2), in 2D and in 3D.
    """
    rotation = rotation_matrices(trajectory.rotation_deg.detach().double().cpu())
    anchor = rotation_matrices(reference.rotation_deg)
    turned = HEAD_RADIUS_MM / math.sqrt(2) * torch.linalg.matrix_norm(rotation - anchor)
    carried = (rotation @ anchor.mT @ reference.translation_mm[0, :, None])[:, :, 0]
    return turned + torch.linalg.vector_norm(
        trajectory.translation_mm.detach().double().cpu() - carried, dim=1
    )


def motion_severity(trajectory: RigidTrajectory, shot_of_line: Tensor, energy: Tensor) -> MotionSeverity:
    """Score an acquisition against its energy-weighted mean pose.

    Args:
        trajectory: pose of every shot.
        shot_of_line: ``(lines,)``.
        energy: ``(lines,)`` from :func:`line_energy`.
    """
    check_trajectory(trajectory)
    weights = shot_weights(energy, shot_of_line, trajectory.num_shots)
    displacement = shot_displacement_mm(trajectory, mean_pose(trajectory, weights))
    corrupted = (displacement > CORRUPTED_ABOVE_MM)[shot_of_line.cpu()].double().mean()
    return MotionSeverity((weights @ displacement).item(), corrupted.item())


def scale_to_displacement(
    trajectory: RigidTrajectory, displacement_mm: float, shot_of_line: Tensor, energy: Tensor
) -> RigidTrajectory:
    """Scale a trajectory so that its score is ``displacement_mm``, to within 1 per cent.

    Raises:
        ValueError: for a negative score, or a trajectory that cannot reach it: one that never moves, or whose
            moving shots carry so little energy that they would have to turn beyond the allowed angle.
    """
    if not (math.isfinite(displacement_mm) and displacement_mm >= 0):
        raise ValueError(
            f"displacement_mm: got {displacement_mm}; allowed is 0 mm or more. Give a finite score."
        )
    if displacement_mm == 0:
        return scale(trajectory, 0.0)
    score = motion_severity(scale(trajectory, 1e-3), shot_of_line, energy).displacement_mm * 1e3
    if score <= 1e-9:
        raise ValueError(
            "trajectory: got one whose energy-weighted displacement is zero; it must move between shots that "
            f"acquire signal to be scaled to {displacement_mm} mm. Use more shots or another trajectory."
        )
    factor = displacement_mm / score
    # The score is linear in the translation and nearly so in the angle: two or three steps do.
    for _ in range(20):
        scaled = scale(trajectory, factor)
        reached = motion_severity(scaled, shot_of_line, energy).displacement_mm
        if abs(reached - displacement_mm) <= 0.01 * displacement_mm:
            return scaled
        factor *= displacement_mm / reached
    raise ValueError(
        f"displacement_mm: got {displacement_mm}, and this trajectory reaches {reached:.3g}. Ask for less, "
        "or use another trajectory."
    )


def excursion_mm(trajectory: RigidTrajectory) -> float:
    """Largest displacement of any shot from the plain mean pose, however little energy it acquires."""
    even = torch.full((trajectory.num_shots,), 1 / trajectory.num_shots, dtype=torch.float64)
    return shot_displacement_mm(trajectory, mean_pose(trajectory, even)).max().item()
