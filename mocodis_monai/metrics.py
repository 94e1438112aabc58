"""Image quality inside the foreground, as MONAI metrics.

Both images are scaled by the 1st and 99.9th percentile of the *target*, so that a corrector cannot gain by changing
the scale; SSIM and PSNR are then taken inside the target's foreground mask with a data range of one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from monai.metrics import CumulativeIterationMetric
from skimage.metrics import structural_similarity

from mocodis_monai.data.intensity import foreground_mask


def percentile_scaled(image: np.ndarray, target: np.ndarray) -> np.ndarray:
    """``image`` on the scale on which the target's 1st and 99.9th percentile are 0 and 1."""
    low, high = np.percentile(target, (1, 99.9))
    return ((image - low) / max(high - low, np.finfo(np.float32).tiny)).astype(np.float32)


def foreground_ssim(image: np.ndarray, target: np.ndarray, mask: np.ndarray) -> float:
    """Mean over ``mask`` of the SSIM map (Wang et al. 2004, Gaussian window, sigma 1.5) of (*spatial) arrays."""
    _, local = structural_similarity(
        percentile_scaled(image, target),
        percentile_scaled(target, target),
        data_range=1.0,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )
    return float(local[mask].mean())


def foreground_psnr(image: np.ndarray, target: np.ndarray, mask: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB over ``mask`` of (*spatial) arrays; 100 dB for equal images."""
    difference = percentile_scaled(image, target)[mask] - percentile_scaled(target, target)[mask]
    return float(-10 * np.log10(max(np.square(difference, dtype=np.float64).mean(), 1e-10)))


class _ForegroundMetric(CumulativeIterationMetric):
    """Base of the metrics over pairs: one value per image, the mean as aggregate."""

    @staticmethod
    def measure(image: np.ndarray, target: np.ndarray, mask: np.ndarray) -> float:
        """The value for one pair of (*spatial) arrays."""
        raise TypeError("use ForegroundSSIM or ForegroundPSNR")

    def _compute_tensor(self, y_pred: torch.Tensor, y: torch.Tensor | None = None, **kwargs: Any) -> torch.Tensor:
        if y is None or y_pred.shape != y.shape:
            raise ValueError(f"prediction {tuple(y_pred.shape)} and target must have one shape (B, 1, *spatial).")
        values = [
            self.measure(image[0].numpy(), clean[0].numpy(), foreground_mask(clean)[0].numpy())
            for image, clean in zip(_plain(y_pred), _plain(y), strict=True)
        ]
        return torch.tensor(values).unsqueeze(1)

    def aggregate(self, reduction: Any = None) -> torch.Tensor:
        """Mean over all images seen since the last reset."""
        return self.get_buffer().mean()


def _plain(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().as_subclass(torch.Tensor).float().cpu()


class ForegroundSSIM(_ForegroundMetric):
    """SSIM inside the foreground of (B, 1, *spatial) pairs."""

    measure = staticmethod(foreground_ssim)


class ForegroundPSNR(_ForegroundMetric):
    """PSNR in dB inside the foreground of (B, 1, *spatial) pairs."""

    measure = staticmethod(foreground_psnr)
