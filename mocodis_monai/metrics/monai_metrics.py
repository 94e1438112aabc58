"""The measures as MONAI metrics: one value per image, the mean over all images as aggregate."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from monai.metrics import CumulativeIterationMetric

from mocodis_monai.data.intensity import foreground_mask
from mocodis_monai.metrics.no_reference import average_edge_strength
from mocodis_monai.metrics.reference import foreground_nmse, foreground_psnr, foreground_ssim, foreground_vif

__all__ = ["ForegroundAES", "ForegroundNMSE", "ForegroundPSNR", "ForegroundSSIM", "ForegroundVIF"]


class _ImageMetric(CumulativeIterationMetric):
    """Base: keeps one value per image."""

    def aggregate(self, reduction: Any = None) -> torch.Tensor:
        """Mean over all images seen since the last reset for which the measure is defined.

        Raises:
            ValueError: another reduction than the mean, or no image came.
        """
        if reduction not in (None, "mean"):
            raise ValueError(f"reduction: got {reduction!r}; allowed is 'mean', or None for the same.")
        values = self.get_buffer()
        if values is None:
            raise ValueError("no image came since the start or the last reset. Measure one first.")
        return values.nanmean()


class _ForegroundMetric(_ImageMetric):
    """Base of the metrics over pairs (B, 1, *spatial): (B, 1) values.

    Of a target without a foreground or a scale, such as a slice with a pixel or two, the value is NaN, and the mean is
    taken over the others. A prediction that is not finite is refused: left out it would flatter the mean. ValueError
    for that, and for other shapes.
    """

    @staticmethod
    def measure(image: np.ndarray, target: np.ndarray, mask: np.ndarray) -> float:
        """The value for one pair of (*spatial) arrays."""
        raise TypeError("use one of the classes of mocodis_monai.metrics")

    def _compute_tensor(self, y_pred: torch.Tensor, y: torch.Tensor | None = None, **kwargs: Any) -> torch.Tensor:
        if y is None or y_pred.shape != y.shape or y_pred.shape[1] != 1:
            got = "no target" if y is None else f"target {tuple(y.shape)}"
            raise ValueError(f"y_pred, y: got {tuple(y_pred.shape)} and {got}; both need one shape, (B, 1, *spatial).")
        _check_finite(y_pred)
        values = [
            self.measure(image[0].numpy(), clean[0].numpy(), foreground_mask(clean)[0].numpy())
            if (clean > 0).any()
            else math.nan
            for image, clean in zip(as_measured(y_pred), as_measured(y), strict=True)
        ]
        return torch.tensor(values).unsqueeze(1)


def _check_finite(images: torch.Tensor) -> None:
    finite = images.isfinite().flatten(1).all(1)
    if not finite.all():
        raise ValueError(f"y_pred: image {int((~finite).nonzero()[0])} holds NaN or infinite values. Mend the method.")


def as_measured(tensor: torch.Tensor) -> torch.Tensor:
    """On the CPU, float32, without gradients and metadata."""
    return tensor.detach().as_subclass(torch.Tensor).float().cpu()


class ForegroundSSIM(_ForegroundMetric):
    """SSIM inside the foreground of (B, 1, *spatial) pairs."""

    measure = staticmethod(foreground_ssim)


class ForegroundPSNR(_ForegroundMetric):
    """PSNR in dB inside the foreground of (B, 1, *spatial) pairs."""

    measure = staticmethod(foreground_psnr)


class ForegroundNMSE(_ForegroundMetric):
    """Normalised mean squared error inside the foreground of (B, 1, *spatial) pairs."""

    measure = staticmethod(foreground_nmse)


class ForegroundVIF(_ForegroundMetric):
    """Visual information fidelity inside the foreground of (B, 1, *spatial) pairs."""

    measure = staticmethod(foreground_vif)


class ForegroundAES(_ImageMetric):
    """Average edge strength of (B, 1, *spatial) images inside their own foreground; a target is not looked at.

    Of an image without a foreground the value is NaN.
    """

    def _compute_tensor(self, y_pred: torch.Tensor, y: torch.Tensor | None = None, **kwargs: Any) -> torch.Tensor:
        if y_pred.shape[1] != 1:
            raise ValueError(f"got images {tuple(y_pred.shape)}; they need the shape (B, 1, *spatial).")
        _check_finite(y_pred)
        values = [
            average_edge_strength(image[0].numpy(), foreground_mask(image)[0].numpy())
            if (image > 0).any()
            else math.nan
            for image in as_measured(y_pred)
        ]
        return torch.tensor(values).unsqueeze(1)
