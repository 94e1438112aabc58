"""Training steps: they learn what they should, leave the rest alone, and stop at a loss that is NaN."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from ignite.engine import Events
from monai.engines import SupervisedTrainer
from torch import nn

from mocodis_monai.engines import (
    MAX_GRADIENT_NORM,
    CorrectorStep,
    PriorStep,
    prepare_twins,
    prepare_validation,
    random_window,
)
from mocodis_monai.errors import InputError
from mocodis_monai.losses import CodesLoss, CorrectionLoss, prior_nats
from mocodis_monai.networks import LevelIndices, LevelLogits, MotionCorrector


@pytest.fixture
def batch(image_pair) -> dict[str, torch.Tensor]:
    return {
        "image": image_pair.moved[:1],
        "target": image_pair.clean[:1],
        "displacement_px": torch.tensor([2.0], dtype=torch.float64),
        "partner": image_pair.moved[1:],
        "partner_target": image_pair.clean[1:],
        "partner_displacement_px": torch.tensor([3.0]),
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


def watch(trainer: SupervisedTrainer) -> list[dict[str, torch.Tensor]]:
    """The network's state before the first iteration and after each, filled as the trainer runs."""
    states = [state_of(trainer.network)]
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: states.append(state_of(engine.network)))
    return states


def changed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    """Names of the parameters and buffers that are not the same bit for bit."""
    return {name for name in after if not torch.equal(before[name], after[name])}


def parts(names: set[str]) -> set[str]:
    """The networks that the names belong to."""
    return {name.partition(".")[0] for name in names}


def test_the_codes_learn_a_batch(small_corrector, batch, image_pair):
    torch.manual_seed(0)
    network = small_corrector(awake=False)
    trainer = trainer_of(network, CorrectorStep(codes_iterations=30), CorrectionLoss(), [batch] * 30)
    losses = losses_of(trainer)
    assert losses[-1] < 0.7 * losses[0]
    output = trainer.state.output
    assert torch.equal(output["image"], image_pair.moved) and torch.equal(output["label"], image_pair.clean)
    assert output["pred"].shape == image_pair.clean.shape and not output["pred"].requires_grad


def test_after_both_stages_the_image_is_nearer_to_the_clean_one(small_corrector, batch, image_pair):
    torch.manual_seed(0)
    network = small_corrector(awake=False)
    trainer = trainer_of(network, CorrectorStep(codes_iterations=30), CorrectionLoss(), [batch] * 110)
    trainer.run()
    output = trainer.state.output
    off = (image_pair.moved - image_pair.clean).abs().mean().item()
    assert output["terms"]["uncorrected"] == pytest.approx(off)
    assert output["terms"]["corrected"] < 0.85 * off
    torch.testing.assert_close((output["pred"] - image_pair.clean).abs().mean().item(), output["terms"]["corrected"])
    assert output["pred"].shape == image_pair.clean.shape and not output["pred"].requires_grad


def test_a_branch_on_codes_that_were_never_trained_is_refused(small_corrector, batch):
    network = small_corrector(awake=False)
    before = state_of(network)
    with pytest.raises(InputError, match=r"codes_iterations is 0, and the codes were never trained.*initial_weights"):
        trainer_of(network, CorrectorStep(0), CorrectionLoss(), [batch]).run()
    assert not changed(before, state_of(network))


def test_codes_that_are_in_no_optimiser_are_not_trained_by_half(small_corrector, batch):
    network = small_corrector()
    trainer = trainer_of(network, CorrectorStep(1), CorrectionLoss(), [batch])
    trainer.optimizer = torch.optim.SGD(network.fidelity_branch.parameters(), lr=0.1)
    before = state_of(network)
    with pytest.raises(InputError, match=r"does not hold the codes\. Set --codes_iterations 0"):
        trainer.run()
    assert not changed(before, state_of(network))


@pytest.mark.parametrize(("codes_iterations", "said"), [(2, True), (1, False)])
def test_a_training_that_never_comes_to_the_branch_says_so(small_corrector, batch, caplog, codes_iterations, said):
    trainer_of(small_corrector(), CorrectorStep(codes_iterations), CorrectionLoss(), [batch] * 2).run()
    assert ("all 2 iterations go to the codes" in caplog.text) == said


