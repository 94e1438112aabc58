"""Quantization in stages: each codebook codes what the ones before it left over.

Lee, Kim, Kim, Cho & Han 2022, "Autoregressive image generation using residual quantization", arXiv 2203.01941, but for
a codebook of its own in each stage. One codebook of the same rate would need 512 ** stages codes.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from mocodis_monai.networks.vector_quantizer import Quantization, VectorQuantizer


class ResidualQuantization(NamedTuple):
    """What a residual quantizer gives back.

    Attributes:
        embedding: (B, C, *spatial), sum of the codes of all stages; gradients pass straight through to the latents.
        indices: (B, *spatial) int64, code indices of the first stage, the ones that a prior is learned over.
        commitment_loss: scalar, mean squared distance of the latents to the sum of their (fixed) codes.
        stages: what each stage's quantizer gave back; their embeddings carry no gradient.
    """

    embedding: torch.Tensor
    indices: torch.Tensor
    commitment_loss: torch.Tensor
    stages: tuple[Quantization, ...]


class ResidualQuantizer(nn.Module):
    """Quantizers in a row, the first on the latents, each later one on what is left.

    Worked example: latents (2, 16, 8, 8), 512 codes and 4 stages describe each site by 4 times 9 bits.

    Args:
        num_embeddings: number of codes of each stage.
        embedding_dim: channels of the latents and of the codes.
        num_stages: stages, at least 1.
    """

    def __init__(self, num_embeddings: int, embedding_dim: int, num_stages: int) -> None:
        super().__init__()
        self.stages = nn.ModuleList(VectorQuantizer(num_embeddings, embedding_dim) for _ in range(num_stages))

    @property
    def first(self) -> VectorQuantizer:
        """The quantizer of the first stage."""
        stage = self.stages[0]
        assert isinstance(stage, VectorQuantizer)
        return stage

    def forward(self, latents: torch.Tensor) -> ResidualQuantization:
        """Quantize ``latents`` (B, C, *spatial); the codebooks learn from them in training mode."""
        latents = latents.float()
        left, found = latents.detach(), []
        for stage in self.stages:
            found.append(stage(left))
            left = left - found[-1].embedding
        coded = latents.detach() - left
        return ResidualQuantization(
            embedding=latents + (coded - latents).detach(),
            indices=found[0].indices,
            commitment_loss=F.mse_loss(latents, coded),
            stages=tuple(found),
        )
