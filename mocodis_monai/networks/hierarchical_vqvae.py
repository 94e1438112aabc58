"""Hierarchical VQ-VAE with content codes and motion codes on two levels each.

Razavi, van den Oord & Vinyals 2019, "Generating diverse high-fidelity images with VQ-VAE-2", arXiv 1906.00446, for
the two levels; Wang et al. 2025, arXiv 2511.08365, for splitting content from motion. Sizes are our own choice.

    content: image -> coarse codes at 1/8, then fine codes at 1/4 given the coarse ones, each in several stages
    motion:  image -> coarse codes at 1/16, fine codes at 1/8
    decoder: content alone (with the learned null motion) -> the clean image
             content and motion                           -> the moved image
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from monai.networks.layers.factories import Norm
from torch import nn
from torch.nn import functional as F

from mocodis_monai.networks.blocks import GlobalBlock, Modulation, ResidualBlock, convolution, fold, moments, unfold
from mocodis_monai.networks.prior import LevelIndices
from mocodis_monai.networks.residual_quantizer import ResidualQuantization, ResidualQuantizer
from mocodis_monai.networks.vector_quantizer import Quantization, VectorQuantizer


class ContentCodes(NamedTuple):
    """Content codes on two levels, the fine ones in several stages."""

    coarse: Quantization
    fine: ResidualQuantization

    def codebooks(self) -> dict[str, Quantization]:
        """What each codebook gave, by name: coarse, fine, and the later stages as detail_1, detail_2, ..."""
        first, *later = self.fine.stages
        return {"coarse": self.coarse, "fine": first} | {f"detail_{k}": stage for k, stage in enumerate(later, 1)}


class MotionCodes(NamedTuple):
    """Motion codes on two levels."""

    coarse: Quantization
    fine: Quantization

    def codebooks(self) -> dict[str, Quantization]:
        """What each codebook gave, by name."""
        return self._asdict()


class Embeddings(NamedTuple):
    """Embeddings on the two levels, (B, C, *coarse spatial) and (B, C, *fine spatial)."""

    coarse: torch.Tensor
    fine: torch.Tensor


def embeddings_of(codes: ContentCodes | MotionCodes) -> Embeddings:
    """The quantized embeddings of both levels."""
    return Embeddings(codes.coarse.embedding, codes.fine.embedding)


def on_eighth_grid(motion: Embeddings) -> torch.Tensor:
    """Both motion levels on the finer of their grids, (B, 2K, *1/8)."""
    return torch.cat([F.interpolate(motion.coarse, size=motion.fine.shape[2:], mode="nearest"), motion.fine], dim=1)


def to_latents(spatial_dims: int, in_channels: int, embedding_dim: int) -> nn.Sequential:
    """The last step before a quantizer: a 1 x 1 convolution, and unit variance of every latent channel.

    Batch normalisation keeps the latents from collapsing onto a few codes before the decoder has learned to use them
    (Lancucki et al. 2020, "Robust training of vector quantized bottleneck models", arXiv 2005.08520).
    """
    return nn.Sequential(
        convolution(spatial_dims, in_channels, embedding_dim, kernel_size=1),
        Norm[Norm.BATCH, spatial_dims](embedding_dim, affine=False),
    )


class ContentEncoder(nn.Module):
    """Image -> content codes: what the motion-free anatomy is.

    Args:
        spatial_dims: 2 or 3.
        channels: features at 1/2, 1/4 and 1/8 of the resolution.
        num_embeddings: codes, coarse (1/8) and fine (1/4).
        embedding_dim: channels of a code.
        fine_stages: stages in which the fine codes are told.
    """

    def __init__(
        self,
        spatial_dims: int,
        channels: tuple[int, int, int],
        num_embeddings: tuple[int, int],
        embedding_dim: int,
        fine_stages: int,
    ) -> None:
        super().__init__()
        half, quarter, eighth = channels
        self.to_quarter = nn.Sequential(
            fold(spatial_dims, 1, half),
            ResidualBlock(spatial_dims, half),
            fold(spatial_dims, half, quarter),
            ResidualBlock(spatial_dims, quarter),
            ResidualBlock(spatial_dims, quarter),
        )
        self.to_eighth = nn.Sequential(fold(spatial_dims, quarter, eighth), GlobalBlock(spatial_dims, eighth))
        self.coarse_latent = to_latents(spatial_dims, eighth, embedding_dim)
        self.coarse_features = unfold(spatial_dims, embedding_dim, quarter)
        self.fine_latent = to_latents(spatial_dims, 2 * quarter, embedding_dim)
        self.coarse_quantizer = VectorQuantizer(num_embeddings[0], embedding_dim)
        self.fine_quantizer = ResidualQuantizer(num_embeddings[1], embedding_dim, fine_stages)

    def forward(self, image: torch.Tensor) -> ContentCodes:
        """(B, 1, *spatial) -> content codes at 1/8 and 1/4 of the resolution."""
        coarse, fine_latents = self._coarse_and_latents(image)
        return ContentCodes(coarse, self.fine_quantizer(fine_latents))

    def indices(self, image: torch.Tensor) -> LevelIndices:
        """(B, 1, *spatial) -> the codes' indices alone, of the fine ones those of the first stage."""
        coarse, fine_latents = self._coarse_and_latents(image)
        return LevelIndices(coarse.indices, self.fine_quantizer.first(fine_latents).indices)

    def _coarse_and_latents(self, image: torch.Tensor) -> tuple[Quantization, torch.Tensor]:
        """The coarse codes of an image (B, 1, *spatial), and the latents (B, C, *1/4) of the fine ones given these."""
        quarter = self.to_quarter(image)
        coarse = self.coarse_quantizer(self.coarse_latent(self.to_eighth(quarter)))
        known = self.coarse_features(coarse.embedding)
        return coarse, self.fine_latent(F.relu(torch.cat([quarter, known], dim=1)))


