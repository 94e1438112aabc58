"""The gate that leaves an image alone where nothing moved, and the caution where something did."""

import torch

GATE_PX = (0.3, 0.7)
"""Below the first motion score the image is left alone, above the second it is corrected in full.

Validation phantoms that lie still score .03 at most, slices of a real head with interpolated pixels .14
(benchmarks/residual_share.py)."""

RESIDUAL_SHARE = 0.65
"""Share of the residual that is added to an image.

More gains a little more on average, but on images unlike those of the training it overshoots: on validation images
(benchmarks/residual_share.py) .8 spoils twice as many by more than .01 of SSIM for a tenth more gain."""


def no_harm_gate(score_px: torch.Tensor) -> torch.Tensor:
    """Share of the correction to apply, (B,): 0 where the motion score says that nothing moved."""
    low, high = GATE_PX
    return ((score_px - low) / (high - low)).clamp(0, 1)
