"""The branch that reads the clean codes off the moved image and refines what the codes draw.

Codes alone lose detail: their own decoding of a *clean* image can be worse than a mildly moved input. So this
encoder-decoder with skips (after Ronneberger, Fischer & Brox 2015, arXiv 1505.04597) predicts the clean codes on both
levels, takes their posterior-mean embeddings back in, sees the image that they decode to, and adds what
is missing: output = input + residual. What it sees of the artifact on the way also gives the motion score.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from mocodis_monai.networks.blocks import (
    AxialAttention,
    Modulation,
    NormalisedBlock,
    convolution,
    fold,
    moments,
    start_at_zero,
    unfold,
)

SCORE_WIDTH = 64
"""Hidden features of the head that reads the motion score."""


class CoarseFeatures(NamedTuple):
    """Encoder features at 1/1, 1/2 and 1/4, the bottleneck at 1/8, and the coarse code logits (B, codes, *1/8)."""

    full: torch.Tensor
    half: torch.Tensor
    quarter: torch.Tensor
    eighth: torch.Tensor
    logits: torch.Tensor


class FineFeatures(NamedTuple):
    """Decoder features at 1/4 given the coarse codes, the fine code logits (B, codes, *1/4), and the detail.

    The detail (B, C, *1/4) is the expected sum of the later stages of the fine codes: a mean needs no logits.
    """

    quarter: torch.Tensor
    logits: torch.Tensor
    detail: torch.Tensor


class FidelityBranch(nn.Module):
    """Encoder-decoder with skips that predicts clean codes and refines the image that they decode to.

    Args:
        spatial_dims: 2 or 3.
        channels: features at 1/1, 1/2, 1/4 and 1/8 of the resolution.
        num_embeddings: content codes, coarse and fine.
        embedding_dim: channels of a content code.
        condition_channels: channels of the motion condition on the 1/8 grid.
    """

    def __init__(
        self,
        spatial_dims: int,
        channels: tuple[int, int, int, int],
        num_embeddings: tuple[int, int],
        embedding_dim: int,
        condition_channels: int,
    ) -> None:
        super().__init__()
        full, half, quarter, eighth = channels
        self.to_full = nn.Sequential(convolution(spatial_dims, 1, full), NormalisedBlock(spatial_dims, full))
        self.to_half = nn.Sequential(fold(spatial_dims, full, half), *_two_blocks(spatial_dims, half))
        self.to_quarter = nn.Sequential(fold(spatial_dims, half, quarter), *_two_blocks(spatial_dims, quarter))
        self.to_eighth = fold(spatial_dims, quarter, eighth)
        self.motion = Modulation(spatial_dims, condition_channels, eighth)
        self.bottleneck = nn.Sequential(
            NormalisedBlock(spatial_dims, eighth),
            AxialAttention(spatial_dims, eighth),
            *_two_blocks(spatial_dims, eighth),
        )
        self.coarse_logits = convolution(spatial_dims, eighth, num_embeddings[0], kernel_size=1)
        self.coarse_in = convolution(spatial_dims, embedding_dim, eighth, kernel_size=1)

        self.up_quarter = unfold(spatial_dims, eighth, quarter)
        self.merge_quarter = convolution(spatial_dims, 2 * quarter, quarter, kernel_size=1)
        self.quarter_body = nn.Sequential(*_two_blocks(spatial_dims, quarter))
        self.fine_logits = convolution(spatial_dims, quarter, num_embeddings[1], kernel_size=1)
        self.detail = convolution(spatial_dims, quarter, embedding_dim, kernel_size=1)
        self.fine_in = convolution(spatial_dims, embedding_dim, quarter, kernel_size=1)
        pooled = 2 * (eighth + quarter)
        self.score_head = nn.Sequential(
            nn.LayerNorm(pooled), nn.Linear(pooled, SCORE_WIDTH), nn.ReLU(), nn.Linear(SCORE_WIDTH, 1)
        )

        self.up_half = unfold(spatial_dims, quarter, half)
        self.merge_half = convolution(spatial_dims, 2 * half, half, kernel_size=1)
        self.half_body = nn.Sequential(*_two_blocks(spatial_dims, half))
        self.up_full = unfold(spatial_dims, half, full)
        self.drawn_in = convolution(spatial_dims, 1, full)
        self.merge_full = convolution(spatial_dims, 2 * full, full, kernel_size=1)
        self.full_body = NormalisedBlock(spatial_dims, full)
        self.to_residual = convolution(spatial_dims, full, 1)
        # No residual at the start, and no say for the codes: until they mean something they are only noise.
        for layer in (self.to_residual, self.detail, self.coarse_in, self.fine_in, self.drawn_in):
            start_at_zero(layer)

    def read_coarse(self, image: torch.Tensor, condition: torch.Tensor) -> CoarseFeatures:
        """Image (B, 1, *spatial) and motion condition (B, K, *1/8) -> what it says of the coarse codes."""
        full = self.to_full(image)
        half = self.to_half(full)
        quarter = self.to_quarter(half)
        eighth = self.bottleneck(self.motion(self.to_eighth(quarter), condition))
        return CoarseFeatures(full, half, quarter, eighth, self.coarse_logits(F.relu(eighth)))

    def read_fine(self, coarse: CoarseFeatures, coarse_embedding: torch.Tensor) -> FineFeatures:
        """Coarse features and the coarse embedding (B, C, *1/8) -> what the image says of the fine codes."""
        up = self.up_quarter(coarse.eighth + self.coarse_in(coarse_embedding))
        quarter = self.quarter_body(self.merge_quarter(torch.cat([up, coarse.quarter], dim=1)))
        active = F.relu(quarter)
        return FineFeatures(quarter, self.fine_logits(active), self.detail(active))

    def motion_score_px(self, coarse: CoarseFeatures, fine: FineFeatures) -> torch.Tensor:
        """Displacement score in pixels, (B,), never negative, from mean and spread of the features over the image."""
        pooled = torch.cat([moments(coarse.eighth), moments(fine.quarter)], dim=1)
        return F.softplus(self.score_head(pooled).squeeze(1).float())

    def refine(
        self, image: torch.Tensor, coarse: CoarseFeatures, fine: FineFeatures, fine_embedding: torch.Tensor,
        codes_only: torch.Tensor,
    ) -> torch.Tensor:
        """The refined image (B, 1, *spatial): ``image`` plus a residual.

        Args:
            image: (B, 1, *spatial), the moved one.
            coarse, fine: features that it was read into.
            fine_embedding: (B, C, *1/4), posterior mean.
            codes_only: (B, 1, *spatial), what the codes draw.
        """
        up = self.up_half(fine.quarter + self.fine_in(fine_embedding))
        half = self.half_body(self.merge_half(torch.cat([up, coarse.half], dim=1)))
        beside = coarse.full + self.drawn_in(codes_only)
        full = self.full_body(self.merge_full(torch.cat([self.up_full(half), beside], dim=1)))
        return image + self.to_residual(F.leaky_relu(full, NormalisedBlock.slope))


def _two_blocks(spatial_dims: int, channels: int) -> list[nn.Module]:
    return [NormalisedBlock(spatial_dims, channels) for _ in range(2)]
