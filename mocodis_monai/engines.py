"""Training steps for MONAI's ``SupervisedTrainer``."""

from __future__ import annotations

import logging
from enum import Enum
from typing import Any, NamedTuple

import torch
from monai.engines import SupervisedTrainer
from monai.utils.enums import CommonKeys as Keys
from torch.nn import functional as F

from mocodis_monai.distributed import mean_of_numbers, mean_over_processes
from mocodis_monai.errors import InputError
from mocodis_monai.losses import CodesLoss, CodesTerms, CorrectionTerms, PriorTerms, prior_nats
from mocodis_monai.networks import LevelIndices, LevelLogProbs, LevelMasks, VectorQuantizer
from mocodis_monai.networks.guidance import cut
from mocodis_monai.networks.prior import FINE_PER_COARSE
from mocodis_monai.parallel import bare, call
from mocodis_monai.precision import mixed_precision

DISPLACEMENTS = ("displacement_px", "partner_displacement_px")
MAX_GRADIENT_NORM = 1.0
"""Gradients are clipped to this norm; without it a rare bright sample throws the codebooks off."""


class _Stage(Enum):
    """What an iteration of :class:`CorrectorStep` trains."""

    CODES = "codes"
    CORRECTION = "correction"


class Pair(NamedTuple):
    """Moved and clean image, (B, 1, H, W) each, and the displacement score in pixels, (B,)."""

    moved: torch.Tensor
    clean: torch.Tensor
    displacement_px: torch.Tensor


def prepare_twins(batch: dict[str, Any], device: torch.device) -> Pair:
    """Both anatomies of each sample as one batch on the device, images in channels-last memory.

    Images 2k and 2k + 1 went through the same trajectory; so a share of the samples is a block of the batch.
    """
    moved, clean, displacement_px = (
        torch.stack([torch.as_tensor(batch[key]) for key in keys], 1).flatten(0, 1).to(device, torch.float32)
        for keys in ((Keys.IMAGE, "partner"), ("target", "partner_target"), DISPLACEMENTS)
    )
    moved, clean = (images.contiguous(memory_format=torch.channels_last) for images in (moved, clean))
    return Pair(moved, clean, displacement_px.flatten())


