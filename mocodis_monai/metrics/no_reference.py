"""Measures of one image alone, for scans that have no motion-free twin."""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from skimage.feature import canny

from mocodis_monai.metrics.reference import percentile_scaled

__all__ = ["average_edge_strength"]

CANNY_SIGMA = 1.4
"""Width in pixels of the Gaussian before edges are looked for."""


def average_edge_strength(image: np.ndarray, mask: np.ndarray) -> float:
    """Mean slope of the image at its edges, per pixel (AES).

    After Pannetier et al. 2016, Quantitative framework for prospective motion correction evaluation, Magn Reson Med.

    Motion blurs edges and lowers it; noise, ringing and an over-sharpened image raise it, so it only means something
    beside another figure. Edges are found by Canny's method inside ``mask``; the slope is the magnitude of the Prewitt
    gradient of the image, scaled so that its 1st and 99.9th percentile are 0 and 1. A volume is measured slice by
    slice along its last axis, and the mean taken over all edge pixels.

    Args:
        image, mask: ``(H, W)`` or ``(H, W, slices)``.

    Returns:
        NaN where no edge is found.
    """
    scaled = percentile_scaled(image, image)
    slices = scaled.reshape(*scaled.shape[:2], -1)
    inside = mask.reshape(slices.shape)
    strengths = [_edge_slopes(slices[..., k], inside[..., k]) for k in range(slices.shape[2]) if inside[..., k].any()]
    found = np.concatenate(strengths) if strengths else np.empty(0)
    return float(found.mean()) if found.size else float("nan")


def _edge_slopes(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Slope per pixel at each edge pixel of a slice."""
    edges = canny(image, sigma=CANNY_SIGMA, mask=mask)
    # A Prewitt kernel sums three differences over two pixels.
    rows, columns = (ndimage.prewitt(image, axis=axis, mode="nearest")[edges] / 6 for axis in (0, 1))
    return np.hypot(rows, columns)
