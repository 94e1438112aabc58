"""Physics of motion during an MRI acquisition, in torch and numpy alone (never MONAI).

What may live here: the Fourier pair, acquisition order, poses and deformations, the receiver, the forward model, the
severity score and the co-registered target. Images are tensors ``(..., H, W)`` or ``(..., H, W, D)``; axes are counted
among the spatial axes; lengths are in mm and angles in degrees.
"""

from .acquisition import LINE_ORDERS, Acquisition, plan_acquisition, t2_decay
from .body_axes import BodyAxes
from .deformation import Deformation, Motion, deform
from .families import FAMILIES, NON_RIGID_FAMILIES, RIGID_FAMILIES, sample_trajectory
from .forward import magnitude, move_image, simulate_motion
from .fourier import to_image, to_kspace
from .measured import read_trajectory, write_trajectory
from .modes import Mode, Profile, displacement_field
from .organ_motion import sample_deformation, sample_motion
from .receiver import Receiver, coil_maps, combine, random_phase
from .reference import CoregisteredTarget, coregistered_target
from .scaling import reachable_mm, scale_to_displacement
from .severity import (
    SEVERITY_BANDS,
    DisplacementRange,
    MotionSeverity,
    band_of,
    displacement_range,
    excursion_mm,
    line_energy,
    motion_severity,
)
from .trajectory import RigidTrajectory, identity_pose

__all__ = [
    "FAMILIES",
    "LINE_ORDERS",
    "NON_RIGID_FAMILIES",
    "RIGID_FAMILIES",
    "SEVERITY_BANDS",
    "Acquisition",
    "BodyAxes",
    "CoregisteredTarget",
    "Deformation",
    "DisplacementRange",
    "Mode",
    "Motion",
    "MotionSeverity",
    "Profile",
    "Receiver",
    "RigidTrajectory",
    "band_of",
    "coil_maps",
    "combine",
    "coregistered_target",
    "deform",
    "displacement_field",
    "displacement_range",
    "excursion_mm",
    "identity_pose",
    "line_energy",
    "magnitude",
    "motion_severity",
    "move_image",
    "plan_acquisition",
    "random_phase",
    "reachable_mm",
    "read_trajectory",
    "sample_deformation",
    "sample_motion",
    "sample_trajectory",
    "scale_to_displacement",
    "simulate_motion",
    "t2_decay",
    "to_image",
    "to_kspace",
    "write_trajectory",
]
