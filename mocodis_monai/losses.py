"""Training losses of the corrector and of the prior; every weight is an argument."""

from __future__ import annotations

from typing import NamedTuple

import torch
from monai.losses import SSIMLoss
from torch import nn
from torch.nn import functional as F

from mocodis_monai.networks import LevelIndices, LevelLogits
from mocodis_monai.networks.motion_corrector import TrainingOutput


class CorrectionTerms(NamedTuple):
    """The weighted sum and its unweighted parts, all scalars."""

    total: torch.Tensor
    refined: torch.Tensor
    ssim: torch.Tensor
    codes_only: torch.Tensor
    clean_decoded: torch.Tensor
    moved_decoded: torch.Tensor
    commitment: torch.Tensor
    consistency: torch.Tensor
    score: torch.Tensor


class CorrectionLoss(nn.Module):
    r"""Loss of the hierarchical VQ-VAE and the fidelity branch.

    .. math:: w_r |r - x| + w_s (1 - SSIM(r, x)) + w_o |o - x| + w_d (|D(c, 0) - x| + |D(c, m) - y|)
              + w_c L_{commit} + w_k CE(c | y) + w_t L_{score}

    with clean image x, moved image y, refined image r, codes-only image o, content codes c of x, motion codes m of y
    and the decoder D. The reconstruction and commitment terms are those of the VQ-VAE (arXiv 1711.00937, equation 3,
    with the codebooks learned by moving averages); CE is the cross-entropy of the clean codes read off the moved
    image; the score loss is the Huber distance of log(1 + displacement score in pixels).

    Args:
        refined_weight: w_r.
        ssim_weight: w_s.
        codes_only_weight: w_o.
        decode_weight: w_d.
        commitment_cost: w_c.
        consistency_weight: w_k.
        score_weight: w_t.
    """

    def __init__(
        self,
        refined_weight: float = 2.0,
        ssim_weight: float = 0.2,
        codes_only_weight: float = 0.25,
        decode_weight: float = 1.0,
        commitment_cost: float = 0.25,
        consistency_weight: float = 0.005,
        score_weight: float = 0.1,
    ) -> None:
        super().__init__()
        self.refined_weight, self.ssim_weight = refined_weight, ssim_weight
        self.codes_only_weight, self.decode_weight = codes_only_weight, decode_weight
        self.commitment_cost, self.consistency_weight = commitment_cost, consistency_weight
        self.score_weight = score_weight
        self.ssim = SSIMLoss(spatial_dims=2, win_size=7)

    def forward(
        self, output: TrainingOutput, moved: torch.Tensor, clean: torch.Tensor, displacement_px: torch.Tensor
    ) -> CorrectionTerms:
        """Terms for a pass over ``moved`` and ``clean``, (B, 1, *spatial), with the true score (B,) in pixels."""
        refined = output.refined.float()
        parts = {
            "refined": F.l1_loss(refined, clean),
            "ssim": self.ssim(refined, clean),
            "codes_only": F.l1_loss(output.codes_only.float(), clean),
            "clean_decoded": F.l1_loss(output.clean_decoded.float(), clean),
            "moved_decoded": F.l1_loss(output.moved_decoded.float(), moved),
            "commitment": sum(level.commitment_loss for level in (*output.content, *output.motion)),
            "consistency": F.cross_entropy(output.logits.coarse, output.content.coarse.indices)
            + F.cross_entropy(output.logits.fine, output.content.fine.indices),
            "score": F.smooth_l1_loss(output.score_px.log1p(), displacement_px.log1p(), beta=0.1),
        }
        total = (
            self.refined_weight * parts["refined"]
            + self.ssim_weight * parts["ssim"]
            + self.codes_only_weight * parts["codes_only"]
            + self.decode_weight * (parts["clean_decoded"] + parts["moved_decoded"])
            + self.commitment_cost * parts["commitment"]
            + self.consistency_weight * parts["consistency"]
            + self.score_weight * parts["score"]
        )
        return CorrectionTerms(total, **parts)


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
