"""Training losses of the corrector and of the prior; every weight is an argument."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from mocodis_monai.distributed import mean_over_processes
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
    codes_only: torch.Tensor
    consistency: torch.Tensor
    score: torch.Tensor


class CorrectionLoss(nn.Module):
    r"""Second stage: loss of the fidelity branch.

    .. math:: \sum_i b_i |r_i - x_i| + w_o |o - x| + w_k CE(c | y) + w_t L_{score}

    with clean images x, refined images r, codes-only images o, and the cross-entropy CE of the clean codes c read off
    the moved images y. The balance :math:`b_i \propto 1 / (|y_i - x_i| + \epsilon)`, one on average, counts an error
    relative to what the motion did: without it, severe motion drowns the mildly moved images, and they are made worse.
    The motion codes are frozen by now; their score head goes on learning.

    Args:
        codes_only_weight: w_o.
        consistency_weight: w_k.
        score_weight: w_t.
        balance_floor: epsilon, in units of the image.
    """

    def __init__(
        self,
        codes_only_weight: float = 0.01,
        consistency_weight: float = 0.0002,
        score_weight: float = 0.1,
        balance_floor: float = 0.02,
    ) -> None:
        super().__init__()
        self.codes_only_weight, self.consistency_weight = codes_only_weight, consistency_weight
        self.score_weight, self.balance_floor = score_weight, balance_floor

    def forward(
        self, output: Refinement, moved: torch.Tensor, clean: torch.Tensor, displacement_px: torch.Tensor
    ) -> CorrectionTerms:
        """Terms for ``moved`` and ``clean``, (B, 1, *spatial), with the true score (B,) in pixels."""
        balance = 1 / (_error_per_image(moved, clean) + self.balance_floor)
        refined = (balance / mean_over_processes(balance.mean()) * _error_per_image(output.refined, clean)).mean()
        codes_only = F.l1_loss(output.codes_only, clean)
        nats = [F.cross_entropy(seen, true) for seen, true in zip(output.logits, output.indices, strict=True)]
        consistency = torch.stack(nats).sum()
        score = score_loss(output.score_px, displacement_px)
        total = (
            refined
            + self.codes_only_weight * codes_only
            + self.consistency_weight * consistency
            + self.score_weight * score
        )
        return CorrectionTerms(total, refined, codes_only, consistency, score)


def _error_per_image(image: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
    """Mean absolute difference of (B, 1, *spatial) pairs, (B,)."""
    return (image - clean).abs().flatten(1).mean(1)


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