@pytest.mark.parametrize("codes_iterations", [0, 1, 3, 5])
def test_the_codes_stop_and_the_correction_starts_after_as_many_iterations_as_said(
    small_corrector, batch, codes_iterations
):
    trainer = trainer_of(small_corrector(), CorrectorStep(codes_iterations), CorrectionLoss(), [batch] * 5)
    states = watch(trainer)
    trainer.run()
    assert len(states) == 6
    for iteration, (before, after) in enumerate(pairwise(states), start=1):
        expected = {"vqvae"} if iteration <= codes_iterations else {"fidelity_branch"}
        assert parts(changed(before, after)) == expected, iteration


@pytest.mark.parametrize(("first", "stage"), [(True, {"vqvae"}), (False, {"fidelity_branch"})])
def test_weight_decay_and_momentum_touch_only_the_stage_that_trains(small_corrector, batch, first, stage):
    network = small_corrector()
    trainer = trainer_of(network, CorrectorStep(3), CorrectionLoss(), [batch] * 6)
    # All parameters in one optimiser, as in train.yaml; a decay this strong shows on each weight it reaches.
    trainer.optimizer = torch.optim.AdamW(network.parameters(), 1e-3, weight_decay=10.0)
    states = watch(trainer)
    trainer.run()
    names = changed(*((states[0], states[3]) if first else (states[3], states[6])))
    assert parts(names) == stage
    # Of the parameters of the stage each one learns.
    assert {name for name, _ in network.named_parameters() if parts({name}) <= stage} <= names


def test_codebooks_stand_still_though_the_network_is_put_into_training_mode(small_corrector, batch):
    network = small_corrector()
    trainer = trainer_of(network, CorrectorStep(1), CorrectionLoss(), [batch] * 4)
    states = watch(trainer)
    # What a validation between two epochs does.
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: engine.network.eval())
    trainer.add_event_handler(Events.ITERATION_STARTED, lambda engine: engine.network.train())
    trainer.run()
    assert {"codebook", "running_mean"} <= {name.rpartition(".")[2] for name in changed(states[0], states[1])}
    assert parts(changed(states[1], states[4])) == {"fidelity_branch"}
    assert not any(module.training for module in network.vqvae.modules())


def test_a_training_that_goes_on_after_the_codes_does_not_touch_them(small_corrector, batch):
    # A new process: nothing is frozen yet, and the iteration comes from the checkpoint.
    trainer = trainer_of(small_corrector(), CorrectorStep(2), CorrectionLoss(), [batch] * 2)
    trainer.load_state_dict({"epoch_length": 2, "max_epochs": 2, "iteration": 2})
    states = watch(trainer)
    trainer.run()
    assert trainer.state.iteration == 4 and len(states) == 3
    assert parts(changed(states[0], states[2])) == {"fidelity_branch"}


def test_the_log_of_a_step_names_the_parts_of_the_loss_and_every_codebook(small_corrector, batch):
    logs = []
    trainer = trainer_of(small_corrector(), CorrectorStep(1), CorrectionLoss(), [batch] * 2)
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: logs.append(engine.state.output["terms"]))
    trainer.run()
    codes, correction = logs
    assert all(isinstance(value, float) and np.isfinite(value) for log in logs for value in log.values())
    named = {"clean_decoded", "structure", "moved_decoded", "swapped_decoded", "commitment", "twins", "score"}
    assert named <= set(codes)
    assert set(correction) - {"structure"} == {
        *("refined", "codes_only", "consistency", "score", "corrected", "uncorrected")
    }
    books = {"content": {"coarse": 12, "fine": 20, "detail_1": 20}, "motion": {"coarse": 8, "fine": 10}}
    for kind, sizes in books.items():
        for level, size in sizes.items():
            assert 1 <= codes[f"perplexity_{kind}_{level}"] <= size
            assert 0 <= codes[f"usage_{kind}_{level}"] <= 1


def test_the_prior_learns_and_nothing_else_moves(small_corrector, batch):
    torch.manual_seed(0)
    network = small_corrector(awake=False)
    before = state_of(network)
    trainer = trainer_of(network, PriorStep(drop_evidence=0.5), prior_nats, [batch] * 30)
    losses = losses_of(trainer)
    assert np.mean(losses[-5:]) < np.mean(losses[:5])
    assert parts(changed(before, state_of(network))) == {"prior"}
    assert set(trainer.state.output["terms"]) == {"nats_coarse", "nats_fine", "nats_evidence"}


