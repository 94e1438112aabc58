"""Vector quantization with codebooks learned by exponential moving averages.

van den Oord, Vinyals & Kavukcuoglu 2017, "Neural discrete representation learning", arXiv 1711.00937: the codebook
of section 3.2 with the updates of appendix A.1.

Why not MONAI's ``EMAQuantizer``: it starts the cluster counts at zero without taking the bias out, so that after one
step at decay .99 the embeddings of unused codes explode. Here counts start at one, the embeddings start from the
first batch, and a code that falls out of use starts again from a latent of the current batch.

In a distributed run the processes hold equal shares of a batch, and the codebooks learn from all of it: they are the
same bit for bit in all processes.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from mocodis_monai.distributed import from_rank_zero, random_rows, std_over_processes, sum_over_processes, world_size

RESTART_COUNT = 0.1
"""A code whose moving-average count falls below this share of an even use counts as unused and starts again."""


class Quantization(NamedTuple):
    """What a quantizer gives back.

    Attributes:
        embedding: (B, C, *spatial), nearest codes; gradients pass straight through to the latents.
        indices: (B, *spatial) int64, code indices.
        commitment_loss: scalar, mean squared distance of the latents to their (fixed) codes.
        perplexity: scalar, exp of the entropy of code use in this batch (of all processes while training), 1 to
            ``num_embeddings``.
        usage: scalar, share of the codebook that this batch uses.
    """

    embedding: torch.Tensor
    indices: torch.Tensor
    commitment_loss: torch.Tensor
    perplexity: torch.Tensor
    usage: torch.Tensor


def log_probabilities(logits: torch.Tensor) -> torch.Tensor:
    """Log-probabilities of the codes, float32, from their logits, both (B, num_embeddings, *spatial).

    In the layout of the convolutions the codes lie last; a softmax over any other axis would copy.
    """
    return logits.movedim(1, -1).float().log_softmax(-1).movedim(-1, 1)


class VectorQuantizer(nn.Module):
    """Nearest-code quantization; the codebook learns in training mode only and is frozen in evaluation.

    Worked example: latents (2, 16, 8, 8) and 256 codes give indices (2, 8, 8) with values 0 to 255.

    Args:
        num_embeddings: number of codes.
        embedding_dim: channels of the latents and of the codes.
        decay: of the moving averages of counts and sums.
    """

    codebook: torch.Tensor
    ema_count: torch.Tensor
    ema_sum: torch.Tensor
    initialized: torch.Tensor

    def __init__(self, num_embeddings: int, embedding_dim: int, decay: float = 0.98) -> None:
        super().__init__()
        self.num_embeddings, self.embedding_dim, self.decay = num_embeddings, embedding_dim, decay
        self.register_buffer("codebook", torch.randn(num_embeddings, embedding_dim))
        self.register_buffer("ema_count", torch.ones(num_embeddings))
        self.register_buffer("ema_sum", self.codebook.clone())
        self.register_buffer("initialized", torch.zeros((), dtype=torch.bool))

    def forward(self, latents: torch.Tensor) -> Quantization:
        """Quantize ``latents`` (B, C, *spatial); learn from them in training mode."""
        with torch.autocast(latents.device.type, enabled=False):
            latents = latents.float()
            sites = latents.movedim(1, -1)
            flat = sites.detach().reshape(-1, self.embedding_dim)
            if self.training and not self.initialized:
                self._start_from(flat)
            indices = self.nearest(flat)
            embedding = self.embed(indices.reshape(sites.shape[:-1]))
            # As torch.bincount, whose shape would hang on the data and break a compiled graph.
            count = torch.zeros(self.num_embeddings, device=indices.device).index_add_(
                0, indices, torch.ones(len(indices), device=indices.device)
            )
            if self.training:
                count = self._learn(flat, indices, count)
            commitment_loss = F.mse_loss(latents, embedding.detach())
            straight_through = latents + (embedding - latents).detach()
        used = count / count.sum()
        perplexity = torch.exp(torch.special.entr(used).sum())
        usage = (used > 0).float().mean()
        return Quantization(
            straight_through, indices.reshape(sites.shape[:-1]), commitment_loss, perplexity, usage
        )

    def nearest(self, flat: torch.Tensor) -> torch.Tensor:
        """Index of the nearest code of each row of ``flat`` (N, C), by squared Euclidean distance."""
        distance = torch.addmm(self.codebook.square().sum(1), flat, self.codebook.T, alpha=-2)
        return distance.argmin(dim=1)

    def embed(self, indices: torch.Tensor) -> torch.Tensor:
        """Codes of ``indices`` (B, *spatial) as (B, C, *spatial)."""
        return F.embedding(indices, self.codebook).movedim(-1, 1)

    def expect(self, probabilities: torch.Tensor) -> torch.Tensor:
        """Posterior-mean code of ``probabilities`` (B, num_embeddings, *spatial) as (B, C, *spatial)."""
        return (probabilities.movedim(1, -1) @ self.codebook.to(probabilities.dtype)).movedim(-1, 1)

    @torch.no_grad()
    def _start_from(self, flat: torch.Tensor) -> None:
        """Take the first embeddings from the latents of the first batch (N, C)."""
        self._place(torch.arange(self.num_embeddings, device=flat.device), flat)
        self.initialized.fill_(True)

    @torch.no_grad()
    def _learn(self, flat: torch.Tensor, indices: torch.Tensor, count: torch.Tensor) -> torch.Tensor:
        """One moving-average step on latents (N, C) with their code indices (N,) and how often each code was used.

        Returns the count over all processes.
        """
        total = torch.zeros_like(self.ema_sum).index_add_(0, indices, flat)
        count, total = sum_over_processes(torch.cat([count.unsqueeze(1), total], 1)).tensor_split([1], dim=1)
        count = count.squeeze(1)
        # Counts are kept per even use (mean one), so that start and threshold do not depend on the batch size.
        per_code = world_size() * flat.shape[0] / self.num_embeddings
        self.ema_count.lerp_(count / per_code, 1 - self.decay)
        self.ema_sum.lerp_(total / per_code, 1 - self.decay)
        self.codebook.copy_(self.ema_sum / self.ema_count.clamp(min=1e-5).unsqueeze(1))
        dead = (self.ema_count < RESTART_COUNT).nonzero().flatten()
        if dead.numel():
            self._place(dead, flat)
        return count

    def _place(self, codes: torch.Tensor, flat: torch.Tensor) -> None:
        """Put ``codes`` on random latents of ``flat`` (N, C), of all processes, with a count of one."""
        chosen = random_rows(flat, codes.numel())
        # So that equal latents do not give equal codes.
        jitter = 1e-2 * std_over_processes(flat) * from_rank_zero(torch.randn_like(chosen))
        self.codebook[codes] = chosen + jitter
        self.ema_sum[codes] = self.codebook[codes]
        self.ema_count[codes] = 1.0
