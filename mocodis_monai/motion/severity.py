"""How much the object moved: a displacement score in mm, and the share of corrupted lines."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .acquisition import Acquisition
from .deformation import Deformation, Motion, check_deformation
from .modes import displacement_field
from .trajectory import RigidTrajectory, check_trajectory, rotation_matrices

HEAD_RADIUS_MM = 64.0
"""Radius of the sphere whose surface point the rotation moves, Tisdall et al. 2012, Magn Reson Med 68:389."""

CORRUPTED_ABOVE_MM = 0.5
"""A line counts as corrupted when it was acquired more than this away from the reference pose: half a voxel
of a usual 1 mm scan.
"""

SEVERITY_BANDS = (("mild", 1.0), ("moderate", 2.5), ("severe", 5.0), ("extreme", math.inf))
"""Names of the displacement score and the upper end of each band in mm, see :func:`band_of`."""

LEAST_MILD_MM, MOST_EXTREME_MM = 0.3, 8.0
"""Ends of the range of scores to draw from: less than the first can hardly be seen, and beyond the second hardly
anything of the image is left.
"""

TOLERANCE = 0.01
"""Share of a score to within which it is met."""

# Tissue is what is brighter than this share of the image's bright end; the rest is air with its noise.
_FOREGROUND_SHARE = 0.1

# Grid per axis that the displacement is averaged on: the modes are smooth.
_GRID = {2: 64, 3: 32}


class MotionSeverity(NamedTuple):
    """The score of an acquisition.

    Attributes:
        displacement_mm: mean over the samples of k-space, weighted with their energy, of the displacement from the
            mean pose or mean deformation.
        corrupted_line_fraction: share of samples displaced by more than :data:`CORRUPTED_ABOVE_MM`, 0 to 1.
    """

    displacement_mm: float
    corrupted_line_fraction: float


class DisplacementRange(NamedTuple):
    """Displacement scores to draw from, in mm."""

    low: float
    high: float


def band_of(displacement_mm: float) -> str:
    """Name of the score: mild below 1 mm, moderate 1 to 2.5, severe above 2.5 to 5, extreme above 5.

    Raises:
        ValueError: the score is negative or no number.
    """
    if not displacement_mm >= 0:
        raise ValueError(
            f"displacement_mm: got {displacement_mm}; allowed is 0 mm or more. Mend what the score was computed from."
        )
    (mildest, end), *others = SEVERITY_BANDS
    if displacement_mm < end:
        return mildest
    return next(name for name, upper in others if displacement_mm <= upper)


def displacement_range(displacement_mm: str | float | Sequence[float]) -> DisplacementRange:
    """The scores meant by the name of a band, a score, or a range of them.

    Raises:
        ValueError: for a name that is not a band's, a negative score, or a range from high to low.
    """
    names = [name for name, _ in SEVERITY_BANDS]
    if isinstance(displacement_mm, str):
        if displacement_mm not in names:
            raise ValueError(
                f"displacement_mm: got {displacement_mm!r}; allowed is one of {names}, a score in mm or a range. "
                "Choose one of these."
            )
        ends = [LEAST_MILD_MM, *(upper for _, upper in SEVERITY_BANDS[:-1]), MOST_EXTREME_MM]
        number = names.index(displacement_mm)
        # Drawn off the ends, so that the score that is met lies in the band that was asked for.
        return DisplacementRange(ends[number] * (1 + TOLERANCE), ends[number + 1] * (1 - TOLERANCE))
    numbers = torch.as_tensor(displacement_mm, dtype=torch.float64)
    ends = numbers.repeat(2).tolist() if numbers.ndim == 0 else numbers.tolist()
    if numbers.ndim > 1 or len(ends) != 2 or not 0 <= ends[0] <= ends[1] < math.inf:
        raise ValueError(
            f"displacement_mm: got {displacement_mm}; allowed is a finite score of 0 mm or more, (low, high), or one "
            f"of {names}. Give one of these."
        )
    return DisplacementRange(*ends)


def line_energy(image: Tensor, acquisition: Acquisition, spatial_dims: int) -> Tensor:
    """Share of the spectrum's energy in every sample: a phase-encode line, a point of the (ky, kz) plane, or a line of
    a slice.

    The k = 0 sample is left out, in 2D multi-slice that of every slice: a shift does not change it, and as it holds
    most of the energy of a magnitude image the score would otherwise hang on the one shot that acquires it. An image
    without contrast weighs all lines alike.

    Args:
        image: ``(..., *spatial)``; leading axes are summed over.
        acquisition: its phase-encode axes and slice axis are used.
        spatial_dims: 2 or 3.

    Returns:
        float64 in the shape of ``acquisition.shot_of_line``, non-negative, sum 1, as in centred k-space.
    """
    dims = [axis - spatial_dims for axis in acquisition.encoded_axes]
    stack = image.detach().movedim(dims, tuple(range(-len(dims), 0)))
    encoded = stack.shape[-len(dims) :]
    stack = stack.flatten(-spatial_dims, -len(dims) - 1)
    phase_encoded = [-1] if len(dims) == 1 else [-2] if acquisition.slice_axis is not None else [-2, -1]
    # Parseval: the transform along the phase-encode axes alone has the same energy in every sample.
    contrast = stack - stack.mean((-len(dims) - 1, *phase_encoded), keepdim=True)
    spectrum = torch.fft.fftn(contrast, dim=phase_encoded).abs().reshape(-1, *encoded)
    energy = spectrum.square().sum(0)
    if not bool(torch.isfinite(energy).all()):  # beyond float32; in double only then, as it gives other last bits
        energy = spectrum.double().square().sum(0)
    energy = torch.fft.fftshift(energy, dim=phase_encoded).double()
    total = energy.sum()
    return energy / total if total > 0 else torch.full_like(energy, 1 / energy.numel())


def shot_weights(energy: Tensor, acquisition: Acquisition) -> Tensor:
    """Share of the energy that each shot acquires, ``(shots,)``."""
    shots = acquisition.shot_of_line.cpu().flatten()
    return torch.zeros(acquisition.num_shots, dtype=energy.dtype).index_add(0, shots, energy.cpu().flatten())


def mean_pose(trajectory: RigidTrajectory, weights: Tensor) -> RigidTrajectory:
    """Weighted mean of translations and of angles, as a trajectory of one shot, float64."""
    translation, rotation = (values.detach().double().cpu() for values in trajectory)
    return RigidTrajectory((weights @ translation)[None], (weights @ rotation)[None])


def mean_deformation(deformation: Deformation, weights: Tensor) -> Deformation:
    """Weighted mean of the displacements, as a deformation of one shot, float64."""
    return deformation._replace(amplitude_mm=(weights @ deformation.amplitude_mm.detach().double().cpu())[None])


def shot_displacement_mm(trajectory: RigidTrajectory, reference: RigidTrajectory) -> Tensor:
    """Tisdall displacement of every shot from the reference pose, ``(shots,)`` float64.

    64 mm * sqrt((1 - cos t)^2 + sin^2 t) + |dt| of the relative pose. For the matrices, sqrt((1 - cos t)^2 +
    sin^2 t) is the Frobenius norm of R - R_ref over sqrt(2), in 2D and in 3D.
    """
    rotation = rotation_matrices(trajectory.rotation_deg.detach().double().cpu())
    anchor = rotation_matrices(reference.rotation_deg)
    turned = HEAD_RADIUS_MM / math.sqrt(2) * torch.linalg.matrix_norm(rotation - anchor)
    carried = (rotation @ anchor.mT @ reference.translation_mm[0, :, None])[:, :, 0]
    return turned + torch.linalg.vector_norm(trajectory.translation_mm.detach().double().cpu() - carried, dim=1)


def tissue_displacement_mm(deformation: Deformation, reference: Deformation, image: Tensor) -> Tensor:
    """Mean over the tissue, weighted with its intensity, of the displacement of every shot from the reference
    deformation, ``(shots,)`` float64.

    Args:
        deformation: motion of every shot.
        reference: of the same modes, one shot.
        image: ``(..., *spatial)``; leading axes are averaged. What is darker than a tenth of the bright end is air.
    """
    dims = deformation.spatial_dims
    shape = image.shape[-dims:]
    grid = [min(size, _GRID[dims]) for size in shape]
    bright = image.detach().abs().reshape(-1, *shape).double().mean(0)
    bright = F.interpolate(bright[None, None], size=grid, mode="area")[0, 0].cpu()
    bright = torch.where(bright > _FOREGROUND_SHARE * bright.quantile(0.99), bright, 0)
    fields = displacement_field(deformation.modes, grid)
    apart = deformation.amplitude_mm.detach().double().cpu() - reference.amplitude_mm
    moved = torch.stack([torch.tensordot(row, fields, dims=1).norm(dim=0).mul(bright).sum() for row in apart])
    return moved / bright.sum().clamp_min(1e-30)


def motion_severity(
    motion: Motion, acquisition: Acquisition, energy: Tensor, image: Tensor | None = None
) -> MotionSeverity:
    """Score an acquisition against its energy-weighted mean pose or mean deformation.

    A 2D multi-slice volume has one mean pose too: slices that lie displaced against each other make a corrupted
    volume, however sharp each is, and its target is one pose of the volume.

    Args:
        motion: pose or deformation of every shot.
        acquisition: shot of every sample.
        energy: of every sample, from :func:`line_energy`.
        image: ``(..., *spatial)`` the object, needed for a deformation alone, whose displacement is averaged over it.

    Raises:
        ValueError: the motion has not one row for each shot; a deformation without an image.
    """
    if motion.num_shots != acquisition.num_shots:
        raise ValueError(
            f"motion: got {motion.num_shots} rows for {acquisition.num_shots} shots; allowed is one row per shot. Give "
            "the motion as many rows as the acquisition has shots."
        )
    weights = shot_weights(energy, acquisition)
    displacement = _displacement_mm(motion, weights, image)
    corrupted = (displacement > CORRUPTED_ABOVE_MM)[acquisition.shot_of_line.cpu()].double().mean()
    return MotionSeverity((weights @ displacement).item(), corrupted.item())


def _displacement_mm(motion: Motion, weights: Tensor, image: Tensor | None) -> Tensor:
    """Displacement of every shot from the weighted mean, ``(shots,)``."""
    if isinstance(motion, RigidTrajectory):
        check_trajectory(motion)
        return shot_displacement_mm(motion, mean_pose(motion, weights))
    check_deformation(motion)
    if image is None:
        raise ValueError(
            "image: got None; a deformation moves some tissue more than other, so that its score is a mean over the "
            "image. Give the clean image."
        )
    return tissue_displacement_mm(motion, mean_deformation(motion, weights), image)


def largest_angle_deg(motion: Motion) -> float:
    """Largest sum of a shot's angles; a deformation has none."""
    return 0.0 if isinstance(motion, Deformation) else motion.rotation_deg.abs().sum(1).max().item()


def excursion_mm(motion: Motion, image: Tensor | None = None) -> float:
    """Largest displacement of any shot from the plain mean pose, however little energy it acquires.

    Args:
        motion: pose or deformation of every shot.
        image: ``(..., *spatial)`` the object, needed for a deformation alone.

    Raises:
        ValueError: a deformation without an image.
    """
    even = torch.full((motion.num_shots,), 1 / motion.num_shots, dtype=torch.float64)
    return _displacement_mm(motion, even, image).max().item()
