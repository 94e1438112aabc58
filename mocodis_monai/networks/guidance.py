"""Guiding the codes of a whole token grid with the prior: overlapping windows, a few parallel passes.

Sampling hundreds of codes one by one is never needed: all codes of all windows are predicted at once from the
previous answer, and the answer is fed back (Jacobi iteration, Song et al. 2021, arXiv 2002.03629). What is fed back is
the belief at each site, as the mean of its code embeddings, not its most likely code: that one is mostly wrong, and the
prior, which takes codes for certain, then grows sure of what does not follow.
"""

from __future__ import annotations

import itertools

import numpy as np
import torch
from torch.nn import functional as F

from mocodis_monai.networks.prior import (
    FINE_PER_COARSE,
    ContentPrior,
    LevelIndices,
    LevelLogits,
    LevelLogProbs,
    LevelNats,
)

NUM_PASSES = 2
"""Parallel passes; a third one makes the codes no better."""
PRIOR_SHARE = 0.5
"""Of what the prior would change in the evidence's log-probabilities, at full strength: it is too sure of itself."""
FAMILIAR_NATS = (4.0, 5.0)
"""Below the first negative log-likelihood per token (nats) a window counts as familiar to the prior; above the second,
what the frequencies of the codes alone give, the prior has no say there.
"""

Corner = tuple[int, ...]


def window_corners(grid: tuple[int, ...], window: int) -> list[Corner]:
    """First coarse site of each window: as few as cover ``grid``, spread evenly, so that they overlap where they can.

    Raises:
        ValueError: an axis of the grid is shorter than the window.
    """
    if min(grid) < window:
        raise ValueError(f"grid: got {tuple(grid)}; each axis needs at least {window} coarse sites. Pad the image.")
    starts = [np.linspace(0, size - window, -(-size // window)).round().astype(int).tolist() for size in grid]
    return list(itertools.product(*starts))


def cut(level: torch.Tensor, corners: list[Corner], window: int, factor: int = 1) -> torch.Tensor:
    """Windows of (B, C, *grid) stacked along the batch: (corners * B, C, *window)."""
    return torch.cat([level[_place(corner, window, factor)] for corner in corners])


def join(
    windows: torch.Tensor, corners: list[Corner], window: int, like: torch.Tensor, factor: int = 1
) -> torch.Tensor:
    """Average of overlapping windows (corners * B, C, *window) on the grid of ``like`` (B, C, *grid)."""
    total, count = torch.zeros_like(like), torch.zeros_like(like[:1, :1])
    for corner, values in zip(corners, windows.chunk(len(corners)), strict=True):
        total[_place(corner, window, factor)] += values.to(total.dtype)
        count[_place(corner, window, factor)] += 1
    return total / count


def guide(
    prior: ContentPrior, evidence: LevelLogits, condition: torch.Tensor, strength: torch.Tensor
) -> LevelLogProbs:
    """Log-probabilities of the clean codes given evidence and prior.

    Gradients pass through the last of the passes only.

    Args:
        prior: the transformer.
        evidence: code logits read off the image on the whole token grid, (B, codes, *coarse) and (B, codes, *fine).
        condition: global motion condition, (B, K).
        strength: (B,), 0 leaves the evidence alone, 1 takes :data:`PRIOR_SHARE` of the prior's answer where it knows
            the place.

    Raises:
        ValueError: the token grid is smaller than the prior's window.
    """
    window = prior.coarse_window
    corners = window_corners(tuple(evidence.coarse.shape[2:]), window)
    local = LevelLogProbs(
        cut(evidence.coarse.log_softmax(1), corners, window),
        cut(evidence.fine.log_softmax(1), corners, window, FINE_PER_COARSE),
    )
    taken_in = prior.take_in(local, condition.repeat(len(corners), 1))
    share = PRIOR_SHARE * strength.repeat(len(corners))
    answer: LevelLogits = local
    with torch.no_grad():
        for _ in range(NUM_PASSES - 1):
            answer = _blend(local, prior.predict(prior.embed_belief(answer), taken_in), share)
        share = share * familiarity(prior, _most_likely(answer))
    # Older torch would take the weights that autocast rounded above, without gradients, for those of this pass.
    torch.clear_autocast_cache()
    answer = _blend(local, prior.predict(prior.embed_belief(answer), taken_in), share)
    return LevelLogProbs(
        join(answer.coarse, corners, window, evidence.coarse.float()).log_softmax(1),
        join(answer.fine, corners, window, evidence.fine.float(), FINE_PER_COARSE).log_softmax(1),
    )


def familiarity(prior: ContentPrior, indices: LevelIndices) -> torch.Tensor:
    """How well the prior knows the like of these windows, (B,): 1 familiar, 0 out of its depth.

    From the negative log-likelihood of the codes under the unconditional prior, in nats per token.
    """
    nats = torch.cat([level.flatten(1) for level in unconditional_nats(prior, indices)], dim=1).mean(1)
    familiar, strange = FAMILIAR_NATS
    return ((strange - nats) / (strange - familiar)).clamp(0, 1)


def unconditional_nats(prior: ContentPrior, indices: LevelIndices) -> LevelNats:
    """Negative log-likelihood in nats of each code given the codes before it alone: (B, *window) on both levels."""
    return LevelNats(
        *(
            F.cross_entropy(logits.float(), codes, reduction="none")
            for logits, codes in zip(prior(indices), indices, strict=True)
        )
    )


def _most_likely(logits: LevelLogits) -> LevelIndices:
    return LevelIndices(logits.coarse.argmax(1), logits.fine.argmax(1))


def _blend(evidence: LevelLogProbs, answer: LevelLogits, share: torch.Tensor) -> LevelLogits:
    """From the evidence to the prior's answer, for each window as far as its share (B,) says."""
    weight = share.reshape(-1, 1, *(1,) * (evidence.coarse.ndim - 2))
    return LevelLogits(*(torch.lerp(a, b.float(), weight) for a, b in zip(evidence, answer, strict=True)))


def _place(corner: Corner, window: int, factor: int) -> tuple[slice, ...]:
    """Index of a window in (B, C, *grid)."""
    return (slice(None), slice(None), *(slice(factor * start, factor * (start + window)) for start in corner))
