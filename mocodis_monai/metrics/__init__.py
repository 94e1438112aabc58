"""Image quality inside the foreground: plain functions on arrays, and the same as MONAI metrics.

Each image is scaled by the 1st and 99.9th percentile of the *target*, so that a corrector cannot gain by changing the
scale, and measured inside the target's foreground mask with a data range of one. A metric without a reference takes
percentiles and mask from the image itself.

May hold: measures of one image or one pair, and their MONAI classes. No statistics over cases (``evaluation``).
"""

from .monai_metrics import ForegroundAES, ForegroundNMSE, ForegroundPSNR, ForegroundSSIM, ForegroundVIF
from .no_reference import average_edge_strength
from .reference import foreground_nmse, foreground_psnr, foreground_ssim, foreground_vif, percentile_scaled

__all__ = [
    "ForegroundAES",
    "ForegroundNMSE",
    "ForegroundPSNR",
    "ForegroundSSIM",
    "ForegroundVIF",
    "average_edge_strength",
    "foreground_nmse",
    "foreground_psnr",
    "foreground_ssim",
    "foreground_vif",
    "percentile_scaled",
]
