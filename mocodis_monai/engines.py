"""Training steps for MONAI's ``SupervisedTrainer``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from monai.data import Dataset
from monai.engines import SupervisedTrainer
from monai.transforms import Compose
from monai.utils.enums import CommonKeys as Keys

from mocodis_monai.losses import CorrectionTerms, PriorTerms, prior_nats
from mocodis_monai.networks import LevelIndices, LevelLogits
from mocodis_monai.networks.guidance import cut
from mocodis_monai.networks.prior import FINE_PER_COARSE
from mocodis_monai.precision import mixed_precision

MAX_GRADIENT_NORM = 1.0
"""Gradients are clipped to this norm; without it a rare bright sample throws the codebooks off."""


class Pair(NamedTuple):
    """Moved and clean image, (B, 1, *spatial) each, and the displacement score in pixels, (B,)."""

    moved: torch.Tensor
    clean: torch.Tensor
    displacement_px: torch.Tensor


def prepare_pair(batch: dict[str, Any], device: torch.device) -> Pair:
    """Take image, target and displacement out of a batch and onto the device, images in channels-last memory."""
    images = (
        torch.as_tensor(batch[key]).to(device, memory_format=torch.channels_last) for key in (Keys.IMAGE, "target")
    )
    return Pair(*images, torch.as_tensor(batch["displacement_px"]).float().to(device).flatten())


class FixedDataset(Dataset):
    """Records transformed once, random transforms included, from a seed: the same samples in every epoch.

    MONAI's ``CacheDataset`` draws the random transforms anew each time.

    Args:
        data: records.
        transform: a ``Compose``.
        seed: of the random transforms.
    """

    def __init__(self, data: Sequence[Any], transform: Compose, seed: int = 0) -> None:
        transform.set_random_state(seed)
        super().__init__([transform(record) for record in data])


def prepare_validation(
    batch: dict[str, Any], device: torch.device | str, non_blocking: bool = False, **kwargs: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    """``prepare_batch`` of a ``SupervisedEvaluator``: image and target on the device."""
    return tuple(batch[key].to(device=device, non_blocking=non_blocking, **kwargs) for key in (Keys.IMAGE, "target"))


class CorrectorStep:
    """One optimiser step on the VQ-VAE and the fidelity branch: ``iteration_update`` of a ``SupervisedTrainer``.

    The engine's ``loss_function`` is a :class:`mocodis_monai.losses.CorrectionLoss`. The output holds the loss, the
    images and ``terms``: the parts of the loss and the state of the codebooks by name.
    """

    def __call__(self, engine: SupervisedTrainer, batch: dict[str, Any]) -> dict[str, Any]:
        """Run the step on a batch with keys image, target and displacement_px."""
        pair = prepare_pair(batch, engine.state.device)
        engine.network.train()
        with mixed_precision(engine.state.device):
            output = engine.network.training_pass(pair.moved, pair.clean)
        terms: CorrectionTerms = engine.loss_function(output, pair.moved, pair.clean, pair.displacement_px)
        _descend(engine, terms.total)
        logged = {name: value.item() for name, value in terms._asdict().items() if name != "total"}
        for kind, codes in (("content", output.content), ("motion", output.motion)):
            for level, codebook in codes._asdict().items():
                logged[f"perplexity_{kind}_{level}"] = codebook.perplexity.item()
                logged[f"usage_{kind}_{level}"] = codebook.usage.item()
        return {
            Keys.LOSS: terms.total.detach(),
            Keys.IMAGE: pair.moved,
            Keys.LABEL: pair.clean,
            Keys.PRED: output.refined.detach(),
            "terms": logged,
        }


class PriorStep:
    """One optimiser step on the prior, everything else frozen: ``iteration_update`` of a ``SupervisedTrainer``.

    Random windows of the token grid; the evidence is dropped for a share of the samples, so that the same weights
    give the unconditional prior; previous codes are drawn partly from the evidence, so that the prior is robust to
    its own mistakes.

    Args:
        drop_evidence: share of samples that do not see the evidence.
        replace_codes: largest share of previous codes drawn from the evidence instead of the truth.
    """

    def __init__(self, drop_evidence: float = 0.15, replace_codes: float = 0.7) -> None:
        self.drop_evidence, self.replace_codes = drop_evidence, replace_codes

    def __call__(self, engine: SupervisedTrainer, batch: dict[str, Any]) -> dict[str, Any]:
        """Run the step on a batch with keys image, target and displacement_px."""
        pair = prepare_pair(batch, engine.state.device)
        network = engine.network
        network.train()
        with mixed_precision(engine.state.device):
            indices, evidence, condition = network.read_codes(pair.moved, pair.clean)
            indices, evidence = random_window(network.prior.coarse_window, indices, evidence)
            keep = torch.rand(len(condition), device=condition.device) >= self.drop_evidence
            previous = self._perturb(indices, evidence, keep)
            logits = network.prior(previous, evidence, condition, keep)
        terms: PriorTerms = engine.loss_function(logits, indices)
        _descend(engine, terms.total)
        read = prior_nats(evidence, indices)
        logged = {
            "nats_coarse": terms.coarse.item(),
            "nats_fine": terms.fine.item(),
            "nats_evidence": read.total.item(),
        }
        return {Keys.LOSS: terms.total.detach(), Keys.IMAGE: pair.moved, Keys.LABEL: pair.clean, "terms": logged}

    def _perturb(self, indices: LevelIndices, evidence: LevelLogits, keep: torch.Tensor) -> LevelIndices:
        """Replace a random share of the codes by samples of the evidence, where it is seen."""
        share = self.replace_codes * torch.rand(len(keep), device=keep.device) * keep
        levels = []
        for truth, logits in zip(indices, evidence, strict=True):
            gumbel = -(-torch.rand_like(logits).clamp(min=1e-20).log()).log()
            drawn = (logits + gumbel).argmax(1)
            swap = torch.rand(truth.shape, device=truth.device) < share.reshape(-1, *(1,) * (truth.ndim - 1))
            levels.append(torch.where(swap, drawn, truth))
        return LevelIndices(*levels)


def random_window(window: int, indices: LevelIndices, evidence: LevelLogits) -> tuple[LevelIndices, LevelLogits]:
    """The same random window of codes and evidence, one place for the whole batch."""
    grid = indices.coarse.shape[1:]
    corner = tuple(int(torch.randint(size - window + 1, ())) for size in grid)
    coarse, fine = (
        cut(level.unsqueeze(1), [corner], window, factor).squeeze(1)
        for level, factor in zip(indices, (1, FINE_PER_COARSE), strict=True)
    )
    local = (cut(level, [corner], window, factor) for level, factor in zip(evidence, (1, FINE_PER_COARSE), strict=True))
    return LevelIndices(coarse, fine), LevelLogits(*local)


def _descend(engine: SupervisedTrainer, loss: torch.Tensor) -> None:
    """Clear gradients, go back, clip, step.

    Raises:
        FloatingPointError: the loss is not finite; the parameters are left as they were.
        RuntimeError: a gradient is not finite; likewise.
    """
    if not torch.isfinite(loss):
        raise FloatingPointError(
            f"loss is {loss.item()} at iteration {engine.state.iteration}; it must be finite. Lower the learning rate."
        )
    engine.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    trained = [weight for group in engine.optimizer.param_groups for weight in group["params"]]
    torch.nn.utils.clip_grad_norm_(trained, MAX_GRADIENT_NORM, error_if_nonfinite=True)
    engine.optimizer.step()