def test_a_new_prior_that_sees_the_evidence_pays_what_the_evidence_pays(small_corrector, batch):
    network = small_corrector(awake=False)
    trainer = trainer_of(network, PriorStep(drop_evidence=0.0), prior_nats, [batch], learning_rate=0.0)
    (loss,) = losses_of(trainer)
    assert loss == pytest.approx(trainer.state.output["terms"]["nats_evidence"], rel=1e-3)


def test_codes_are_drawn_or_unsure_only_where_the_evidence_is_seen():
    truth = LevelIndices(torch.zeros(40, 8, 8, dtype=torch.int64), torch.zeros(40, 16, 16, dtype=torch.int64))
    # The evidence is sure of code 3, so that each drawn code shows.
    evidence = LevelLogits(torch.zeros(40, 5, 8, 8), torch.zeros(40, 7, 16, 16))
    for level in evidence:
        level[:, 3] = 100
    seen = torch.arange(40) % 2 == 1
    torch.manual_seed(0)
    previous, unsure = PriorStep(replace_codes=1.0)._perturb(truth, evidence, seen)
    for codes, masks in zip(previous, unsure, strict=True):
        drawn, marked = codes.flatten(1).any(1), masks.flatten(1).any(1)
        assert set(codes.unique().tolist()) == {0, 3} and not (drawn & marked).any()
        assert drawn.sum() > 3 and marked.sum() > 3 and not ((drawn | marked) & ~seen).any()
    untouched, sure = PriorStep(replace_codes=0.0)._perturb(truth, evidence, seen)
    assert not any(level.any() for level in (*untouched, *sure))


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
@pytest.mark.parametrize(("codes_iterations", "key"), [(1, "displacement_px"), (0, "target")])
def test_a_loss_that_is_not_finite_stops_training_and_leaves_the_weights(
    small_corrector, batch, bad, codes_iterations, key
):
    network = small_corrector()
    before = {name: weight.detach().clone() for name, weight in network.named_parameters()}
    batch[key] = batch[key].clone()
    batch[key].view(-1)[0] = bad
    trainer = trainer_of(network, CorrectorStep(codes_iterations), CorrectionLoss(), [batch])
    with pytest.raises(FloatingPointError, match=r"at iteration 1; it must be finite\. Lower the learning rate"):
        trainer.run()
    assert all(torch.equal(weight, before[name]) for name, weight in network.named_parameters())


@pytest.mark.parametrize("codes_iterations", [1, 0])
def test_gradients_are_clipped(small_corrector, batch, codes_iterations):
    network = small_corrector()
    step = CorrectorStep(codes_iterations, codes_loss=CodesLoss(score_weight=1e4))
    trainer = trainer_of(network, step, CorrectionLoss(codes_only_weight=1e4), [batch])
    trainer.run()
    norm = torch.stack([w.grad.norm() for w in network.parameters() if w.grad is not None]).norm()
    assert norm.item() == pytest.approx(MAX_GRADIENT_NORM, rel=1e-3)


def test_gradients_of_weights_that_no_optimiser_has_do_not_pile_up(small_corrector, batch):
    network, norms = small_corrector(guidance=1.0), []
    trainer = trainer_of(network, CorrectorStep(0, guidance=1.0), CorrectionLoss(), 3 * [batch])
    trainer.optimizer = torch.optim.SGD(network.fidelity_branch.parameters(), lr=0.0)
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED,
        lambda: norms.append(sum(w.grad.norm().item() for w in network.prior.parameters() if w.grad is not None)),
    )
    trainer.run()
    assert norms[0] > 0 and norms == pytest.approx(3 * norms[:1])


def test_batches_are_taken_apart_by_name(batch, image_pair):
    pair = prepare_twins(batch, torch.device("cpu"))
    assert torch.equal(pair.moved, image_pair.moved) and torch.equal(pair.clean, image_pair.clean)
    assert pair.displacement_px.dtype == torch.float32 and pair.displacement_px.tolist() == [2, 3]
    image, target = prepare_validation(batch, "cpu")
    assert torch.equal(image, batch["image"]) and torch.equal(target, batch["target"])


def test_images_too_small_for_the_prior_are_refused():
    levels = LevelIndices(torch.zeros(1, 6, 8), torch.zeros(1, 12, 16))
    logits = LevelLogits(torch.zeros(1, 2, 6, 8), torch.zeros(1, 2, 12, 16))
    with pytest.raises(ValueError, match="image_size to 64"):
        random_window(8, levels, logits)
