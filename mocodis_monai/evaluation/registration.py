"""Rigid registration of a still scan to a moved scan of the same subject, by ITK."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import itk
import numpy as np
import torch

from mocodis_monai.data.intensity import foreground_mask
from mocodis_monai.data.nifti import Volume
from mocodis_monai.errors import InputError
from mocodis_monai.evaluation.cases import Alignment

__all__ = ["Registered", "check_registrable", "registered_to"]

BINS = 32
COARSEST_MM = 2.0
"""Voxels smaller than this are averaged before the registration; a pose needs no finer ones."""
SHRINK = (2, 1)
"""Levels of the registration, on those averaged images."""
SHRUNK_AT_LEAST = 16
"""Voxels that each axis keeps when it is shrunk."""
ITERATIONS = 60
FEWEST_SLICES = 8
SPLINE_ORDER = 3
LEAST_OVERLAP = 0.1
"""Share of the moved scan's foreground that the registered still scan covers: little, for it may be a slab."""
ADVICE = "Check that both show the same part of the same subject."


class Registered(NamedTuple):
    """A still scan on the grid of a moved one, and how it came there.

    Attributes:
        data: (x, y, z) float32, clipped at zero, zero outside the view of the still scan.
        alignment: what the registration did.
    """

    data: np.ndarray
    alignment: Alignment


def registered_to(moved: Volume, still: Volume) -> Registered:
    """``still`` at the pose and on the grid of ``moved``.

    Rigid (six degrees of freedom), Mattes mutual information, coarse to fine, from the centres of mass; resampled once
    with cubic B-splines. The scanner's gain may differ between two scans, so the result is multiplied by one factor,
    the median of the ratios where it has tissue.

    Raises:
        InputError: a volume has too few slices along an axis, or the registration finds no overlap.
    """
    for volume in (moved, still):
        check_registrable(volume.path, volume.data.shape)
    fixed, moving = _itk_image(moved), _itk_image(still)
    try:
        transform = _register(_averaged(fixed), _averaged(moving))
    except RuntimeError as error:
        raise InputError(
            f"{still.path}: could not be registered to {moved.path.name} ({_last_line(error)}). {ADVICE}"
        ) from error
    interpolator = itk.BSplineInterpolateImageFunction[type(moving), itk.D, itk.F].New(spline_order=SPLINE_ORDER)
    resampled = itk.resample_image_filter(
        moving, transform=transform, interpolator=interpolator, use_reference_image=True, reference_image=fixed
    )
    data = np.clip(itk.array_from_image(resampled).transpose(2, 1, 0), 0, None)
    alignment = _alignment(moved.data, data, transform)
    if alignment.overlap < LEAST_OVERLAP:
        raise InputError(
            f"{still.path}: registered to {moved.path.name} it covers {alignment.overlap:.0%} of what that shows; at "
            f"least {LEAST_OVERLAP:.0%} is needed. {ADVICE}"
        )
    return Registered(np.ascontiguousarray(data * _gain(moved.data, data), dtype=np.float32), alignment)


def check_registrable(path: str | Path, shape: tuple[int, ...]) -> None:
    """Refuse what is too thin for a rigid registration.

    Raises:
        InputError: too few slices along an axis.
    """
    if min(shape) < FEWEST_SLICES:
        raise InputError(
            f"{path}: shape {shape}; a rigid registration needs at least {FEWEST_SLICES} slices along each axis. "
            "Leave the still scan out to evaluate the moved one alone."
        )


def _alignment(moved: np.ndarray, still: np.ndarray, transform: Any) -> Alignment:
    """What ``transform`` did, and how well ``still`` fits ``moved`` after it, both (x, y, z)."""
    # A unit quaternion's vector, sin(angle / 2) long, and the way of the centre of rotation, the moved scan's of mass.
    versor, way_mm = np.split(np.array(transform.GetParameters()), 2)
    rotation_deg = np.rad2deg(2 * np.arcsin(min(float(np.linalg.norm(versor)), 1.0)))
    overlap, correlation = 0.0, 0.0
    if (still > 0).any():
        ours, theirs = (foreground_mask(torch.from_numpy(np.ascontiguousarray(p)[None]))[0] for p in (moved, still))
        both = (ours & theirs).numpy()
        overlap = float(both.sum() / ours.sum())
        if both.any() and np.ptp(moved[both]) > 0 and np.ptp(still[both]) > 0:
            correlation = float(np.corrcoef(moved[both], still[both])[0, 1])
    return Alignment(float(rotation_deg), float(np.linalg.norm(way_mm)), overlap, correlation)


