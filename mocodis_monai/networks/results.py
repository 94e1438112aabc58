"""What the corrector and its stages give back."""

from __future__ import annotations

from typing import NamedTuple

import torch

from mocodis_monai.networks.fidelity_branch import CoarseFeatures, FineFeatures
from mocodis_monai.networks.hierarchical_vqvae import ContentCodes, Embeddings, MotionCodes
from mocodis_monai.networks.prior import LevelIndices, LevelLogProbs


class Correction(NamedTuple):
    """Result of :meth:`MotionCorrector.correct`; images are (B, 1, *spatial) in the units of the input.

    Attributes:
        corrected: the corrected image.
        uncertainty: distance of the result from what the codes draw and from the input, added up, around each place. It
            ranks places by their error, without being a standard deviation.
        motion_score_mm: (B,), estimated displacement score.
        artifact_map: negative log-likelihood (nats) of the image's own codes under the posterior over clean codes.
        gate: (B,), 0 where the image was left alone, 1 where it was corrected in full.
    """

    corrected: torch.Tensor
    uncertainty: torch.Tensor
    motion_score_mm: torch.Tensor
    artifact_map: torch.Tensor
    gate: torch.Tensor


class Posterior(NamedTuple):
    """What is believed of the clean codes of an image, and where it came from.

    Attributes:
        image: the padded one, (B, 1, *spatial).
        coarse, fine: features of the fidelity branch.
        log_probs: log-probabilities of the clean codes, (B, codes, *1/8) and (B, codes, *1/4), float32.
        content: their posterior-mean embeddings, (B, C, *1/8) and (B, C, *1/4), float32.
        score_px: motion score in pixels, (B,).
    """

    image: torch.Tensor
    coarse: CoarseFeatures
    fine: FineFeatures
    log_probs: LevelLogProbs
    content: Embeddings
    score_px: torch.Tensor


class Candidates(NamedTuple):
    """The two images that a posterior gives, from which the corrected one is mixed.

    Attributes:
        refined: the image plus the whole residual, padded, (B, 1, *spatial) float32.
        codes_only: what the posterior mean of the codes draws, likewise.
    """

    refined: torch.Tensor
    codes_only: torch.Tensor


class Reconstruction(NamedTuple):
    """What the codes draw: images (B, 1, *spatial), the codes themselves, and the motion score (B,) in pixels.

    ``swapped`` (B,) bool: where ``moved`` was drawn with the motion codes of the twin.
    """

    clean: torch.Tensor
    moved: torch.Tensor
    swapped: torch.Tensor
    content: ContentCodes
    motion: MotionCodes
    score_px: torch.Tensor


class Refinement(NamedTuple):
    """What the fidelity branch makes of a moved image, and the codes that it read beside the true ones.

    Attributes:
        refined: image plus the whole residual, (B, 1, *spatial).
        codes_only: what the posterior mean of the codes draws, (B, 1, *spatial).
        log_probs: log-probabilities of the clean codes, (B, codes, *grid) on both levels.
        indices: the true ones, (B, *grid) on both levels.
        content: posterior-mean embeddings, (B, C, *grid) on both levels.
        true_content: embeddings of the true codes, likewise.
        score_px: motion score, (B,).
    """

    refined: torch.Tensor
    codes_only: torch.Tensor
    log_probs: LevelLogProbs
    indices: LevelIndices
    content: Embeddings
    true_content: Embeddings
    score_px: torch.Tensor


class Reading(NamedTuple):
    """What the prior learns from.

    Attributes:
        indices: true clean codes, (B, *1/8) and (B, *1/4), int64.
        evidence: log-probabilities of the codes read off the moved image, (B, codes, *1/8) and (B, codes, *1/4).
        condition: global motion condition, (B, K).
        score_px: motion score in pixels, (B,).
    """

    indices: LevelIndices
    evidence: LevelLogProbs
    condition: torch.Tensor
    score_px: torch.Tensor


class Drawing(NamedTuple):
    """An image (B, 1, *spatial) drawn from its content codes alone, and the codes."""

    image: torch.Tensor
    content: ContentCodes


def twins_of(values: torch.Tensor) -> torch.Tensor:
    """For each image of a batch (2B, ...) what belongs to the image that went through the same trajectory."""
    return values.unflatten(0, (-1, 2)).flip(1).flatten(0, 1)


def indices_of(content: ContentCodes) -> LevelIndices:
    """Code indices of both levels, of the fine one those of its first stage."""
    return LevelIndices(content.coarse.indices, content.fine.indices)
