"""Training losses of the corrector and of the prior; every weight is an argument."""

from __future__ import annotations

from typing import NamedTuple

import torch
from monai.losses import SSIMLoss
from monai.metrics.regression import compute_ssim_and_cs
from torch import nn
from torch.nn import functional as F

from mocodis_monai.data.intensity import MASK_THRESHOLD
from mocodis_monai.distributed import mean_over_processes
from mocodis_monai.networks import LevelIndices, LevelLogits
from mocodis_monai.networks.results import Reconstruction, Refinement, twins_of

SSIM_WINDOW = 7
CLOSING = 9
"""Pixels of the gaps in the foreground that are closed."""


def score_loss(score_px: torch.Tensor, displacement_px: torch.Tensor) -> torch.Tensor:
    """Smooth L1 distance of log(1 + displacement score in pixels), both (B,): errors count relative to the motion."""
    return F.smooth_l1_loss(score_px.log1p(), displacement_px.log1p(), beta=0.1)


def structural_loss(image: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
    """One minus the mean SSIM (Wang et al. 2004, 7-pixel windows, data range one) of (B, 1, *spatial) pairs."""
    with torch.autocast(image.device.type, enabled=False):
        return SSIMLoss(image.ndim - 2, win_size=SSIM_WINDOW, kernel_type="uniform")(image, clean)


def foreground_structural_loss(image: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
    """The same inside the foreground of ``clean`` alone, the mean over the images of the batch.

    The air around a head is half of an image, and a faint ghost in it has more structure than all else. The foreground
    has the threshold of the metrics (:func:`mocodis_monai.data.intensity.foreground_mask`); its gaps are closed by
    pooling, which stays on the device.
    """
    size = (SSIM_WINDOW,) * (image.ndim - 2)
    with torch.autocast(image.device.type, enabled=False):
        local, _ = compute_ssim_and_cs(
            image, clean, image.ndim - 2, kernel_size=size, kernel_sigma=size, data_range=1.0, kernel_type="uniform"
        )
        inside = _inside(clean).flatten(1)
        means = (local.flatten(1) * inside).sum(1) / inside.sum(1).clamp(min=1)
    return (1 - means).mean()


def _inside(clean: torch.Tensor) -> torch.Tensor:
    """One in the foreground of (B, 1, *spatial) images, without the border that has no whole window, else zero."""
    pool = F.max_pool2d if clean.ndim == 4 else F.max_pool3d
    wide = pool((clean > MASK_THRESHOLD).to(clean.dtype), CLOSING, 1, CLOSING // 2)
    closed = -pool(-wide, CLOSING, 1, CLOSING // 2)
    border = SSIM_WINDOW // 2
    return F.pad(closed, [-border] * (2 * (clean.ndim - 2)))


STRUCTURE = {"image": structural_loss, "foreground": foreground_structural_loss}


class CodesTerms(NamedTuple):
    """The weighted sum and its unweighted parts, all scalars."""

    total: torch.Tensor
    clean_decoded: torch.Tensor
    structure: torch.Tensor
    moved_decoded: torch.Tensor
    swapped_decoded: torch.Tensor
    commitment: torch.Tensor
    twins: torch.Tensor
    score: torch.Tensor


class CodesLoss(nn.Module):
    r"""First stage: loss of the hierarchical VQ-VAE.

    .. math::
        |D(c, 0) - x| + w_s (1 - SSIM(D(c, 0), x)) + |D(c, m) - y|
        + w_c L_{commit} + w_m |m - m'|^2 + w_t L_{score}

    with clean image x, moved image y, content codes c of x, motion codes m of y and the decoder D: the VQ-VAE loss
    (arXiv 1711.00937, equation 3, codebooks by moving averages) once without and once with motion. Half of the moved
    images are drawn with the motion codes m' of their twin, another anatomy that went through the same trajectory,
    and the codes of twins are drawn together. The score loss is the smooth L1 distance of log(1 + displacement in
    pixels).

    Args:
        commitment_cost: w_c.
        structure_weight: w_s.
        twin_weight: w_m.
        score_weight: w_t.
    """

    def __init__(
        self,
        commitment_cost: float = 0.25,
        structure_weight: float = 0.1,
        twin_weight: float = 0.005,
        score_weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.commitment_cost, self.structure_weight = commitment_cost, structure_weight
        self.twin_weight, self.score_weight = twin_weight, score_weight

    def forward(
        self, output: Reconstruction, moved: torch.Tensor, clean: torch.Tensor, displacement_px: torch.Tensor
    ) -> CodesTerms:
        """Terms for twins ``moved`` and ``clean``, (2B, 1, *spatial), with the true score (2B,) in pixels."""
        clean_decoded = F.l1_loss(output.clean.float(), clean)
        structure = structural_loss(output.clean.float(), clean)
        errors = _error_per_image(output.moved.float(), moved)
        own, swapped = errors[~output.swapped].mean(), errors[output.swapped].mean()
        books = (output.content.coarse, output.content.fine, *output.motion)
        commitment = torch.stack([level.commitment_loss for level in books]).sum()
        apart = [F.mse_loss(level.embedding, twins_of(level.embedding).detach()) for level in output.motion]
        twins = torch.stack(apart).sum()
        score = score_loss(output.score_px, displacement_px)
        total = (
            clean_decoded
            + self.structure_weight * structure
            + errors.mean()
            + self.commitment_cost * commitment
            + self.twin_weight * twins
            + self.score_weight * score
        )
        return CodesTerms(total, clean_decoded, structure, own, swapped, commitment, twins, score)


class CorrectionTerms(NamedTuple):
    """The weighted sum and its unweighted parts, all scalars."""

    total: torch.Tensor
    refined: torch.Tensor
    structure: torch.Tensor
    codes_only: torch.Tensor
    consistency: torch.Tensor
    score: torch.Tensor


class CorrectionLoss(nn.Module):
    r"""Second stage: loss of the fidelity branch.

    .. math::
        \frac{1}{B} \sum_i b_i |r_i - x_i| + w_s (1 - SSIM(r, x)) + w_o |o - x|
        + w_k (CE(c | y) + |e - E|^2) + w_t L_{score}

    with clean images x, refined images r, codes-only images o, the cross-entropy CE of the clean codes c read off the
    moved images y, and the distance of their expected embeddings e from the true ones E. The balance
    :math:`b_i \propto 1 / (|y_i - x_i| + \epsilon)`, one on average, counts an error relative to what the motion did:
    without it, severe motion drowns the mildly moved images, and they are made worse. The score loss is that of the
    first stage, of the score that the branch reads.

    Args:
        structure_weight: w_s; the absolute error alone rewards smoothing.
        codes_only_weight: w_o.
        consistency_weight: w_k.
        score_weight: w_t.
        balance_floor: epsilon, in units of the image.
        structure_in: where the structural similarity is taken, "image" or "foreground".

    Raises:
        ValueError: ``structure_in`` is neither.
    """

    def __init__(
        self,
        structure_weight: float = 0.2,
        codes_only_weight: float = 0.02,
        consistency_weight: float = 0.0002,
        score_weight: float = 0.1,
        balance_floor: float = 0.02,
        structure_in: str = "image",
    ) -> None:
        super().__init__()
        if structure_in not in STRUCTURE:
            raise ValueError(f"structure_in: got {structure_in!r}; allowed are {', '.join(STRUCTURE)}. Give one.")
        self.structural_loss = STRUCTURE[structure_in]
        self.structure_weight = structure_weight
        self.codes_only_weight, self.consistency_weight = codes_only_weight, consistency_weight
        self.score_weight, self.balance_floor = score_weight, balance_floor

    def forward(
        self, output: Refinement, moved: torch.Tensor, clean: torch.Tensor, displacement_px: torch.Tensor
    ) -> CorrectionTerms:
        """Terms for ``moved`` and ``clean``, (B, 1, *spatial), with the true score (B,) in pixels."""
        refined = balanced_error(output.refined, moved, clean, self.balance_floor)
        codes_only = F.l1_loss(output.codes_only, clean)
        nats = [F.cross_entropy(seen, true) for seen, true in zip(output.log_probs, output.indices, strict=True)]
        apart = [F.mse_loss(seen.float(), true) for seen, true in zip(output.content, output.true_content, strict=True)]
        consistency = torch.stack(nats + apart).sum()
        structure = self.structural_loss(output.refined, clean)
        score = score_loss(output.score_px, displacement_px)
        total = (
            refined
            + self.structure_weight * structure
            + self.codes_only_weight * codes_only
            + self.consistency_weight * consistency
            + self.score_weight * score
        )
        return CorrectionTerms(total, refined, structure, codes_only, consistency, score)


def balanced_error(
    image: torch.Tensor, moved: torch.Tensor, clean: torch.Tensor, floor: float
) -> torch.Tensor:
    r"""Mean absolute error of (B, 1, *spatial) images, each weighted by :math:`1 / (|y_i - x_i| + \epsilon)`, a scalar.

    Args:
        image: what is judged.
        moved, clean: y and x.
        floor: :math:`\epsilon`. The weights are one on average, over all processes.
    """
    balance = 1 / (_error_per_image(moved, clean) + floor)
    return (balance / mean_over_processes(balance.mean()) * _error_per_image(image, clean)).mean()


def _error_per_image(image: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
    """Mean absolute difference of (B, 1, *spatial) pairs, (B,)."""
    return (image - clean).abs().flatten(1).mean(1)


class PriorTerms(NamedTuple):
    """Nats per token: the mean over both levels, and each level."""

    total: torch.Tensor
    coarse: torch.Tensor
    fine: torch.Tensor


def prior_nats(logits: LevelLogits, indices: LevelIndices) -> PriorTerms:
    """Cross-entropy of the clean codes in nats per token; each token counts once, whatever its level.

    Args:
        logits: (B, codes, *coarse) and (B, codes, *fine).
        indices: (B, *coarse) and (B, *fine).
    """
    coarse = F.cross_entropy(logits.coarse.float(), indices.coarse)
    fine = F.cross_entropy(logits.fine.float(), indices.fine)
    num_coarse, num_fine = indices.coarse.numel(), indices.fine.numel()
    return PriorTerms((num_coarse * coarse + num_fine * fine) / (num_coarse + num_fine), coarse, fine)
