"""Autoregressive transformer prior over the content codes of motion-free images.

Sequence: the coarse codes of a window in raster order, then its fine codes. Each position predicts its own code
from all codes before it, and, where given, from the evidence of the corrupted image *at that position* and a global
motion condition. Both are dropped at random while training, so that the same weights also give the unconditional
prior. The output is a residual on the evidence logits and starts at zero: an untrained prior changes nothing.

Following the two-level prior of VQ-VAE-2 (arXiv 1906.00446) and the prior guidance of arXiv 2511.08365.
"""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from torch import nn
from torch.nn import functional as F

from mocodis_monai.networks.blocks import check_heads, start_at_zero

WINDOWS_AT_ONCE = 16
"""Windows that go through the blocks together: what a processor's cache holds, a seventh faster than all at once."""
FINE_PER_COARSE = 2
"""Fine sites per coarse site along each axis: 1/4 against 1/8 of the resolution."""


class LevelLogits(NamedTuple):
    """Code logits of both levels: (B, coarse codes, *coarse) and (B, fine codes, *fine)."""

    coarse: torch.Tensor
    fine: torch.Tensor


class LevelLogProbs(LevelLogits):
    """Logits that are log-probabilities: at each site their exponentials add up to one."""

    __slots__ = ()


class LevelIndices(NamedTuple):
    """Code indices of both levels: (B, *coarse) and (B, *fine), int64."""

    coarse: torch.Tensor
    fine: torch.Tensor


class LevelNats(NamedTuple):
    """Negative log-likelihoods of the codes of both levels, in nats: (B, *coarse) and (B, *fine)."""

    coarse: torch.Tensor
    fine: torch.Tensor


class LevelMasks(NamedTuple):
    """Sites of both levels: (B, *coarse) and (B, *fine), bool."""

    coarse: torch.Tensor
    fine: torch.Tensor


class CodeEmbeddings(NamedTuple):
    """Code embeddings in the order of the sequence: (B, coarse sites, hidden) and (B, fine sites, hidden)."""

    coarse: torch.Tensor
    fine: torch.Tensor


class PriorEvidence(NamedTuple):
    """Evidence as the transformer takes it in, see :meth:`ContentPrior.take_in`.

    Attributes:
        added: what it adds at each position, (B, length, hidden).
        logits: what the transformer's residual is added to, (B, codes, *window) on both levels: the log-probabilities
            of the evidence, zero where it is dropped.
    """

    added: torch.Tensor
    logits: LevelLogits


class CausalBlock(nn.Module):
    """A pre-norm transformer block in which each position sees itself and those before it.

    Own code because torch's encoder layer falls back to float32 under CPU autocast in evaluation (ten times slower
    here), and MONAI's ``TransformerBlock`` keeps a dense mask per layer in the state dict. The attention is written
    out: over a few hundred tokens torch's fused kernel is the slower one on a CPU.

    Args:
        hidden_size: channels of a token, a multiple of ``num_heads``.
        num_heads: attention heads.

    Raises:
        ValueError: the channels are no multiple of the heads.
    """

    def __init__(self, hidden_size: int, num_heads: int) -> None:
        super().__init__()
        check_heads(hidden_size, num_heads)
        self.num_heads = num_heads
        self.norm_attention, self.norm_mlp = nn.LayerNorm(hidden_size), nn.LayerNorm(hidden_size)
        self.qkv = nn.Linear(hidden_size, 3 * hidden_size)
        self.project = nn.Linear(hidden_size, hidden_size)
        self.mlp = nn.Sequential(
            nn.Linear(hidden_size, 4 * hidden_size), nn.GELU(), nn.Linear(4 * hidden_size, hidden_size)
        )

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """(B, length, hidden) -> (B, length, hidden)."""
        split = self.qkv(self.norm_attention(tokens)).unflatten(-1, (3, self.num_heads, -1))
        query, key, value = split.permute(2, 0, 3, 1, 4).flatten(1, 2).contiguous()
        later = torch.full((query.shape[1],) * 2, float("-inf")).to(query).triu(1)
        scores = torch.baddbmm(later, query, key.transpose(1, 2), alpha=query.shape[-1] ** -0.5)
        attended = (scores.softmax(dim=-1) @ value).unflatten(0, (-1, self.num_heads)).transpose(1, 2).flatten(-2)
        tokens = tokens + self.project(attended)
        return tokens + self.mlp(self.norm_mlp(tokens))


