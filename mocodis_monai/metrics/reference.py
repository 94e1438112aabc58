"""Measures of a pair: an image ``(*spatial)`` against its target, inside a mask of the same shape."""

from __future__ import annotations

import numpy as np
import torch
from skimage.metrics import structural_similarity

__all__ = ["foreground_nmse", "foreground_psnr", "foreground_ssim", "foreground_vif", "percentile_scaled"]

SSIM_WINDOW = 11
VIF_WINDOW = 41
"""Smallest side of an image whose VIF is defined: four scales with a window of 17 pixels."""
VIF_NOISE = 2.0
"""Variance of the observer's noise, on the scale of 0 to 255 for which Sheikh and Bovik chose it."""


def percentile_scaled(image: np.ndarray, target: np.ndarray) -> np.ndarray:
    """``image`` on the scale on which the target's 1st and 99.9th percentile are 0 and 1.

    NaN where both are the same, as in a slice of air with a pixel or two: it has no scale.
    """
    low, high = np.percentile(target, (1, 99.9))
    return ((image - low) / (high - low if high > low else np.nan)).astype(np.float32)


def foreground_ssim(image: np.ndarray, target: np.ndarray, mask: np.ndarray) -> float:
    """Mean over ``mask`` of the SSIM map (Wang et al. 2004, Gaussian window, sigma 1.5, data range one).

    A volume is measured slice by slice along its last axis, since slices may be thick, and the mean taken over all
    pixels of the mask. Computed by scikit-image.

    Args:
        image, target, mask: ``(H, W)`` or ``(H, W, slices)``.

    Returns:
        NaN where a side is shorter than the window of 11 pixels, and for no mask.
    """
    if min(image.shape[:2]) < SSIM_WINDOW:
        return float("nan")
    pair = [percentile_scaled(part, target).reshape(*image.shape[:2], -1) for part in (image, target)]
    inside = mask.reshape(pair[0].shape)
    kept = np.flatnonzero(inside.any((0, 1)))
    local = [_ssim_map(*(part[..., index] for part in pair))[inside[..., index]] for index in kept]
    return float(np.concatenate(local).mean(dtype=np.float64)) if local else float("nan")


def _ssim_map(image: np.ndarray, target: np.ndarray) -> np.ndarray:
    """SSIM at each pixel of (H, W)."""
    _, local = structural_similarity(
        image, target, data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True
    )
    return local


def foreground_psnr(image: np.ndarray, target: np.ndarray, mask: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB over ``mask`` of (*spatial) arrays; 100 dB for equal images, NaN for no mask."""
    if not mask.any():
        return float("nan")
    difference = percentile_scaled(image, target)[mask] - percentile_scaled(target, target)[mask]
    return float(-10 * np.log10(max(np.square(difference, dtype=np.float64).mean(), 1e-10)))


def foreground_nmse(image: np.ndarray, target: np.ndarray, mask: np.ndarray) -> float:
    """Squared error over ``mask`` relative to the target's energy there, as in fastMRI.

    0 for equal images, NaN for no mask.
    """
    if not mask.any():
        return float("nan")
    image, target = (percentile_scaled(part, target)[mask].astype(np.float64) for part in (image, target))
    return float(np.square(image - target).sum() / np.square(target).sum())


def foreground_vif(image: np.ndarray, target: np.ndarray, mask: np.ndarray) -> float:
    """Visual information fidelity in the pixel domain (Sheikh and Bovik 2006, doi:10.1109/TIP.2005.859378).

    1 for equal images, less for lost information, more for raised contrast. Both images are zero outside ``mask``, so
    that air adds nothing. A volume is measured slice by slice along its last axis, and the mean taken over the slices
    that have foreground. Computed by torchmetrics.

    Args:
        image, target, mask: ``(H, W)`` or ``(H, W, slices)``.

    Returns:
        NaN where a side is shorter than 41 pixels, for which the measure is not defined, and for no mask.
    """
    # torchmetrics takes two seconds to import, and only an evaluation needs it.
    from torchmetrics.functional.image import visual_information_fidelity

    if min(image.shape[:2]) < VIF_WINDOW or not mask.any():
        return float("nan")
    pair = [np.where(mask, 255 * percentile_scaled(part, target), 0) for part in (image, target)]
    slices = [np.moveaxis(part.reshape(*part.shape[:2], -1), 2, 0) for part in (*pair, mask)]
    kept = slices[2].any((1, 2))
    images, targets = (
        torch.from_numpy(np.ascontiguousarray(part[kept], np.float32)).unsqueeze(1) for part in slices[:2]
    )
    return float(visual_information_fidelity(images, targets, sigma_n_sq=VIF_NOISE))