def prepare_validation(
    batch: dict[str, Any], device: torch.device | str, non_blocking: bool = False, **kwargs: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    """``prepare_batch`` of a ``SupervisedEvaluator``: image and target on the device."""
    return tuple(batch[key].to(device=device, non_blocking=non_blocking, **kwargs) for key in (Keys.IMAGE, "target"))


class CorrectorStep:
    """One optimiser step, codes first, correction after: ``iteration_update`` of a ``SupervisedTrainer``.

    The VQ-VAE trains for ``codes_iterations`` and is then frozen, and the fidelity branch trains on codes that stand
    still. Trained all at once, the branch chases codes that keep
    changing their meaning: after 450 steps of batch 4 at 160 x 160 its image was worse than its input (mean absolute
    error .070 against .062).

    Args:
        codes_iterations: iterations of the first stage.
        guidance: strength of the prior in the second stage; above zero the prior learns along, from the image too.
        codes_loss: loss of the first stage; the engine's ``loss_function`` is that of the second.
    """

    def __init__(
        self, codes_iterations: int, guidance: float = 0.0, codes_loss: CodesLoss | None = None
    ) -> None:
        self.codes_iterations, self.guidance = codes_iterations, guidance
        self.codes_loss = CodesLoss() if codes_loss is None else codes_loss
        self._stage: _Stage | None = None

    def __call__(self, engine: SupervisedTrainer, batch: dict[str, Any]) -> dict[str, Any]:
        """Run the step on a batch of twins: image, target, displacement_px; partner, partner_target and so on.

        Raises:
            InputError: the codes are to be trained and are in no optimiser, or the branch is, on codes that never were.
            FloatingPointError: the loss is not finite; the optimiser has not stepped.
            RuntimeError: a gradient is not finite; likewise.
        """
        pair = prepare_twins(batch, engine.state.device)
        stage = _Stage.CODES if engine.state.iteration <= self.codes_iterations else _Stage.CORRECTION
        if stage is not self._stage:
            self._check_start(engine, stage)
            self._stage = stage
        return self._learn_codes(engine, pair) if stage is _Stage.CODES else self._learn_correction(engine, pair)

    def _check_start(self, engine: SupervisedTrainer, stage: _Stage) -> None:
        """Refuse a stage that could not learn; say so if the other one will never come."""
        network, state = bare(engine.network), engine.state
        if stage is _Stage.CORRECTION:
            if not all(book.initialized for book in network.modules() if isinstance(book, VectorQuantizer)):
                raise InputError(
                    f"codes_iterations is {self.codes_iterations}, and the codes were never trained: the branch would "
                    "learn from noise. Give --initial_weights, or more --codes_iterations."
                )
            return
        trained = {weight for group in engine.optimizer.param_groups for weight in group["params"]}
        if trained.isdisjoint(network.vqvae.parameters()):
            raise InputError(
                f"codes_iterations is {self.codes_iterations}, but the optimizer of this config does not hold the "
                "codes. Set --codes_iterations 0."
            )
        iterations = (state.max_epochs or 0) * (state.epoch_length or 0)
        if iterations <= self.codes_iterations:
            logging.getLogger(__name__).warning(
                "codes_iterations is %s: all %s iterations go to the codes, the fidelity branch is left as it is",
                self.codes_iterations, iterations,
            )

    def _learn_codes(self, engine: SupervisedTrainer, pair: Pair) -> dict[str, Any]:
        bare(engine.network).train()
        with mixed_precision(engine.state.device):
            output = call(engine.network, "reconstruct", pair.moved, pair.clean)
        terms = self.codes_loss(output, *pair)
        descend(engine, terms.total)
        logged = _parts(terms)
        for kind, codes in (("content", output.content), ("motion", output.motion)):
            for level, codebook in codes.codebooks().items():
                logged[f"perplexity_{kind}_{level}"] = codebook.perplexity.item()
                logged[f"usage_{kind}_{level}"] = codebook.usage.item()
        return _output(pair, terms.total, output.clean, logged)

    def _learn_correction(self, engine: SupervisedTrainer, pair: Pair) -> dict[str, Any]:
        bare(engine.network).freeze("vqvae").train()
        with mixed_precision(engine.state.device):
            output = call(engine.network, "refine", pair.moved, pair.clean, self.guidance)
        terms = engine.loss_function(output, *pair)
        descend(engine, terms.total)
        errors = {"corrected": output.refined.detach(), "uncorrected": pair.moved}
        logged = {name: F.l1_loss(image, pair.clean).item() for name, image in errors.items()} | _parts(terms)
        return _output(pair, terms.total, output.refined, logged)


def _parts(terms: CodesTerms | CorrectionTerms | PriorTerms) -> dict[str, float]:
    """The parts of a loss by name, as numbers."""
    return {name: value.item() for name, value in terms._asdict().items() if name != "total"}


def _output(pair: Pair, loss: torch.Tensor, prediction: torch.Tensor, terms: dict[str, float]) -> dict[str, Any]:
    """What an iteration leaves in ``engine.state.output``: images of this process, numbers of all."""
    return {
        Keys.LOSS: mean_over_processes(loss.detach()),
        Keys.IMAGE: pair.moved,
        Keys.LABEL: pair.clean,
        Keys.PRED: prediction.detach(),
        "terms": mean_of_numbers(terms, loss.device),
    }


class PriorStep:
    """One optimiser step on the prior, everything else frozen: ``iteration_update`` of a ``SupervisedTrainer``.

    Random windows of the token grid; the evidence is dropped for a share of the samples, so that the same weights
    give the unconditional prior; previous codes are partly not the true ones, so that the prior is robust to its own
    mistakes: half of the samples are told codes drawn from the evidence there, the others its mean, as in guidance.

    Args:
        drop_evidence: share of samples that do not see the evidence.
        replace_codes: largest share of previous codes that are not the true ones.
    """

    def __init__(self, drop_evidence: float = 0.15, replace_codes: float = 0.7) -> None:
        self.drop_evidence, self.replace_codes = drop_evidence, replace_codes

    def __call__(self, engine: SupervisedTrainer, batch: dict[str, Any]) -> dict[str, Any]:
        """Run the step on a batch of twins: image, target, displacement_px; partner, partner_target and so on.

        Raises:
            FloatingPointError: the loss is not finite; the optimiser has not stepped.
            RuntimeError: a gradient is not finite; likewise.
        """
        pair = prepare_twins(batch, engine.state.device)
        network = bare(engine.network).freeze("vqvae", "fidelity_branch").train()
        with mixed_precision(engine.state.device):
            read = network.read_codes(pair.moved, pair.clean)
            condition = read.condition
            indices, evidence = random_window(network.prior.coarse_window, read.indices, read.evidence)
            keep = torch.rand(len(condition), device=condition.device) >= self.drop_evidence
            previous, unsure = self._perturb(indices, evidence, keep)
            logits = call(engine.network, "prior", previous, evidence, condition, keep, unsure)
        terms: PriorTerms = engine.loss_function(logits, indices)
        descend(engine, terms.total)
        logged = {**_parts(terms), "evidence": prior_nats(evidence, indices).total.item()}
        return _output(pair, terms.total, pair.clean, {f"nats_{name}": value for name, value in logged.items()})

    def _perturb(
        self, indices: LevelIndices, evidence: LevelLogProbs, keep: torch.Tensor
    ) -> tuple[LevelIndices, LevelMasks]:
        """Draw a random share of the codes from the evidence, or mark them as unsure, where it is seen."""
        share = self.replace_codes * torch.rand(len(keep), device=keep.device) * keep
        drawn = torch.rand(len(keep), device=keep.device) < 0.5
        levels, masks = [], []
        for truth, log_probs in zip(indices, evidence, strict=True):
            per_image = (-1, *(1,) * (truth.ndim - 1))
            gumbel = -(-torch.rand_like(log_probs).clamp(min=1e-20).log()).log()
            swap = torch.rand(truth.shape, device=truth.device) < share.reshape(per_image)
            levels.append(torch.where(swap & drawn.reshape(per_image), (log_probs + gumbel).argmax(1), truth))
            masks.append(swap & ~drawn.reshape(per_image))
        return LevelIndices(*levels), LevelMasks(*masks)


def random_window(
    window: int, indices: LevelIndices, evidence: LevelLogProbs
) -> tuple[LevelIndices, LevelLogProbs]:
    """The same random window of codes and evidence, one place for the whole batch.

    Args:
        window: coarse sites along each axis.
        indices: (B, *coarse) and (B, *fine), the fine grid twice as fine.
        evidence: (B, codes, *coarse) and (B, codes, *fine).

    Raises:
        ValueError: an axis of the coarse grid is shorter than the window.
    """
    grid = indices.coarse.shape[1:]
    if min(grid) < window:
        raise ValueError(
            f"the images have {tuple(grid)} coarse sites, eight pixels each; the prior needs {window} along each axis. "
            f"Set image_size to {8 * window} or more."
        )
    corner = tuple(int(torch.randint(size - window + 1, ())) for size in grid)
    coarse, fine = (
        cut(level.unsqueeze(1), [corner], window, factor).squeeze(1)
        for level, factor in zip(indices, (1, FINE_PER_COARSE), strict=True)
    )
    local = (cut(level, [corner], window, factor) for level, factor in zip(evidence, (1, FINE_PER_COARSE), strict=True))
    return LevelIndices(coarse, fine), LevelLogProbs(*local)


def descend(engine: SupervisedTrainer, loss: torch.Tensor) -> None:
    """One optimiser step: clear gradients, go back, clip, step.

    Raises:
        FloatingPointError: the loss is not finite; the parameters are left as they were (codebooks and batch statistics
            have moved with the forward pass).
        RuntimeError: a gradient is not finite; likewise.
    """
    if not torch.isfinite(loss):
        raise FloatingPointError(
            f"loss is {loss.item()} at iteration {engine.state.iteration}; it must be finite. Lower the learning rate, "
            "or look for NaN in the images."
        )
    engine.network.zero_grad(set_to_none=True)  # of weights that are in no optimiser too: they would count in the clip
    loss.backward()
    trained = [weight for weight in engine.network.parameters() if weight.grad is not None]
    torch.nn.utils.clip_grad_norm_(trained, MAX_GRADIENT_NORM, error_if_nonfinite=True)
    engine.optimizer.step()