class MotionEncoder(nn.Module):
    """Image -> motion codes: what the artifact is, on grids too coarse to draw the anatomy.

    Args:
        spatial_dims: 2 or 3.
        channels: features at 1/2, at 1/4, and at 1/8 and 1/16 of the resolution.
        num_embeddings: codes, coarse (1/16) and fine (1/8).
        embedding_dim: channels of a code.
    """

    def __init__(
        self, spatial_dims: int, channels: tuple[int, int, int], num_embeddings: tuple[int, int], embedding_dim: int
    ) -> None:
        super().__init__()
        half, quarter, eighth = channels
        self.to_eighth = nn.Sequential(
            fold(spatial_dims, 1, half),
            ResidualBlock(spatial_dims, half),
            fold(spatial_dims, half, quarter),
            ResidualBlock(spatial_dims, quarter),
            fold(spatial_dims, quarter, eighth),
            GlobalBlock(spatial_dims, eighth),
        )
        self.to_sixteenth = nn.Sequential(fold(spatial_dims, eighth, eighth), GlobalBlock(spatial_dims, eighth))
        self.coarse_latent = to_latents(spatial_dims, eighth, embedding_dim)
        self.fine_latent = to_latents(spatial_dims, eighth, embedding_dim)
        self.coarse_quantizer = VectorQuantizer(num_embeddings[0], embedding_dim)
        self.fine_quantizer = VectorQuantizer(num_embeddings[1], embedding_dim)

    def forward(self, image: torch.Tensor) -> MotionCodes:
        """(B, 1, *spatial) -> motion codes at 1/16 and 1/8 of the resolution."""
        eighth = self.to_eighth(image)
        coarse = self.coarse_quantizer(self.coarse_latent(self.to_sixteenth(eighth)))
        return MotionCodes(coarse, self.fine_quantizer(self.fine_latent(eighth)))


class ConditionalDecoder(nn.Module):
    """Content and, if given, motion embeddings -> image. Without motion the learned null motion stands in.

    Args:
        spatial_dims: 2 or 3.
        channels: features at 1/2, 1/4 and 1/8 of the resolution.
        embedding_dim: channels of a content code.
        motion_embedding_dim: channels of a motion code.
    """

    def __init__(
        self, spatial_dims: int, channels: tuple[int, int, int], embedding_dim: int, motion_embedding_dim: int
    ) -> None:
        super().__init__()
        half, quarter, eighth = channels
        self.null_motion = nn.Parameter(torch.zeros(2, motion_embedding_dim))
        self.coarse_in = convolution(spatial_dims, embedding_dim, eighth, kernel_size=1)
        self.coarse_motion = Modulation(spatial_dims, 2 * motion_embedding_dim, eighth)
        self.coarse_body = GlobalBlock(spatial_dims, eighth)
        self.to_quarter = unfold(spatial_dims, eighth, quarter)
        self.fine_in = convolution(spatial_dims, embedding_dim, quarter, kernel_size=1)
        self.fine_motion = Modulation(spatial_dims, 2 * motion_embedding_dim, quarter)
        self.fine_body = nn.Sequential(ResidualBlock(spatial_dims, quarter), ResidualBlock(spatial_dims, quarter))
        self.to_half = unfold(spatial_dims, quarter, half)
        self.half_body = nn.Sequential(ResidualBlock(spatial_dims, half), ResidualBlock(spatial_dims, half))
        self.to_full = unfold(spatial_dims, half, 8)
        self.to_image = convolution(spatial_dims, 8, 1)

    def forward(self, content: Embeddings, motion: Embeddings | None = None) -> torch.Tensor:
        """Content (B, C, *1/8) and (B, C, *1/4), motion (B, K, *1/16) and (B, K, *1/8) -> image (B, 1, *spatial)."""
        condition = self._condition(content, motion)
        eighth = self.coarse_body(self.coarse_motion(self.coarse_in(content.coarse), condition))
        quarter = self.to_quarter(eighth) + self.fine_in(content.fine)
        quarter = self.fine_body(self.fine_motion(quarter, condition))
        return self.to_image(F.relu(self.to_full(self.half_body(self.to_half(quarter)))))

    def _condition(self, content: Embeddings, motion: Embeddings | None) -> torch.Tensor:
        """Both motion levels on the grid at 1/8, (B, 2K, *coarse spatial); one site is enough for the null motion."""
        if motion is None:
            spatial = (1,) * (content.coarse.ndim - 2)
            return self.null_motion.reshape(1, -1, *spatial).expand(content.coarse.shape[0], -1, *spatial)
        return on_eighth_grid(motion)


