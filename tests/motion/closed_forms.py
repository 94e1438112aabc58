"""Analytic objects for the motion tests: their moved versions are known in closed form."""

import math

import numpy as np
import torch

from mocodis_monai.motion import RigidTrajectory, sample_trajectory, to_image
from mocodis_monai.motion.trajectory import rotation_matrices


def poses(translation, rotation):
    """Trajectory from nested lists, float64."""
    return RigidTrajectory(torch.tensor(translation, dtype=torch.float64), torch.tensor(rotation, dtype=torch.float64))


def drawn(num_shots, dims, seed=0, factor=2.0):
    """A drift in which every shot has another pose."""
    return sample_trajectory("drift", num_shots, dims, np.random.RandomState(seed)).scaled(factor)


def gaussian(shape, rotation_deg, translation_mm=None, spacing_mm=None):
    """An off-centre anisotropic Gaussian after a rigid motion about pixel (N - 1) / 2; spatial shape,
    float64.
    """
    dims = len(shape)
    spacing = spacing_mm or [1.0] * dims
    rotation = rotation_matrices(torch.tensor([rotation_deg], dtype=torch.float64))[0]
    centre = rotation @ torch.tensor([4.0, -3.0, 2.0][:dims], dtype=torch.float64)
    if translation_mm is not None:
        centre = centre + torch.tensor(translation_mm, dtype=torch.float64)
    widths = torch.tensor([2.2, 3.2, 2.7][:dims], dtype=torch.float64)
    precision = rotation @ torch.diag(widths**-2) @ rotation.T
    axes = [(torch.arange(n, dtype=torch.float64) - (n - 1) / 2) * mm for n, mm in zip(shape, spacing, strict=True)]
    offset = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1) - centre
    return torch.exp(-0.5 * torch.einsum("...i,ij,...j->...", offset, precision, offset))


def ellipse(shape, rotation_deg, translation_px=None):
    """A rotated, then translated ellipse (2D) or ellipsoid (3D) from its closed-form transform, peak about 1, float64.

    The transform of the unit disc is J1(2 pi q) / q, of the unit ball (sin x - x cos x) / (2 pi^2 q^3), x = 2
    pi q.
    """
    dims = len(shape)
    rotation = rotation_matrices(torch.tensor([rotation_deg], dtype=torch.float64))[0]
    radii = torch.tensor([9.0, 14.0, 11.0][:dims], dtype=torch.float64)
    axes = [(torch.arange(n, dtype=torch.float64) - n // 2) / n for n in shape]
    k = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)
    q = ((k @ rotation) * radii).norm(dim=-1).clamp_min(1e-6)
    x = 2 * math.pi * q
    unit = torch.special.bessel_j1(x) / q if dims == 2 else (x.sin() - x * x.cos()) / (2 * math.pi**2 * q**3)
    # From the image origin N // 2 to the centre of the field of view, (N - 1) / 2.
    centre = torch.tensor([(n - 1) / 2 - n // 2 for n in shape], dtype=torch.float64)
    if translation_px is not None:
        centre = centre + torch.tensor(translation_px, dtype=torch.float64)
    ramp = torch.polar(torch.ones_like(q), -2 * math.pi * (k @ centre))
    image = to_image(unit * radii.prod() * ramp, range(-dims, 0))
    return image.real / math.sqrt(math.prod(shape))


def relative_error(got, wanted):
    """Root mean square error over root mean square, away from the border: there a closed form from a spectrum wraps
    around, as its object does not.
    """
    inner = tuple(slice(4, -4) for _ in got.shape)
    return ((got - wanted)[inner].norm() / wanted[inner].norm()).item()
