"""Physics of motion during an MRI acquisition, in torch and numpy alone (never MONAI).

What may live here: the Fourier pair, acquisition order, poses, the forward model, the severity score and the
co-registered target. Images are tensors ``(..., H, W)`` or ``(..., H, W, D)``; axes are counted among the
spatial axes; lengths are in mm and angles in degrees.
"""

from .acquisition import LINE_ORDERS, assign_shots
from .forward import magnitude, move_image, simulate_motion
from .fourier import to_image, to_kspace
from .reference import CoregisteredTarget, coregistered_target
from .severity import (
    SEVERITY_BANDS,
    MotionSeverity,
    band_of,
    line_energy,
    motion_severity,
    scale_to_displacement,
)
from .trajectory import FAMILIES, RigidTrajectory, sample_trajectory, scale

__all__ = [
    "FAMILIES",
    "LINE_ORDERS",
    "SEVERITY_BANDS",
    "CoregisteredTarget",
    "MotionSeverity",
    "RigidTrajectory",
    "assign_shots",
    "band_of",
    "coregistered_target",
    "line_energy",
    "magnitude",
    "motion_severity",
    "move_image",
    "sample_trajectory",
    "scale",
    "scale_to_displacement",
    "simulate_motion",
    "to_image",
    "to_kspace",
]
