"""Training losses of the corrector and of the prior; every weight is an argument."""

from __future__ import annotations

from typing import NamedTuple

import torch
from monai.losses import SSIMLoss
from torch import nn
from torch.nn import functional as F

from mocodis_monai.networks import LevelIndices, LevelLogits
from mocodis_monai.networks.motion_corrector import Reconstruction, Refinement


def score_loss(score_px: torch.Tensor, displacement_px: torch.Tensor) -> torch.Tensor:
    """Huber distance of log(1 + displacement score in pixels), both (B,): errors count relative to the motion."""
    return F.smooth_l1_loss(score_px.log1p(), displacement_px.log1p(), beta=0.1)


class CodesTerms(NamedTuple):
    """The weighted sum and its unweighted parts, all scalars."""

    total: torch.Tensor
    clean_decoded: torch.Tensor
    moved_decoded: torch.Tensor
    commitment: torch.Tensor
    score: torch.Tensor


class CodesLoss(nn.Module):
    r"""First stage: loss of the hierarchical VQ-VAE.

    .. math:: |D(c, 0) - x| + |D(c, m) - y| + w_c L_{commit} + w_t L_{score}

    with clean image x, moved image y, content codes c of x, motion codes m of y and the decoder D: the VQ-VAE loss
    (arXiv 1711.00937, equation 3, codebooks by moving averages) once without and once with motion. The score loss is
    the Huber distance of log(1 + displacement score in pixels).

    Args:
        commitment_cost: w_c.
        score_weight: w_t.
    """

    def __init__(self, commitment_cost: float = 0.25, score_weight: float = 0.1) -> None:
        super().__init__()
        self.commitment_cost, self.score_weight = commitment_cost, score_weight

    def forward(
        self, output: Reconstruction, moved: torch.Tensor, clean: torch.Tensor, displacement_px: torch.Tensor
    ) -> CodesTerms:
        """Terms for ``moved`` and ``clean``, (B, 1, *spatial), with the true score (B,) in pixels."""
        clean_decoded = F.l1_loss(output.clean.float(), clean)
        moved_decoded = F.l1_loss(output.moved.float(), moved)
        commitment = torch.stack([level.commitment_loss for level in (*output.content, *output.motion)]).sum()
        score = score_loss(output.score_px, displacement_px)
        total = clean_decoded + moved_decoded + self.commitment_cost * commitment + self.score_weight * score
        return CodesTerms(total, clean_decoded, moved_decoded, commitment, score)


class CorrectionTerms(NamedTuple):
    """The weighted sum and its unweighted parts, all scalars."""

    total: torch.Tensor
    refined: torch.Tensor
    ssim: torch.Tensor
    codes_only: torch.Tensor
    consistency: torch.Tensor
    score: torch.Tensor


class CorrectionLoss(nn.Module):
    r"""Second stage: loss of the fidelity branch.

    .. math:: |r - x| + w_s (1 - SSIM(r, x)) + w_o |o - x| + w_k CE(c | y) + w_t L_{score}

    with clean image x, refined image r, codes-only image o, and the cross-entropy CE of the clean codes c read off
    the moved image y. The motion codes are frozen by now; their score head goes on learning.

    Args:
        ssim_weight: w_s.
        codes_only_weight: w_o.
        consistency_weight: w_k.
        score_weight: w_t.
        spatial_dims: 2 or 3.
    """

    def __init__(
        self,
        ssim_weight: float = 0.0,
        codes_only_weight: float = 0.01,
        consistency_weight: float = 0.0002,
        score_weight: float = 0.1,
        spatial_dims: int = 2,
    ) -> None:
        super().__init__()
        self.ssim_weight, self.codes_only_weight = ssim_weight, codes_only_weight
        self.consistency_weight, self.score_weight = consistency_weight, score_weight
        self.ssim = SSIMLoss(spatial_dims=spatial_dims, win_size=7)

    def forward(
        self, output: Refinement, clean: torch.Tensor, displacement_px: torch.Tensor
    ) -> CorrectionTerms:
        """Terms for the clean image (B, 1, *spatial) and the true score (B,) in pixels."""
        refined = F.l1_loss(output.refined, clean)
        ssim = self.ssim(output.refined, clean)
        codes_only = F.l1_loss(output.codes_only, clean)
        nats = [F.cross_entropy(seen, true) for seen, true in zip(output.logits, output.indices, strict=True)]
        consistency = torch.stack(nats).sum()
        score = score_loss(output.score_px, displacement_px)
        total = (
            refined
            + self.ssim_weight * ssim
            + self.codes_only_weight * codes_only
            + self.consistency_weight * consistency
            + self.score_weight * score
        )
        return CorrectionTerms(total, refined, ssim, codes_only, consistency, score)


class PriorTerms(NamedTuple):
    """Nats per token: the mean over both levels, and each level."""

    total: torch.Tensor
    coarse: torch.Tensor
    fine: torch.Tensor


def prior_nats(logits: LevelLogits, indices: LevelIndices) -> PriorTerms:
    """Cross-entropy of the clean codes in nats per token; each token counts once, whatever its level."""
    coarse = F.cross_entropy(logits.coarse.float(), indices.coarse)
    fine = F.cross_entropy(logits.fine.float(), indices.fine)
    num_coarse, num_fine = indices.coarse.numel(), indices.fine.numel()
    return PriorTerms((num_coarse * coarse + num_fine * fine) / (num_coarse + num_fine), coarse, fine)
