"""The gate that leaves an image alone where nothing moved, and the caution where something did."""

import torch

GATE_PX = (0.3, 0.7)
"""Below the first motion score the image is left alone, above the second it is corrected in full.

Chosen on validation phantoms, where images without motion were scored up to .34."""

RESIDUAL_SHARE = (0.5, 0.65)
"""Share of the residual that is added to an image whose motion score is below, and above, :data:`SHARE_PX`.

More gains more on average, but on images unlike those of the training it overshoots, most where little moved. Chosen on
validation images (benchmarks/residual_share.py), so that no real head among them, moved or still, loses more than .01
of SSIM."""

SHARE_PX = (1.0, 2.0)
"""Motion scores between which the share grows."""


def no_harm_gate(score_px: torch.Tensor) -> torch.Tensor:
    """Share of the correction to apply, (B,): 0 where the motion score says that nothing moved."""
    low, high = GATE_PX
    return ((score_px - low) / (high - low)).clamp(0, 1)


def residual_share(score_px: torch.Tensor) -> torch.Tensor:
    """Share of the residual to add, (B,): the more moved, the more is to be gained and the less can be spoilt."""
    low, high = SHARE_PX
    least, most = RESIDUAL_SHARE
    return least + (most - least) * ((score_px - low) / (high - low)).clamp(0, 1)
