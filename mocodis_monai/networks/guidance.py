"""Guiding the codes of a whole token grid with the prior: overlapping windows, a few parallel passes.

Sampling hundreds of codes one by one is never needed: all codes of all windows are predicted at once from the
previous answer, and the answer is fed back (Jacobi iteration, Song et al. 2021, arXiv 2002.03629).
"""

from __future__ import annotations

import itertools

import torch

from mocodis_monai.networks.prior import FINE_PER_COARSE, ContentPrior, LevelIndices, LevelLogits

NUM_PASSES = 3
"""Parallel passes; the answer hardly changes after three."""
OVERLAP = 2
"""Coarse sites that neighbouring windows share."""

Corner = tuple[int, ...]


def window_corners(grid: tuple[int, ...], window: int) -> list[Corner]:
    """First coarse site of each window, so that overlapping windows cover ``grid``.

    Raises:
        ValueError: an axis of the grid is shorter than the window.
    """
    if min(grid) < window:
        raise ValueError(f"grid: got {tuple(grid)}; each axis needs at least {window} coarse sites. Pad the image.")
    starts = [[*range(0, size - window, window - OVERLAP), size - window] for size in grid]
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


@torch.no_grad()
def guide(
    prior: ContentPrior, evidence: LevelLogits, condition: torch.Tensor, strength: torch.Tensor
) -> LevelLogits:
    """Log-probabilities of the clean codes given evidence and prior.

    Args:
        prior: the transformer.
        evidence: code logits of the whole token grid, (B, codes, *coarse) and (B, codes, *fine).
        condition: global motion condition, (B, K).
        strength: (B,), 0 leaves the evidence alone, 1 takes the prior's answer.
    """
    window = prior.coarse_window
    corners = window_corners(tuple(evidence.coarse.shape[2:]), window)
    local = LevelLogits(
        cut(evidence.coarse.log_softmax(1), corners, window),
        cut(evidence.fine.log_softmax(1), corners, window, FINE_PER_COARSE),
    )
    condition = condition.repeat(len(corners), 1)
    weight = strength.repeat(len(corners)).reshape(-1, 1, *(1,) * prior.spatial_dims)
    answer = local
    for _ in range(NUM_PASSES):
        indices = LevelIndices(answer.coarse.argmax(1), answer.fine.argmax(1))
        logits = prior(indices, local, condition)
        blended = (torch.lerp(seen, said.float(), weight) for seen, said in zip(local, logits, strict=True))
        answer = LevelLogits(*blended)
    return LevelLogits(
        join(answer.coarse, corners, window, evidence.coarse.float()).log_softmax(1),
        join(answer.fine, corners, window, evidence.fine.float(), FINE_PER_COARSE).log_softmax(1),
    )


def _place(corner: Corner, window: int, factor: int) -> tuple[slice, ...]:
    """Index of a window in (B, C, *grid)."""
    return (slice(None), slice(None), *(slice(factor * start, factor * (start + window)) for start in corner))