class HierarchicalVQVAE(nn.Module):
    """Content and motion codebooks on two levels, the conditional decoder, and the head that reads the motion score.

    Args:
        spatial_dims: 2 or 3.
        channels: features at 1/2, 1/4 and 1/8 of the resolution.
        num_embeddings: content codes, coarse and fine.
        embedding_dim: channels of a content code.
        fine_stages: stages in which the fine content codes are told.
        num_motion_embeddings: motion codes, coarse and fine.
        motion_embedding_dim: channels of a motion code.
    """

    def __init__(
        self,
        spatial_dims: int = 2,
        channels: tuple[int, int, int] = (32, 64, 96),
        num_embeddings: tuple[int, int] = (512, 512),
        embedding_dim: int = 16,
        fine_stages: int = 4,
        num_motion_embeddings: tuple[int, int] = (128, 128),
        motion_embedding_dim: int = 8,
    ) -> None:
        super().__init__()
        # The artifact needs fewer features than the anatomy.
        half, quarter, eighth = (max(8, width // 2) for width in channels)
        self.content_encoder = ContentEncoder(
            spatial_dims, channels, num_embeddings, embedding_dim, fine_stages
        )
        self.motion_encoder = MotionEncoder(
            spatial_dims, (half, quarter, eighth), num_motion_embeddings, motion_embedding_dim
        )
        self.decoder = ConditionalDecoder(spatial_dims, channels, embedding_dim, motion_embedding_dim)
        self.score_head = nn.Sequential(nn.Linear(4 * motion_embedding_dim, 64), nn.ReLU(), nn.Linear(64, 1))

    def encode_content(self, image: torch.Tensor) -> ContentCodes:
        """Content codes of ``image`` (B, 1, *spatial), spatial sizes multiples of 16."""
        return self.content_encoder(image)

    def content_indices(self, image: torch.Tensor) -> LevelIndices:
        """Indices of these codes alone, of the fine ones those of the first stage, (B, *1/8) and (B, *1/4)."""
        return self.content_encoder.indices(image)

    def expect_coarse(self, probabilities: torch.Tensor) -> torch.Tensor:
        """Posterior-mean coarse content embedding of (B, codes, *1/8): (B, C, *1/8)."""
        return self.content_encoder.coarse_quantizer.expect(probabilities)

    def expect_fine(self, probabilities: torch.Tensor) -> torch.Tensor:
        """Posterior-mean fine content embedding, of the first stage, of (B, codes, *1/4): (B, C, *1/4)."""
        return self.content_encoder.fine_quantizer.first.expect(probabilities)

    def encode_motion(self, image: torch.Tensor) -> MotionCodes:
        """Motion codes of ``image`` (B, 1, *spatial), spatial sizes multiples of 16."""
        return self.motion_encoder(image)

    def decode(self, content: Embeddings, motion: Embeddings | None = None) -> torch.Tensor:
        """The clean image of ``content`` (no ``motion``), or the image moved by ``motion``: (B, 1, *spatial)."""
        return self.decoder(content, motion)

    def motion_score_px(self, motion: Embeddings) -> torch.Tensor:
        """Displacement score in pixels read from the motion codes alone, (B,), never negative.

        The head sees mean and standard deviation of each level over space: the score belongs to the image. It makes the
        codes know the motion; the score that users see is that of the fidelity branch, which knows it better.
        """
        pooled = torch.cat([moments(level) for level in motion], dim=1)
        return F.softplus(self.score_head(pooled).squeeze(1).float())
