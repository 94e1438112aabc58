"""Training steps: they learn what they should, leave the rest alone, and stop at a loss that is NaN."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from ignite.engine import Events
from monai.engines import SupervisedTrainer
from monai.transforms import Compose, RandGaussianNoised, RandScaleIntensityd
from torch import nn

from mocodis_monai.data.records import phantom_records
from mocodis_monai.engines import (
    MAX_GRADIENT_NORM,
    CorrectorStep,
    FixedDataset,
    PriorStep,
    prepare_pair,
    prepare_validation,
    random_window,
)
from mocodis_monai.losses import CorrectionLoss, prior_nats
from mocodis_monai.networks import LevelIndices, LevelLogits, MotionCorrector
from mocodis_monai.transforms import LoadSourced, RandKSpaceMotiond


@pytest.fixture
def batch(image_pair) -> dict[str, torch.Tensor]:
    return {
        "image": image_pair.moved,
        "target": image_pair.clean,
        "displacement_px": torch.tensor([2.0, 3.0], dtype=torch.float64),
    }


def state_of(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def trainer_of(
    network: MotionCorrector, step, loss, batches, learning_rate: float = 2e-3
) -> SupervisedTrainer:
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    return SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=1,
        train_data_loader=batches,
        network=network,
        optimizer=torch.optim.Adam(weights, lr=learning_rate),
        loss_function=loss,
        iteration_update=step,
        decollate=False,
    )


def losses_of(trainer: SupervisedTrainer) -> list[float]:
    losses = []
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED, lambda engine: losses.append(engine.state.output["loss"].item())
    )
    trainer.run()
    return losses


def test_the_corrector_learns_a_batch(small_corrector, batch, image_pair):
    torch.manual_seed(0)
    network = small_corrector(awake=False)
    trainer = trainer_of(network, CorrectorStep(), CorrectionLoss(), [batch] * 30)
    losses = losses_of(trainer)
    assert losses[-1] < 0.7 * losses[0]
    output = trainer.state.output
    assert torch.equal(output["image"], image_pair.moved) and torch.equal(output["label"], image_pair.clean)
    assert output["pred"].shape == image_pair.clean.shape and not output["pred"].requires_grad


def test_the_log_of_a_step_names_the_parts_of_the_loss_and_every_codebook(small_corrector, batch):
    trainer = trainer_of(small_corrector(), CorrectorStep(), CorrectionLoss(), [batch])
    trainer.run()
    terms = trainer.state.output["terms"]
    assert all(isinstance(value, float) and np.isfinite(value) for value in terms.values())
    assert {"refined", "ssim", "codes_only", "commitment", "consistency", "score"} <= set(terms)
    for kind, sizes in (("content", (12, 20)), ("motion", (8, 10))):
        for level, size in zip(("coarse", "fine"), sizes, strict=True):
            assert 1 <= terms[f"perplexity_{kind}_{level}"] <= size
            assert 0 <= terms[f"usage_{kind}_{level}"] <= 1


def test_the_prior_learns_and_nothing_else_moves(small_corrector, batch):
    torch.manual_seed(0)
    network = small_corrector(awake=False).freeze_codes()
    before = state_of(network)
    trainer = trainer_of(network, PriorStep(drop_evidence=0.5), prior_nats, [batch] * 30)
    losses = losses_of(trainer)
    assert np.mean(losses[-5:]) < np.mean(losses[:5])
    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert changed and all(name.startswith("prior.") for name in changed)
    assert set(trainer.state.output["terms"]) == {"nats_coarse", "nats_fine", "nats_evidence"}


def test_a_new_prior_that_sees_the_evidence_pays_what_the_evidence_pays(small_corrector, batch):
    network = small_corrector(awake=False).freeze_codes()
    trainer = trainer_of(network, PriorStep(drop_evidence=0.0), prior_nats, [batch], learning_rate=0.0)
    (loss,) = losses_of(trainer)
    assert loss == pytest.approx(trainer.state.output["terms"]["nats_evidence"], rel=1e-3)


def test_codes_are_replaced_only_where_the_evidence_is_seen():
    truth = LevelIndices(torch.zeros(2, 8, 8, dtype=torch.int64), torch.zeros(2, 16, 16, dtype=torch.int64))
    # The evidence is sure of code 3, so that each replaced code shows.
    evidence = LevelLogits(torch.zeros(2, 5, 8, 8), torch.zeros(2, 7, 16, 16))
    for level in evidence:
        level[:, 3] = 100
    torch.manual_seed(0)
    previous = PriorStep(replace_codes=1.0)._perturb(truth, evidence, torch.tensor([False, True]))
    for level in previous:
        assert not level[0].any()
        assert set(level[1].unique().tolist()) == {0, 3}
    untouched = PriorStep(replace_codes=0.0)._perturb(truth, evidence, torch.tensor([True, True]))
    assert not any(level.any() for level in untouched)


def test_a_random_window_is_at_the_same_place_on_all_grids():
    rows = torch.arange(12).reshape(1, 12, 1).expand(2, 12, 9)
    fine_rows = rows.repeat_interleave(2, 1).repeat_interleave(2, 2)
    indices = LevelIndices(rows, fine_rows)
    evidence = LevelLogits(rows.unsqueeze(1).float(), fine_rows.unsqueeze(1).float())
    for _ in range(10):
        codes, seen = random_window(8, indices, evidence)
        assert codes.coarse.shape == (2, 8, 8) and codes.fine.shape == (2, 16, 16)
        first = codes.coarse[0, 0, 0].item()
        assert codes.coarse[0, :, 0].tolist() == list(range(first, first + 8))
        assert codes.fine[0, ::2, 0].tolist() == codes.coarse[0, :, 0].tolist()
        assert torch.equal(seen.coarse[:, 0].long(), codes.coarse)
        assert torch.equal(seen.fine[:, 0].long(), codes.fine)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_training_and_leaves_the_weights(small_corrector, batch, bad):
    network = small_corrector()
    before = {name: weight.detach().clone() for name, weight in network.named_parameters()}
    batch["displacement_px"][0] = bad
    trainer = trainer_of(network, CorrectorStep(), CorrectionLoss(), [batch])
    with pytest.raises(FloatingPointError, match="at iteration 1; it must be finite. Lower the learning rate"):
        trainer.run()
    assert all(torch.equal(weight, before[name]) for name, weight in network.named_parameters())


def test_gradients_are_clipped(small_corrector, batch):
    network = small_corrector()
    trainer = trainer_of(network, CorrectorStep(), CorrectionLoss(decode_weight=1e4), [batch])
    trainer.run()
    norm = torch.stack([w.grad.norm() for w in network.parameters() if w.grad is not None]).norm()
    assert norm <= MAX_GRADIENT_NORM * 1.001


def test_batches_are_taken_apart_by_name(batch):
    pair = prepare_pair(batch, torch.device("cpu"))
    assert torch.equal(pair.moved, batch["image"]) and torch.equal(pair.clean, batch["target"])
    assert pair.displacement_px.dtype == torch.float32 and pair.displacement_px.tolist() == [2, 3]
    image, target = prepare_validation(batch, "cpu")
    assert torch.equal(image, batch["image"]) and torch.equal(target, batch["target"])


def motion_pipeline() -> Compose:
    return Compose(
        [
            LoadSourced("image"),
            RandScaleIntensityd("image", factors=0.5, prob=1.0),
            RandKSpaceMotiond("image", target_keys="target", prob=1.0, displacement_mm=(1.0, 5.0)),
            RandGaussianNoised("image", prob=0.5),
        ]
    )


def test_a_fixed_dataset_is_the_same_for_the_same_seed_and_in_every_epoch():
    records = phantom_records(4, size=(32, 32))
    first, again = (FixedDataset(records, motion_pipeline(), seed=3) for _ in range(2))
    other = FixedDataset(records, motion_pipeline(), seed=4)
    assert len(first) == 4
    for index in range(4):
        assert torch.equal(first[index]["image"], first[index]["image"])
        assert torch.equal(first[index]["image"], again[index]["image"])
        assert torch.equal(first[index]["target"], again[index]["target"])
        assert not torch.equal(first[index]["image"], other[index]["image"])


def test_a_fixed_dataset_leaves_the_global_generators_alone():
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    FixedDataset(phantom_records(2, size=(32, 32)), motion_pipeline())
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002
    assert random.getstate() == before[2]
