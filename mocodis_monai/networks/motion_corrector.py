"""The one composite network of the bundle: hierarchical VQ-VAE, fidelity branch and prior in one ``network_def``."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from mocodis_monai.distributed import rank
from mocodis_monai.networks.checks import SIZE_MULTIPLE, check_share, check_sizes
from mocodis_monai.networks.fidelity_branch import FidelityBranch, FineFeatures
from mocodis_monai.networks.gate import RESIDUAL_SHARE, no_harm_gate
from mocodis_monai.networks.guidance import guide
from mocodis_monai.networks.hierarchical_vqvae import (
    ContentCodes,
    Embeddings,
    HierarchicalVQVAE,
    embeddings_of,
    on_eighth_grid,
)
from mocodis_monai.networks.prior import FINE_PER_COARSE, ContentPrior, LevelLogProbs
from mocodis_monai.networks.results import (
    Candidates,
    Correction,
    Drawing,
    Posterior,
    Reading,
    Reconstruction,
    Refinement,
    indices_of,
    twins_of,
)
from mocodis_monai.networks.uncertainty import uncertainty_of
from mocodis_monai.networks.vector_quantizer import log_probabilities


class MotionCorrector(nn.Module):
    """Retrospective motion correction with disentangled codes.

    Images are magnitude, scaled so that the 99.5th percentile of the foreground is one.

    Args:
        spatial_dims: 2 or 3.
        channels: VQ-VAE features at 1/2, 1/4 and 1/8 of the resolution.
        fidelity_channels: features of the fidelity branch at 1/1, 1/2, 1/4 and 1/8.
        num_embeddings: content codes, coarse and fine.
        embedding_dim: channels of a content code.
        fine_stages: stages in which the fine content codes are told.
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
        fidelity_channels: tuple[int, int, int, int] = (24, 64, 112, 160),
        num_embeddings: tuple[int, int] = (512, 512),
        embedding_dim: int = 16,
        fine_stages: int = 4,
        num_motion_embeddings: tuple[int, int] = (128, 128),
        motion_embedding_dim: int = 8,
        prior_hidden_size: int = 128,
        prior_layers: int = 4,
        guidance: float = 0.0,
    ) -> None:
        super().__init__()
        self.spatial_dims, self.num_embeddings, self.guidance = spatial_dims, num_embeddings, guidance
        self.frozen: set[str] = set()
        self.vqvae = HierarchicalVQVAE(
            spatial_dims,
            channels,
            num_embeddings,
            embedding_dim,
            fine_stages,
            num_motion_embeddings,
            motion_embedding_dim,
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
        # The fastest layout, and the only one: in bfloat16 another one rounds elsewhere.
        self.to(memory_format=torch.channels_last if spatial_dims == 2 else torch.channels_last_3d)  # type: ignore[call-overload]

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Corrected image of ``image``, both (B, 1, *spatial), any spatial size."""
        posterior = self._posterior(self._pad(image), self.guidance)
        result = self._careful(posterior, self._draw(posterior))
        return self._as_far_as(image, result, no_harm_gate(posterior.score_px))

    @torch.no_grad()
    def correct(
        self,
        image: torch.Tensor,
        spacing_mm: float = 1.0,
        fidelity: float = 1.0,
        guidance: float | None = None,
    ) -> Correction:
        """Correct ``image`` and say how far to trust the result.

        Args:
            image: (B, 1, *spatial).
            spacing_mm: in-plane voxel size, which turns the motion score into millimetres.
            fidelity: 0 decodes the codes only, 1 takes the input with its share of the residual.
            guidance: strength of the prior, 0 to 1; None takes the network's own.

        Raises:
            ValueError: ``fidelity`` or ``guidance`` out of range.
        """
        guidance = self.guidance if guidance is None else guidance
        check_share("fidelity", fidelity)
        check_share("guidance", guidance)
        posterior = self._posterior(self._pad(image), guidance)
        gate = no_harm_gate(posterior.score_px)
        candidates = self._draw(posterior)
        corrected = self._as_far_as(image, self._careful(posterior, candidates, fidelity), gate)
        return Correction(
            corrected=corrected,
            uncertainty=uncertainty_of(image, corrected, self._crop(candidates.codes_only, image).clamp(min=0)),
            motion_score_mm=posterior.score_px * spacing_mm,
            artifact_map=self._crop(self._surprise(posterior), image),
            gate=gate,
        )

    @torch.no_grad()
    def correct_knowing(self, image: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
        """What the correction of ``image`` would be if the codes of ``clean`` were known: the ceiling of guidance.

        Both and the result are (B, 1, *spatial).
        """
        posterior = self._posterior(self._pad(image), guidance=0.0)
        content = embeddings_of(self.true_codes(self._pad(clean)))
        fine = self.fidelity_branch.read_fine(posterior.coarse, content.coarse)
        known = self._careful(posterior, self._draw(posterior._replace(fine=fine, content=content)))
        return self._as_far_as(image, known, no_harm_gate(posterior.score_px))

    def reconstruct(self, moved: torch.Tensor, clean: torch.Tensor) -> Reconstruction:
        """First stage: code and decode pairs (2B, 1, *spatial), sizes multiples of 16; codebooks learn from it.

        Images 2k and 2k + 1 went through the same trajectory. One of the two is drawn with the motion codes of its
        twin, so that these can tell nothing of the anatomy: of even pairs the second, of odd pairs the first.

        Raises:
            ValueError: a size is no multiple of 16.
        """
        check_sizes(moved)
        content, motion = self.vqvae.encode_content(clean), self.vqvae.encode_motion(moved)
        embeddings, artifact = embeddings_of(content), embeddings_of(motion)
        places = rank() * len(moved) + torch.arange(len(moved), device=moved.device)
        swapped = places % 2 != places // 2 % 2
        lent = Embeddings(*(torch.where(self._per_image(swapped), twins_of(level), level) for level in artifact))
        return Reconstruction(
            clean=self.vqvae.decode(embeddings),
            moved=self.vqvae.decode(embeddings, lent),
            swapped=swapped,
            content=content,
            motion=motion,
            score_px=self.vqvae.motion_score_px(artifact),
        )

    def refine(self, moved: torch.Tensor, clean: torch.Tensor, guidance: float = 0.0) -> Refinement:
        """Second stage, codes frozen: read the clean codes off ``moved``, guided or not, and refine what they draw.

        Both images (B, 1, *spatial).

        Raises:
            ValueError: a size is no multiple of 16.
        """
        check_sizes(moved)
        posterior = self._posterior(moved, guidance)
        candidates = self._draw(posterior)
        true = self.true_codes(clean)
        return Refinement(
            refined=candidates.refined,
            codes_only=candidates.codes_only,
            log_probs=posterior.log_probs,
            indices=indices_of(true),
            content=posterior.content,
            true_content=embeddings_of(true),
            score_px=posterior.score_px,
        )

    @torch.no_grad()
    def read_codes(self, moved: torch.Tensor, clean: torch.Tensor) -> Reading:
        """Third stage: true clean codes, evidence of the moved image, and the motion condition for the prior.

        Both images (B, 1, *spatial).

        Raises:
            ValueError: a size is no multiple of 16.
        """
        check_sizes(moved)
        motion = embeddings_of(self.vqvae.encode_motion(moved))
        posterior = self._unguided(moved, motion)
        condition = self._prior_condition(motion, posterior.score_px)
        return Reading(self.vqvae.content_indices(clean), posterior.log_probs, condition, posterior.score_px)

    @torch.no_grad()
    def true_codes(self, clean: torch.Tensor) -> ContentCodes:
        """Content codes of clean images (B, 1, *spatial), sizes multiples of 16."""
        return self.vqvae.encode_content(clean)

    @torch.no_grad()
    def draw_codes(self, clean: torch.Tensor) -> Drawing:
        """Code a clean image (B, 1, *spatial) and draw it from its content codes alone: the ceiling of all codes."""
        content = self.vqvae.encode_content(self._pad(clean))
        return Drawing(self._crop(self.vqvae.decode(embeddings_of(content)).float(), clean), content)

    def freeze(self, *names: str) -> MotionCorrector:
        """Fix the parts ``names`` for good: no gradients, and their codebooks rest in training mode too.

        Raises:
            AttributeError: there is no such part.
        """
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
        unguided = self._unguided(padded, motion)
        if guidance == 0:
            return unguided
        condition = self._prior_condition(motion, unguided.score_px)
        strength = guidance * no_harm_gate(unguided.score_px)
        return self._believe(unguided, guide(self.prior, unguided.log_probs, condition, strength))

    def _unguided(self, padded: torch.Tensor, motion: Embeddings) -> Posterior:
        """Belief over the clean codes from the image alone: the evidence."""
        coarse = self.fidelity_branch.read_coarse(padded, on_eighth_grid(motion))
        coarse_log_probs = log_probabilities(coarse.logits)
        coarse_content = self.vqvae.expect_coarse(coarse_log_probs.exp())
        fine = self.fidelity_branch.read_fine(coarse, coarse_content)
        log_probs = LevelLogProbs(coarse_log_probs, log_probabilities(fine.logits))
        content = Embeddings(coarse_content, self._fine_content(log_probs, fine))
        score_px = self.fidelity_branch.motion_score_px(coarse, fine)
        return Posterior(padded, coarse, fine, log_probs, content, score_px)

    def _believe(self, posterior: Posterior, log_probs: LevelLogProbs) -> Posterior:
        """The same image under another belief over its clean codes."""
        coarse_content = self.vqvae.expect_coarse(log_probs.coarse.exp())
        fine = self.fidelity_branch.read_fine(posterior.coarse, coarse_content)
        content = Embeddings(coarse_content, self._fine_content(log_probs, fine))
        return posterior._replace(fine=fine, log_probs=log_probs, content=content)

    def _fine_content(self, log_probs: LevelLogProbs, fine: FineFeatures) -> torch.Tensor:
        """Posterior-mean fine embedding, better than the most likely code by .5 dB and more: (B, C, *1/4)."""
        return self.vqvae.expect_fine(log_probs.fine.exp()) + fine.detail.float()

    def _draw(self, posterior: Posterior) -> Candidates:
        """The refined image and the codes-only image, padded."""
        codes_only = self.vqvae.decode(posterior.content)
        refined = self.fidelity_branch.refine(
            posterior.image, posterior.coarse, posterior.fine, posterior.content.fine, codes_only
        )
        return Candidates(refined.float(), codes_only.float())

    def _careful(self, posterior: Posterior, candidates: Candidates, fidelity: float = 1.0) -> torch.Tensor:
        """From the codes-only image (fidelity 0) to the image with its share of the residual (1), padded."""
        detailed = torch.lerp(posterior.image.float(), candidates.refined, RESIDUAL_SHARE)
        return torch.lerp(candidates.codes_only, detailed, fidelity)

    def _as_far_as(self, image: torch.Tensor, result: torch.Tensor, gate: torch.Tensor) -> torch.Tensor:
        """From ``image`` to the padded ``result``, a magnitude too, as far as the gate (B,) is open."""
        magnitude = self._crop(result, image).clamp(min=0).to(image.dtype)
        return torch.lerp(image, magnitude, self._per_image(gate).to(image.dtype))

    def _surprise(self, posterior: Posterior) -> torch.Tensor:
        """Mean over both levels of the NLL (nats) of the image's own codes, (B, 1, *spatial)."""
        own = self.vqvae.content_indices(posterior.image)
        coarse = -posterior.log_probs.coarse.gather(1, own.coarse.unsqueeze(1))
        fine = -posterior.log_probs.fine.gather(1, own.fine.unsqueeze(1))
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