def _gain(moved: np.ndarray, still: np.ndarray) -> float:
    """The median of ``moved / still`` where ``still`` has tissue and ``moved`` is not empty.

    Motion spreads the energy of an edge over the image: a least-squares factor would take the loss for a lower gain of
    the scanner and dim the target, at severe motion by more than 3 %. The median is right within 1 % on average.
    """
    tissue = (still > 0.1 * np.percentile(still, 99.5)) & (moved > 0)
    return float(np.median(moved[tissue] / still[tissue])) if tissue.any() else 1.0


def _itk_image(volume: Volume) -> Any:
    """An ITK image with the geometry of the file in mm; NIfTI is RAS, ITK is LPS."""
    image = itk.image_from_array(np.ascontiguousarray(volume.data.transpose(2, 1, 0)))
    per_unit = volume.spacing_mm[0] / np.linalg.norm(volume.affine[:3, 0])
    to_lps = np.diag([-1.0, -1.0, 1.0]) * per_unit
    axes = to_lps @ volume.affine[:3, :3] / np.array(volume.spacing_mm)
    # ITK wants a rotation; a sheared affine is taken at the nearest one.
    left, _, right = np.linalg.svd(axes)
    image.SetDirection(itk.matrix_from_array(np.ascontiguousarray(left @ right)))
    image.SetOrigin((to_lps @ volume.affine[:3, 3]).tolist())
    image.SetSpacing([float(size) for size in volume.spacing_mm])
    return image


def _averaged(image: Any) -> Any:
    """Blocks of voxels averaged to at least :data:`COARSEST_MM`, which makes the registration ten times faster."""
    size = itk.size(image)
    factors = [
        max(1, min(round(COARSEST_MM / spacing), size[axis] // SHRUNK_AT_LEAST))
        for axis, spacing in enumerate(image.GetSpacing())
    ]
    return itk.bin_shrink_image_filter(image, shrink_factors=factors)


def _register(fixed: Any, moving: Any) -> Any:
    kind = type(fixed)
    transform = itk.VersorRigid3DTransform[itk.D].New()
    initializer = itk.CenteredTransformInitializer[itk.VersorRigid3DTransform[itk.D], kind, kind].New(
        transform=transform, fixed_image=fixed, moving_image=moving
    )
    initializer.MomentsOn()
    initializer.InitializeTransform()
    metric = itk.MattesMutualInformationImageToImageMetricv4[kind, kind].New(number_of_histogram_bins=BINS)
    optimizer = itk.RegularStepGradientDescentOptimizerv4[itk.D].New(
        learning_rate=1.0, minimum_step_length=1e-4, number_of_iterations=ITERATIONS, relaxation_factor=0.6
    )
    scales = itk.RegistrationParameterScalesFromPhysicalShift[type(metric)].New(metric=metric)
    optimizer.SetScalesEstimator(scales)
    registration = itk.ImageRegistrationMethodv4[kind, kind].New(
        fixed_image=fixed, moving_image=moving, metric=metric, optimizer=optimizer, initial_transform=transform
    )
    registration.SetNumberOfLevels(len(SHRINK))
    for level, factor in enumerate(SHRINK):
        factors = [max(1, min(factor, size // SHRUNK_AT_LEAST)) for size in itk.size(fixed)]
        registration.SetShrinkFactorsPerDimension(level, factors)
    registration.SetSmoothingSigmasPerLevel([float(factor) / 2 for factor in SHRINK])
    registration.Update()
    return registration.GetTransform()


def _last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:160]
