"""Work on large arrays in blocks that stay in the cache of a CPU, which makes shears of a volume four times faster."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

# A few MiB, with what is made of a block on the way.
_PIXELS_OF_A_BLOCK = 2**18


PIXELS_AT_A_TIME = 2**20
"""Pixels that are moved at a time: small images go through in one batch, volumes pose by pose to spare memory."""


def matters(values: Tensor) -> bool:
    """Whether something moves or a gradient must pass through it."""
    return values.requires_grad or bool(values.any())


def in_blocks(work: Callable[[int, int], Tensor], size: int, pixels_each: int, dim: int, out: Tensor | None) -> Tensor:
    """``work(start, count)`` over the planes of an axis, a few at a time, joined along ``dim``.

    Args:
        work: gives the planes from ``start`` on.
        size: number of planes.
        pixels_each: pixels of a plane.
        dim: where the planes lie in what ``work`` gives.
        out: memory to write into, which may be that read from, or None where a gradient needs every step of its own:
            asking the system for a fresh volume takes as long as transforming it.
    """
    count = max(1, _PIXELS_OF_A_BLOCK // pixels_each)
    blocks = (work(start, min(count, size - start)) for start in range(0, size, count))
    if out is None:
        return torch.cat(list(blocks), dim)
    for start, block in zip(range(0, size, count), blocks, strict=True):
        out.narrow(dim, start, block.shape[dim]).copy_(block)
    return out
