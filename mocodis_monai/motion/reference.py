"""The co-registered target: the clean image where it fits the corrupted image best.

Without it a global shift stays between target and corrupted image, and every score measures that shift. How much is
left is measured with an independent method by ``python -m benchmarks.target_registration``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .acquisition import Acquisition, single_shot
from .deformation import Deformation, Motion, deform
from .forward import check_acquired, magnitude, move_image, simulate_motion
from .fourier import unit_phasor
from .full_precision import at_full_precision
from .severity import line_energy, mean_deformation, mean_pose, shot_weights
from .trajectory import RigidTrajectory, identity_pose, rotation_angles_deg, rotation_matrices

# Largest grid of the registration per axis: a pose needs no more, and the cost no longer grows with the
# image.
_GRID = {2: 64, 3: 40}
_STEPS = 3
# A step that turns farther is no refinement: a round image has nothing to hold on to.
_LONGEST_TURN_DEG = 10.0

# Shifts searched for the last refinement, in pixels of that grid.
_PEAK_REACH_PX = 2.0
_PEAK_STEP_PX = 0.125


class CoregisteredTarget(NamedTuple):
    """The target of an acquisition.

    Attributes:
        image: real magnitude, of the shape of the clean image.
        pose: the pose it was moved to, a trajectory of one shot, float64.
        deformation: what it was deformed with before, a deformation of one shot; None for rigid motion.
    """

    image: Tensor
    pose: RigidTrajectory
    deformation: Deformation | None = None


@at_full_precision
def coregistered_target(
    clean: Tensor,
    moved: Tensor,
    motion: Motion,
    acquisition: Acquisition,
    spacing_mm: Sequence[float],
) -> CoregisteredTarget:
    """Move the clean image to where it fits the corrupted one best.

    Rigid motion starts from the energy-weighted mean pose and refines it by Gauss-Newton steps of a least-squares
    registration of the two magnitudes on a coarse grid, with a free intensity scale (ghosts take energy from the
    object), and by the peak of their cross-correlation, there and then on the grid of the image. The clean image is
    then moved by the forward model's own operator.

    A deformation is first undone as far as its energy-weighted mean goes: the clean image with that mean deformation
    takes the place of the clean image, and is registered in the same way from the identity on. That takes out the
    global shift and turn which remain because the corrupted image does not lie exactly at the mean. What remains of
    local shifts is left, since a target fitted to them would take over the artifact.

    One pose for the whole batch, and for all slices of a 2D multi-slice volume, as in :func:`motion_severity`.

    Args:
        clean: ``(..., *spatial)``, float or complex.
        moved: the corrupted image of the same shape, complex or its magnitude.
        motion: pose or deformation of every shot.
        acquisition: shot of every sample.
        spacing_mm: voxel size along each spatial axis.

    Returns:
        the target without a gradient; without motion a copy of the clean magnitude and the identity.

    Raises:
        TypeError: the clean image is neither floating point nor complex.
        ValueError: the corrupted image has another shape; acquisition, spacing or motion do not fit the image.
    """
    check_acquired(clean, motion, acquisition, spacing_mm)
    if moved.shape != clean.shape:
        raise ValueError(
            f"moved: got shape {tuple(moved.shape)}; allowed is that of the clean image, {tuple(clean.shape)}. Give "
            "the corrupted image, with its coils combined."
        )
    with torch.no_grad():
        dims = motion.spatial_dims
        weights = shot_weights(line_energy(clean, acquisition, dims), acquisition)
        deformation = None
        if isinstance(motion, Deformation):
            pose, deformation = identity_pose(dims), mean_deformation(motion, weights)
            clean = clean if motion.is_still else deform(clean, deformation, torch.tensor([0]), spacing_mm)[0]
        else:
            pose = mean_pose(motion, weights)
        if motion.num_shots > 1 and not motion.is_still:
            pose = _register(magnitude(clean), magnitude(moved), pose, spacing_mm)
            pose = _shift_to_peak(move_image(clean, pose, spacing_mm), magnitude(moved), pose, spacing_mm)
        return CoregisteredTarget(move_image(clean, pose, spacing_mm), pose, deformation)


def held_in_place(
    image: Tensor, motion: Motion, acquisition: Acquisition, spacing_mm: Sequence[float]
) -> Motion:
    """The motion after a rigid shift and turn of all its poses, such that the moved image lies where the image lies.

    A deformation loses its energy-weighted mean instead. Arguments as of :func:`coregistered_target`; the motion that
    is given back is in float64, without a gradient.

    Raises:
        TypeError: the image is neither floating point nor complex.
        ValueError: acquisition, spacing or motion do not fit the image.
    """
    check_acquired(image, motion, acquisition, spacing_mm)
    if isinstance(motion, Deformation):
        return without_mean(motion, line_energy(image, acquisition, motion.spatial_dims), acquisition)
    moved = simulate_motion(image, motion, acquisition, spacing_mm)
    pose = coregistered_target(image, moved, motion, acquisition, spacing_mm).pose
    translation_mm, rotation_deg = (values.detach().double().cpu() for values in motion)
    back = rotation_matrices(pose.rotation_deg)[0].mT
    turned = back @ rotation_matrices(rotation_deg)
    return RigidTrajectory((translation_mm - pose.translation_mm) @ back.mT, rotation_angles_deg(turned))


def without_mean(deformation: Deformation, energy: Tensor, acquisition: Acquisition) -> Deformation:
    """The deformation less its mean over the shots, weighted with the ``energy`` of :func:`line_energy`."""
    mean = mean_deformation(deformation, shot_weights(energy, acquisition))
    return deformation._replace(amplitude_mm=deformation.amplitude_mm - mean.amplitude_mm)


def _register(clean: Tensor, moved: Tensor, pose: RigidTrajectory, spacing_mm: Sequence[float]) -> RigidTrajectory:
    """Gauss-Newton steps from ``pose``; it is kept from where on the image has nothing to hold on to."""
    dims = pose.spatial_dims
    shape = clean.shape[-dims:]
    grid = [min(size, _GRID[dims]) for size in shape]
    coarse_mm = [mm * size / coarse for mm, size, coarse in zip(spacing_mm, shape, grid, strict=True)]
    fixed, template = (_low_pass(image.reshape(-1, *shape), grid) for image in (moved, clean))
    at_once = single_shot(grid)
    for _ in range(_STEPS):
        view = simulate_motion(template, pose, at_once, coarse_mm).real
        columns = torch.stack([view, *_pose_derivatives(view, coarse_mm)]).flatten(1).double()
        normal, right = columns @ columns.T, columns @ fixed.flatten().double()
        # A trace of damping keeps a blank image solvable, and bounds the shift along an axis that the image is the same
        # along: rounding alone would say metres.
        damping = 1e-6 * normal.diagonal().clamp_min(normal.diagonal().max() * 1e-2 + 1e-30)
        solution = torch.linalg.solve(normal + damping.diag(), right)
        if solution[0] <= 0:
            break
        step = (solution[1:] / solution[0]).cpu()
        if step[dims:].abs().sum() > _LONGEST_TURN_DEG:
            break
        pose = RigidTrajectory(pose.translation_mm + step[:dims], pose.rotation_deg + step[dims:])
    return _shift_to_peak(simulate_motion(template, pose, at_once, coarse_mm).real, fixed, pose, coarse_mm)


def _shift_to_peak(view: Tensor, fixed: Tensor, pose: RigidTrajectory, spacing_mm: Sequence[float]) -> RigidTrajectory:
    """The pose with the shift that is left between its view and ``fixed``, ``(..., *spatial)``, taken out."""
    shape = view.shape[-pose.spatial_dims :]
    shift_px = _correlation_peak(view.reshape(-1, *shape), fixed.reshape(-1, *shape))
    return pose._replace(translation_mm=pose.translation_mm + shift_px * torch.tensor(spacing_mm, dtype=torch.float64))


def _correlation_peak(view: Tensor, fixed: Tensor) -> Tensor:
    """Shift of ``view``, in pixels, that correlates best with ``fixed``: ``(spatial_dims,)`` float64.

    For a pure shift this is the least-squares fit. Gauss-Newton creeps towards it when ghosts leave a large
    residual; here the correlation is read off its spectrum on a fine grid (Guizar-Sicairos et al. 2008, Opt
    Lett 33:156) and the peak refined by a parabola along each axis.
    """
    axes = tuple(range(1, view.ndim))
    surface = (torch.fft.fftn(view, dim=axes).conj() * torch.fft.fftn(fixed, dim=axes)).sum(0)
    shifts = torch.arange(-_PEAK_REACH_PX / _PEAK_STEP_PX, _PEAK_REACH_PX / _PEAK_STEP_PX + 1) * _PEAK_STEP_PX
    for size in view.shape[1:]:
        # Each turn consumes the first axis and appends its shifts, so that the axes end in their order.
        matrix = unit_phasor(2 * math.pi * torch.outer(torch.fft.fftfreq(size), shifts)).to(surface)
        surface = torch.tensordot(surface, matrix, dims=([0], [0]))
    surface = surface.real.double().cpu()
    peak = [int(index) for index in torch.unravel_index(surface.argmax(), surface.shape)]
    return torch.tensor([_parabola_top(surface, peak, axis, shifts) for axis in range(surface.ndim)]).double()


def _parabola_top(surface: Tensor, peak: list[int], axis: int, shifts: Tensor) -> float:
    """Shift along one axis where the parabola through the peak and its neighbours is highest."""
    line = surface[tuple(slice(None) if other == axis else index for other, index in enumerate(peak))]
    at = min(max(peak[axis], 1), len(shifts) - 2)
    before, here, after = line[at - 1 : at + 2].tolist()
    bend = before - 2 * here + after
    offset = 0.5 * (before - after) / bend if bend < 0 else 0.0
    return float(shifts[at]) + max(-1.0, min(1.0, offset)) * _PEAK_STEP_PX


def _pose_derivatives(view: Tensor, spacing_mm: Sequence[float]) -> list[Tensor]:
    """Change of the image ``(batch, *spatial)`` per mm along each axis, then per degree about each axis.

    Content that moves by v changes the image by -v . gradient; a turn about the centre moves it by angle x
    position.
    """
    dims = len(spacing_mm)
    gradient = [_slope(view, 1 + axis) / mm for axis, mm in enumerate(spacing_mm)]
    position = [
        ((torch.arange(size, dtype=view.dtype, device=view.device) - (size - 1) / 2) * mm).reshape(
            [-1 if axis == other else 1 for other in range(dims)]
        )
        for axis, (size, mm) in enumerate(zip(view.shape[1:], spacing_mm, strict=True))
    ]
    planes = [(0, 1)] if dims == 2 else [(1, 2), (2, 0), (0, 1)]
    turns = [math.radians(1) * (gradient[a] * position[b] - gradient[b] * position[a]) for a, b in planes]
    return [-slope for slope in gradient] + turns


def _slope(view: Tensor, dim: int) -> Tensor:
    """Derivative per pixel along one axis, in the spectrum: differences would understate fine structure."""
    size = view.shape[dim]
    wave = torch.fft.rfftfreq(size, dtype=view.dtype, device=view.device) * (2 * math.pi)
    layout = [-1 if axis == dim else 1 for axis in range(view.ndim)]
    return torch.fft.irfft(torch.fft.rfft(view, dim=dim) * (1j * wave).reshape(layout), n=size, dim=dim)


def _low_pass(image: Tensor, grid: Sequence[int]) -> Tensor:
    """The low frequencies of ``(batch, *spatial)`` on a coarser grid over the same field of view."""
    for axis, coarse in enumerate(grid, start=1):
        matrix = _low_pass_matrix(image.shape[axis], coarse).to(image)
        image = torch.tensordot(image, matrix, dims=([axis], [1])).movedim(-1, axis)
    return image


def _low_pass_matrix(size: int, coarse: int) -> Tensor:
    """``(coarse, size)`` band-limited interpolation; both grids have the centre of the field of view in the
    middle.
    """
    harmonic = torch.arange(-((coarse - 1) // 2), (coarse - 1) // 2 + 1, dtype=torch.float64)
    at = (torch.arange(coarse, dtype=torch.float64) - (coarse - 1) / 2) / coarse
    origin = (torch.arange(size, dtype=torch.float64) - (size - 1) / 2) / size
    there = unit_phasor(2 * math.pi * torch.outer(at, harmonic))
    return (there @ unit_phasor(-2 * math.pi * torch.outer(harmonic, origin))).real / size
