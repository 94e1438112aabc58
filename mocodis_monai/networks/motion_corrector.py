"""The one composite network of the bundle: hierarchical VQ-VAE, fidelity branch and prior in one ``network_def``."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from mocodis_monai.networks.fidelity_branch import CoarseEvidence, FidelityBranch
from mocodis_monai.networks.guidance import guide
from mocodis_monai.networks.hierarchical_vqvae import Codes, Embeddings, HierarchicalVQVAE, embeddings_of, on_fine_grid
from mocodis_monai.networks.prior import FINE_PER_COARSE, ContentPrior, LevelIndices, LevelLogits

SIZE_MULTIPLE = 16
"""The coarsest grid is 1/16 of the resolution; images are padded to a multiple and cropped back."""
GATE_PX = (0.3, 0.7)
"""Below the first motion score the image is left alone, above the second it is corrected in full.

Chosen on validation phantoms, where images without motion were scored up to .34."""


class Correction(NamedTuple):
    """Result of :meth:`MotionCorrector.correct`; images are (B, 1, *spatial) in the units of the input.

    Attributes:
        corrected: the corrected image.
        uncertainty: standard deviation over images decoded from samples of the posterior over codes; None if no
            samples were asked for.
        motion_score_mm: (B,), estimated displacement score.
        artifact_map: negative log-likelihood (nats) of the image's own codes under the posterior over clean codes.
        gate: (B,), 0 where the image was left alone, 1 where it was corrected in full.
    """

    corrected: torch.Tensor
    uncertainty: torch.Tensor | None
    motion_score_mm: torch.Tensor
    artifact_map: torch.Tensor
    gate: torch.Tensor


class Posterior(NamedTuple):
    """What is believed of the clean codes, and where it came from."""

    image: torch.Tensor
    seen: CoarseEvidence
    log_probs: LevelLogits
    score_px: torch.Tensor


class Reconstruction(NamedTuple):
    """What the codes draw: images (B, 1, *spatial), the codes themselves, and the motion score (B,) in pixels."""

    clean: torch.Tensor
    moved: torch.Tensor
    content: Codes
    motion: Codes
    score_px: torch.Tensor


class Refinement(NamedTuple):
    """What the fidelity branch makes of a moved image, (B, 1, *spatial), and the codes it read beside the true ones."""

    refined: torch.Tensor
    codes_only: torch.Tensor
    logits: LevelLogits
    indices: LevelIndices
    score_px: torch.Tensor


class MotionCorrector(nn.Module):
    """Retrospective motion correction with disentangled codes.

    Images are magnitude, scaled so that the 99.5th percentile of the foreground is one.

    Args:
        spatial_dims: 2 or 3.
        channels: VQ-VAE features at 1/2, 1/4 and 1/8 of the resolution.
        fidelity_channels: the same for the fidelity branch.
        num_embeddings: content codes, coarse and fine.
        embedding_dim: channels of a content code.
        num_motion_embeddings: motion codes, coarse and fine.
        motion_embedding_dim: channels of a motion code.
        prior_hidden_size: width of the transformer prior.
        prior_layers: blocks of the transformer prior.
        guidance: strength of the prior in :meth:`forward`, 0 (off) to 1.
    """

    def __init__(
        self,
        spatial_dims: int = 2,
        channels: tuple[int, int, int] = (32, 64, 96),
        fidelity_channels: tuple[int, int, int] = (48, 96, 112),
        num_embeddings: tuple[int, int] = (512, 512),
        embedding_dim: int = 8,
        num_motion_embeddings: tuple[int, int] = (128, 128),
        motion_embedding_dim: int = 8,
        prior_hidden_size: int = 128,
        prior_layers: int = 4,
        guidance: float = 0.0,
    ) -> None:
        super().__init__()
        self.spatial_dims, self.guidance = spatial_dims, guidance
        self.frozen: set[str] = set()
        self.vqvae = HierarchicalVQVAE(
            spatial_dims, channels, num_embeddings, embedding_dim, num_motion_embeddings, motion_embedding_dim
        )
        self.fidelity_branch = FidelityBranch(
            spatial_dims, fidelity_channels, num_embeddings, embedding_dim, 2 * motion_embedding_dim
        )
        self.prior = ContentPrior(
            spatial_dims,
            num_embeddings,
            hidden_size=prior_hidden_size,
            num_layers=prior_layers,
            condition_channels=2 * motion_embedding_dim + 1,
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Corrected image of ``image``, both (B, 1, *spatial), any spatial size."""
        posterior = self._posterior(self._pad(image), self.guidance)
        refined, _ = self._draw(posterior, self._expect(posterior.log_probs))
        gate = no_harm_gate(posterior.score_px)
        return torch.lerp(image, self._crop(refined, image).to(image.dtype), self._per_image(gate).to(image.dtype))

    @torch.no_grad()
    def correct(
        self,
        image: torch.Tensor,
        spacing_mm: float = 1.0,
        fidelity: float = 1.0,
        guidance: float | None = None,
        num_samples: int = 4,
        generator: torch.Generator | None = None,
    ) -> Correction:
        """Correct ``image`` and say how far to trust the result.

        Args:
            image: (B, 1, *spatial).
            spacing_mm: in-plane voxel size, which turns the motion score into millimetres.
            fidelity: 0 decodes the codes only, 1 takes the refined image.
            guidance: strength of the prior, 0 to 1; None takes the network's own.
            num_samples: posterior samples behind the uncertainty map, at least 2; 0 makes no map and saves their time.
            generator: random numbers for the samples; None starts from a fixed seed, so that results repeat.

        Raises:
            ValueError: ``fidelity``, ``guidance`` or ``num_samples`` out of range.
        """
        guidance = self.guidance if guidance is None else guidance
        _check_share("fidelity", fidelity)
        _check_share("guidance", guidance)
        if num_samples < 2 and num_samples != 0:
            raise ValueError(f"num_samples must be 0 or at least 2, for a standard deviation, got {num_samples}.")
        posterior = self._posterior(self._pad(image), guidance)
        refined, codes_only = self._draw(posterior, self._expect(posterior.log_probs))
        gate = no_harm_gate(posterior.score_px)
        result = self._crop(torch.lerp(codes_only, refined, fidelity), image).to(image.dtype)
        return Correction(
            corrected=torch.lerp(image, result, self._per_image(gate).to(image.dtype)),
            uncertainty=self._crop(self._spread(posterior, num_samples, generator), image) if num_samples else None,
            motion_score_mm=posterior.score_px * spacing_mm,
            artifact_map=self._crop(self._surprise(posterior), image),
            gate=gate,
        )

    def reconstruct(self, moved: torch.Tensor, clean: torch.Tensor) -> Reconstruction:
        """First stage: code and decode pairs (B, 1, *spatial), sizes multiples of 16; codebooks learn from it."""
        content, motion = self.vqvae.encode_content(clean), self.vqvae.encode_motion(moved)
        embeddings, artifact = embeddings_of(content), embeddings_of(motion)
        return Reconstruction(
            clean=self.vqvae.decode(embeddings),
            moved=self.vqvae.decode(embeddings, artifact),
            content=content,
            motion=motion,
            score_px=self.vqvae.motion_score_px(artifact),
        )

    def refine(self, moved: torch.Tensor, clean: torch.Tensor) -> Refinement:
        """Second stage, codes frozen: read the clean codes off ``moved`` and refine what they draw."""
        posterior = self._posterior(moved, guidance=0.0)
        refined, codes_only = self._draw(posterior, self._expect(posterior.log_probs))
        return Refinement(refined, codes_only, posterior.log_probs, self._true_codes(clean), posterior.score_px)

    @torch.no_grad()
    def read_codes(self, moved: torch.Tensor, clean: torch.Tensor) -> tuple[LevelIndices, LevelLogits, torch.Tensor]:
        """Third stage: true clean codes, evidence of the moved image, and the motion condition for the prior."""
        motion = embeddings_of(self.vqvae.encode_motion(moved))
        evidence = self._evidence(moved, motion)
        return self._true_codes(clean), evidence.log_probs, self._prior_condition(motion, evidence.score_px)

    @torch.no_grad()
    def _true_codes(self, clean: torch.Tensor) -> LevelIndices:
        """Content code indices of a clean image."""
        content = self.vqvae.encode_content(clean)
        return LevelIndices(content.coarse.indices, content.fine.indices)

    def freeze(self, *names: str) -> MotionCorrector:
        """Fix the parts ``names`` for good: no gradients, and their codebooks rest in training mode too."""
        self.frozen |= set(names)
        for name in names:
            self.get_submodule(name).requires_grad_(False)
        return self.train(self.training)

    def train(self, mode: bool = True) -> MotionCorrector:
        """Training mode for all parts that are not frozen."""
        super().train(mode)
        for name in self.frozen:
            self.get_submodule(name).eval()
        return self

    def _posterior(self, padded: torch.Tensor, guidance: float) -> Posterior:
        """Belief over the clean codes: the evidence, guided by the prior as far as there was motion."""
        motion = embeddings_of(self.vqvae.encode_motion(padded))
        evidence = self._evidence(padded, motion)
        if guidance == 0:
            return evidence
        condition = self._prior_condition(motion, evidence.score_px)
        strength = guidance * no_harm_gate(evidence.score_px)
        return evidence._replace(log_probs=guide(self.prior, evidence.log_probs, condition, strength))

    def _evidence(self, padded: torch.Tensor, motion: Embeddings) -> Posterior:
        """Belief over the clean codes from the image alone."""
        score_px = self.vqvae.motion_score_px(motion)
        seen = self.fidelity_branch.read_coarse(padded, on_fine_grid(motion))
        coarse = seen.logits.float().log_softmax(1)
        fine = self.fidelity_branch.read_fine(seen, self.vqvae.content_encoder.coarse_quantizer.expect(coarse.exp()))
        return Posterior(padded, seen, LevelLogits(coarse, fine.logits.float().log_softmax(1)), score_px)

    def _expect(self, log_probs: LevelLogits) -> Embeddings:
        """Posterior-mean embeddings, better than the most likely code by .5 dB and more."""
        encoder = self.vqvae.content_encoder
        coarse = encoder.coarse_quantizer.expect(log_probs.coarse.exp())
        return Embeddings(coarse, encoder.fine_quantizer.expect(log_probs.fine.exp()))

    def _draw(self, posterior: Posterior, content: Embeddings) -> tuple[torch.Tensor, torch.Tensor]:
        """The refined image and the codes-only image of ``content``, each (B, 1, *spatial) float32."""
        codes_only = self.vqvae.decode(content)
        fine = self.fidelity_branch.read_fine(posterior.seen, content.coarse)
        refined = self.fidelity_branch.refine(posterior.image, posterior.seen, fine, content.fine, codes_only)
        return refined.float(), codes_only.float()

    def _spread(self, posterior: Posterior, num_samples: int, generator: torch.Generator | None) -> torch.Tensor:
        """Standard deviation over images decoded from posterior samples, (B, 1, *spatial)."""
        if generator is None:
            generator = torch.Generator(posterior.image.device).manual_seed(0)
        encoder = self.vqvae.content_encoder
        draws = []
        for _ in range(num_samples):
            coarse = encoder.coarse_quantizer.embed(_sample(posterior.log_probs.coarse, generator))
            fine = encoder.fine_quantizer.embed(_sample(posterior.log_probs.fine, generator))
            draws.append(self.vqvae.decode(Embeddings(coarse, fine)).float())
        return torch.stack(draws).std(0)

    def _surprise(self, posterior: Posterior) -> torch.Tensor:
        """Mean over both levels of the NLL (nats) of the image's own codes, (B, 1, *spatial)."""
        own = self.vqvae.encode_content(posterior.image)
        coarse = -posterior.log_probs.coarse.gather(1, own.coarse.indices.unsqueeze(1))
        fine = -posterior.log_probs.fine.gather(1, own.fine.indices.unsqueeze(1))
        size = posterior.image.shape[2:]
        return (F.interpolate(coarse, size=size, mode="nearest") + F.interpolate(fine, size=size, mode="nearest")) / 2

    def _prior_condition(self, motion: Embeddings, score_px: torch.Tensor) -> torch.Tensor:
        """Mean motion embedding of both levels and the log motion score, (B, K)."""
        means = [level.float().flatten(2).mean(2) for level in motion]
        return torch.cat([*means, score_px.log1p().unsqueeze(1)], dim=1)

    def _pad(self, image: torch.Tensor) -> torch.Tensor:
        """Pad at the end of each axis by its edge values to what the token grids need."""
        smallest = self.prior.coarse_window * 4 * FINE_PER_COARSE
        sizes = [max(smallest, -(-size // SIZE_MULTIPLE) * SIZE_MULTIPLE) for size in image.shape[2:]]
        missing = [size - have for size, have in zip(sizes, image.shape[2:], strict=True)]
        return F.pad(image, [end for size in reversed(missing) for end in (0, size)], mode="replicate")

    def _crop(self, padded: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        """Undo :meth:`_pad`."""
        return padded[tuple(slice(size) for size in like.shape)]

    def _per_image(self, values: torch.Tensor) -> torch.Tensor:
        """(B,) -> (B, 1, 1, ...) to multiply images with."""
        return values.reshape(-1, 1, *(1,) * self.spatial_dims)


def no_harm_gate(score_px: torch.Tensor) -> torch.Tensor:
    """Share of the correction to apply, (B,): 0 where the motion score says that nothing moved."""
    low, high = GATE_PX
    return ((score_px - low) / (high - low)).clamp(0, 1)


def _sample(log_probs: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """One code per site of (B, codes, *grid) as (B, *grid), by the Gumbel-max trick."""
    uniform = torch.rand(log_probs.shape, generator=generator, device=log_probs.device).clamp(min=1e-20)
    return (log_probs - (-uniform.log()).log()).argmax(1)


def _check_share(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"{name} must lie between 0 and 1, got {value}.")