class ContentPrior(nn.Module):
    """Causal transformer over a window of content codes, coarse level first.

    Args:
        spatial_dims: 2 or 3.
        num_embeddings: content codes, coarse and fine.
        coarse_window: coarse sites of a window along each axis.
        hidden_size: width of the transformer, a multiple of ``num_heads``.
        num_layers: transformer blocks.
        num_heads: attention heads.
        condition_channels: entries of the global motion condition.
    """

    def __init__(
        self,
        spatial_dims: int = 2,
        num_embeddings: tuple[int, int] = (512, 512),
        coarse_window: int = 8,
        hidden_size: int = 128,
        num_layers: int = 4,
        num_heads: int = 4,
        condition_channels: int = 17,
    ) -> None:
        super().__init__()
        self.spatial_dims, self.num_embeddings, self.coarse_window = spatial_dims, num_embeddings, coarse_window
        self.num_coarse = coarse_window**spatial_dims
        self.num_fine = (FINE_PER_COARSE * coarse_window) ** spatial_dims
        length = self.num_coarse + self.num_fine
        self.start = nn.Parameter(torch.zeros(1, 1, hidden_size))
        self.position = nn.Parameter(0.02 * torch.randn(1, length, hidden_size))
        self.code = nn.ModuleList(nn.Embedding(num, hidden_size) for num in num_embeddings)
        self.evidence = nn.Linear(hidden_size, hidden_size)
        self.condition = nn.Linear(condition_channels, hidden_size)
        self.transformer = nn.Sequential(
            *(CausalBlock(hidden_size, num_heads) for _ in range(num_layers)), nn.LayerNorm(hidden_size)
        )
        heads = [nn.Linear(hidden_size, num) for num in num_embeddings]
        for layer in heads:
            start_at_zero(layer)
        self.head = nn.ModuleList(heads)

    def forward(
        self,
        indices: LevelIndices,
        evidence: LevelLogProbs | None = None,
        condition: torch.Tensor | None = None,
        keep: torch.Tensor | None = None,
        unsure: LevelMasks | None = None,
    ) -> LevelLogits:
        """Logits of every code of a window given the codes before it.

        Args:
            indices: codes of the window, (B, *coarse_window) and (B, *2 coarse_window).
            evidence: log-probabilities of the codes read off the corrupted image, (B, codes, *coarse_window) and
                (B, codes, *2 coarse_window); None for the unconditional prior.
            condition: global motion condition (B, condition_channels); None together with ``evidence``.
            keep: (B,) bool, samples whose evidence and condition are seen; all by default.
            unsure: sites whose code later positions do not know: they are told the mean of the evidence instead. None
                by default, and without evidence.
        """
        codes = self.embed(indices)
        if evidence is None:
            return self.predict(codes, None)
        if unsure is not None:
            levels = zip(unsure, self.embed_belief(evidence), codes, strict=True)
            codes = CodeEmbeddings(
                *(torch.where(mask.flatten(1).unsqueeze(-1), mean, code) for mask, mean, code in levels)
            )
        return self.predict(codes, self.take_in(evidence, condition, keep))

    def embed(self, indices: LevelIndices) -> CodeEmbeddings:
        """What :meth:`predict` takes of codes that are known, (B, *coarse_window) and (B, *2 coarse_window)."""
        return CodeEmbeddings(*(code(level.flatten(1)) for code, level in zip(self.code, indices, strict=True)))

    def embed_belief(self, logits: LevelLogits) -> CodeEmbeddings:
        """What :meth:`predict` takes of codes that are believed in: the mean embedding of each site.

        Args:
            logits: (B, codes, *window) on both levels.
        """
        return CodeEmbeddings(
            *(
                level.softmax(1).flatten(2).transpose(1, 2) @ cast("nn.Embedding", code).weight
                for code, level in zip(self.code, logits, strict=True)
            )
        )

    def take_in(
        self, evidence: LevelLogProbs, condition: torch.Tensor | None = None, keep: torch.Tensor | None = None
    ) -> PriorEvidence:
        """What :meth:`predict` needs of the evidence: the same in every pass over a window.

        Arguments as of :meth:`forward`.
        """
        # The mean embedding: bounded, and free of codes that the evidence excludes.
        added = self.evidence(torch.cat(self.embed_belief(evidence), dim=1))
        if condition is not None:
            added = added + self.condition(condition).unsqueeze(1)
        log_probs = LevelLogProbs(*(level.log_softmax(1) for level in evidence))
        if keep is None:
            return PriorEvidence(added, log_probs)
        kept = keep.reshape(-1, 1, *(1,) * self.spatial_dims)
        return PriorEvidence(added * keep.reshape(-1, 1, 1), LevelLogits(*(kept * level for level in log_probs)))

    def predict(self, codes: CodeEmbeddings, taken_in: PriorEvidence | None) -> LevelLogits:
        """Logits as from :meth:`forward`, with codes and evidence as the methods above gave them.

        Args:
            codes: those of the window, of which each position is told the ones before it.
            taken_in: evidence of the same windows; None for the unconditional prior.
        """
        before = torch.cat(codes, dim=1)[:, :-1]
        tokens = torch.cat([self.start.expand(len(before), -1, -1), before], dim=1) + self.position
        tokens = tokens + F.pad(self._parents(codes.coarse), (0, 0, self.num_coarse, 0))
        if taken_in is not None:
            tokens = tokens + taken_in.added
        tokens = torch.cat([self.transformer(block) for block in tokens.split(WINDOWS_AT_ONCE)])
        logits = (self.head[0](tokens[:, : self.num_coarse]), self.head[1](tokens[:, self.num_coarse :]))
        out = LevelLogits(*(self._to_grid(level, k) for level, k in zip(logits, (1, FINE_PER_COARSE), strict=True)))
        if taken_in is None:
            return out
        return LevelLogits(*(level + given for level, given in zip(out, taken_in.logits, strict=True)))

    def _parents(self, coarse: torch.Tensor) -> torch.Tensor:
        """What lies over each fine site: (B, coarse sites, hidden) -> (B, fine sites, hidden)."""
        coarse = coarse.unflatten(1, (self.coarse_window,) * self.spatial_dims)
        for axis in range(1, coarse.ndim - 1):
            coarse = coarse.repeat_interleave(FINE_PER_COARSE, dim=axis)
        return coarse.flatten(1, -2)

    def _to_grid(self, logits: torch.Tensor, factor: int) -> torch.Tensor:
        """(B, sites, codes) -> (B, codes, *window)."""
        size = (factor * self.coarse_window,) * self.spatial_dims
        return logits.transpose(1, 2).unflatten(2, size)
