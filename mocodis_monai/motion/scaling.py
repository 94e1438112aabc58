"""A motion brought to a displacement score, and how far a deformation can be brought."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from .acquisition import Acquisition
from .deformation import Deformation, Motion, largest_factor
from .severity import TOLERANCE, motion_severity


def scale_to_displacement(
    motion: Motion,
    displacement_mm: float,
    acquisition: Acquisition,
    energy: Tensor,
    image: Tensor | None = None,
    spacing_mm: Sequence[float] | None = None,
) -> Motion:
    """Scale a motion so that its score is ``displacement_mm``, to within 1 per cent.

    A deformation needs the image, as in :func:`motion_severity`, and the voxel size: see :func:`reachable_mm`.

    Raises:
        ValueError: for a negative score, or a motion that cannot reach it: one that never moves, whose moving shots
            carry so little energy that they would have to turn beyond the allowed angle, or that would fold tissue.
    """
    if not (math.isfinite(displacement_mm) and displacement_mm >= 0):
        raise ValueError(f"displacement_mm: got {displacement_mm}; allowed is 0 mm or more. Give a finite score.")
    if displacement_mm == 0:
        return motion.scaled(0.0)
    scored = (acquisition, energy, image)
    score = motion_severity(motion.scaled(1e-3), *scored).displacement_mm * 1e3
    if score <= 1e-9:
        raise ValueError(
            "motion: got one whose energy-weighted displacement is zero; it must move between shots that "
            f"acquire signal to be scaled to {displacement_mm} mm. Use more shots or another motion."
        )
    if isinstance(motion, Deformation):
        if spacing_mm is None or image is None:
            raise ValueError(
                "spacing_mm: got None; a deformation needs the voxel sizes in mm. Give one per spatial axis."
            )
        most_mm = reachable_mm(motion, acquisition, energy, image, spacing_mm)
        if displacement_mm > most_mm:
            raise ValueError(
                f"displacement_mm: got {displacement_mm}; this deformation reaches {most_mm:.2g} mm before it would "
                "fold tissue. Ask for less (see reachable_mm), or use another motion."
            )
    factor = displacement_mm / score
    # The score is linear in displacements and nearly so in the angle: two or three steps do.
    for _ in range(20):
        scaled = motion.scaled(factor)
        reached = motion_severity(scaled, *scored).displacement_mm
        if abs(reached - displacement_mm) <= TOLERANCE * displacement_mm:
            return scaled
        factor *= displacement_mm / reached
    raise ValueError(
        f"displacement_mm: got {displacement_mm}, and this motion reaches {reached:.3g}. Ask for less, or use another "
        "motion."
    )


def reachable_mm(
    deformation: Deformation,
    acquisition: Acquisition,
    energy: Tensor,
    image: Tensor,
    spacing_mm: Sequence[float],
    least_mm: float = 0.0,
) -> float:
    """Largest score that a deformation can be scaled to before tissue would fold.

    A small organ moves little of the body, so that this may be well below 1 mm. Arguments as of
    :func:`motion_severity`; ``spacing_mm`` is the voxel size, one for each spatial axis. Less than ``least_mm`` is
    given as 0, which spares the search for it.

    Raises:
        ValueError: the arguments do not fit each other.
    """
    score = motion_severity(deformation, acquisition, energy, image).displacement_mm
    shape = image.shape[-deformation.spatial_dims :]
    return score * largest_factor(deformation, shape, spacing_mm, least_mm / max(score, 1e-12))
