"""Checkpoints that are whole or not there, training that goes on, and what reaches TensorBoard."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from ignite.engine import Engine, Events
from torch import nn

from mocodis_monai.errors import InputError
from mocodis_monai.handlers import (
    EpochProgress,
    ResumeFrom,
    SaveCheckpoint,
    StartFrom,
    TensorBoardTerms,
    loss_of,
    terms_of,
)


class Session:
    """A training of one linear layer with momentum, two iterations an epoch."""

    def __init__(self, folder: Path, resume: bool = False) -> None:
        torch.manual_seed(0)
        self.network = nn.Linear(3, 1)
        self.optimizer = torch.optim.SGD(self.network.parameters(), lr=0.1, momentum=0.9)
        self.epochs: list[int] = []
        self.engine = Engine(self.step)
        self.engine.add_event_handler(
            Events.EPOCH_STARTED, lambda engine: self.epochs.append(engine.state.epoch)
        )
        state = {"network": self.network, "optimizer": self.optimizer}
        if resume:
            ResumeFrom(str(folder / "checkpoint.pt"), state).attach(self.engine)
        SaveCheckpoint(str(folder), self.network, state).attach(self.engine)

    def step(self, engine: Engine, batch: torch.Tensor) -> None:
        self.optimizer.zero_grad()
        self.network(batch).square().mean().backward()
        self.optimizer.step()

    def run(self, max_epochs: int) -> Session:
        self.engine.run([torch.eye(3), torch.ones(2, 3)], max_epochs=max_epochs)
        return self


def test_the_weights_of_an_earlier_training_in_the_folder_are_kept(tmp_path, caplog):
    first = Session(tmp_path).run(1)
    weight = first.network.weight.clone()
    Session(tmp_path).run(2)
    assert torch.equal(torch.load(tmp_path / "model_before.pt", weights_only=True)["weight"], weight)
    assert "model_before.pt" in caplog.text


def test_a_training_afresh_that_dies_early_is_not_taken_for_the_one_before(tmp_path, caplog):
    before = Session(tmp_path).run(2)
    fresh = Session(tmp_path)
    fresh.engine.add_event_handler(Events.ITERATION_COMPLETED(once=1), lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        fresh.run(3)
    assert Session(tmp_path, resume=True).run(3).epochs == [1, 2, 3]
    kept = torch.load(tmp_path / "checkpoint_before.pt", weights_only=True)
    assert torch.equal(kept["network"]["weight"], before.network.weight)
    assert "checkpoint_before.pt" in caplog.text


def test_weights_that_were_not_written_after_the_last_checkpoint_are_written_by_the_next_run(tmp_path):
    done = Session(tmp_path).run(2)
    (tmp_path / "model.pt").unlink()  # killed between the two
    Session(tmp_path, resume=True).run(2)
    assert torch.equal(torch.load(tmp_path / "model.pt", weights_only=True)["weight"], done.network.weight)


def test_epochs_of_another_length_are_refused_and_nothing_is_lost(tmp_path):
    Session(tmp_path).run(1)
    before = (tmp_path / "checkpoint.pt").read_bytes()
    other = Session(tmp_path, resume=True)
    with pytest.raises(InputError, match="its epochs have 2 iterations, not 3"):
        other.engine.run([torch.eye(3)] * 3, max_epochs=2, epoch_length=3)
    assert (tmp_path / "checkpoint.pt").read_bytes() == before


def test_weights_to_start_from_are_there_at_once_and_a_wrong_file_is_named(tmp_path):
    torch.save(nn.Linear(3, 1).state_dict(), tmp_path / "good.pt")
    network = nn.Linear(3, 1)
    StartFrom(str(tmp_path / "good.pt"), network)
    assert torch.equal(network.weight, torch.load(tmp_path / "good.pt", weights_only=True)["weight"])
    with pytest.raises(InputError, match=r"typo\.pt: no such file"):
        StartFrom(str(tmp_path / "typo.pt"), network)


def test_a_training_that_goes_on_says_from_where_and_keeps_no_second_copy(tmp_path, caplog):
    caplog.set_level("INFO")
    Session(tmp_path, resume=True).run(1)
    assert "training starts afresh" in caplog.text
    Session(tmp_path, resume=True).run(3)
    assert "epoch 1 of 3 is done, it goes on" in caplog.text
    Session(tmp_path, resume=True).run(3)
    assert "epoch 3 of 3 is done, nothing is left to do" in caplog.text
    assert not (tmp_path / "model_before.pt").exists()


def test_a_checkpoint_loads_with_weights_only_and_holds_the_network(tmp_path):
    session = Session(tmp_path / "new" / "folder").run(2)
    folder = tmp_path / "new" / "folder"
    assert sorted(file.name for file in folder.iterdir()) == ["checkpoint.pt", "model.pt"]
    plain = torch.load(folder / "model.pt", weights_only=True)
    whole = torch.load(folder / "checkpoint.pt", weights_only=True)
    assert set(whole) == {"network", "optimizer", "trainer"}
    for state in (plain, whole["network"]):
        assert all(torch.equal(state[name], value) for name, value in session.network.state_dict().items())


def test_a_write_that_breaks_off_leaves_the_last_checkpoint_whole(tmp_path, monkeypatch):
    session = Session(tmp_path).run(1)
    saved = {name: value.clone() for name, value in session.network.state_dict().items()}

    def half_a_file(state, path):
        Path(path).write_bytes(b"PK\x03\x04 half")
        raise OSError("No space left on device")

    monkeypatch.setattr(torch, "save", half_a_file)
    with pytest.raises(InputError, match="No space left"):
        Session(tmp_path, resume=True).run(2)
    for name in ("model.pt", "checkpoint.pt"):
        state = torch.load(tmp_path / name, weights_only=True)
        state = state.get("network", state)
        assert all(torch.equal(state[key], value) for key, value in saved.items())


def test_an_interrupted_training_ends_where_the_whole_one_does(tmp_path):
    whole = Session(tmp_path / "whole").run(5)
    Session(tmp_path / "parts").run(2)
    rest = Session(tmp_path / "parts", resume=True).run(5)
    assert rest.epochs == [3, 4, 5]
    for name, value in whole.network.state_dict().items():
        torch.testing.assert_close(rest.network.state_dict()[name], value)


def test_a_one_cycle_schedule_goes_on_for_longer_than_it_was_first_planned(tmp_path):
    rates = []

    def session(max_epochs: int, resume: bool, learning_rate: float = 0.1) -> Engine:
        optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1, momentum=0.9)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=2 * max_epochs + 1)
        engine = Engine(lambda engine, batch: (optimizer.step(), schedule.step()))
        engine.add_event_handler(Events.COMPLETED, lambda: rates.append(schedule.get_last_lr()[0]))
        state = {"lr_scheduler": schedule, "optimizer": optimizer}
        if resume:
            ResumeFrom(str(tmp_path / "checkpoint.pt"), state).attach(engine)
        SaveCheckpoint(str(tmp_path), nn.Linear(1, 1), state).attach(engine)
        engine.run(range(2), max_epochs=max_epochs)
        return engine

    session(1, resume=False)
    assert session(3, resume=True).state.epoch == 3
    session(6, resume=True)
    session(9, resume=True, learning_rate=0.01)  # at the rates that are asked for now
    wanted = torch.optim.lr_scheduler.OneCycleLR(torch.optim.SGD([nn.Parameter(torch.zeros(1))]), 0.01, total_steps=19)
    for _ in range(18):
        wanted.optimizer.step()
        wanted.step()
    assert rates[-1] == pytest.approx(wanted.get_last_lr()[0])


def test_without_a_checkpoint_training_starts_afresh(tmp_path):
    assert Session(tmp_path, resume=True).run(2).epochs == [1, 2]


def test_a_training_set_aside_is_neither_forgotten_nor_replaced(tmp_path, caplog):
    first = Session(tmp_path).run(1).network.weight.clone()
    for _ in range(2):
        Session(tmp_path).run(1)
    kept = torch.load(tmp_path / "checkpoint_before.pt", weights_only=True)["network"]["weight"]
    assert torch.equal(kept, first) and (tmp_path / "checkpoint_before_2.pt").is_file()
    (tmp_path / "checkpoint.pt").unlink()  # stopped before its first epoch ended
    Session(tmp_path, resume=True).run(1)
    assert "rename checkpoint_before.pt or checkpoint_before_2.pt to it" in caplog.text


def test_a_checkpoint_that_does_not_fit_is_refused_in_our_words(tmp_path):
    Session(tmp_path).run(2)
    with pytest.raises(InputError, match=r"2 epochs are done, and 1 asked for \(--max_epochs\)"):
        Session(tmp_path, resume=True).run(1)
    whole = (tmp_path / "checkpoint.pt").read_bytes()
    saved = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    other = torch.optim.AdamW(nn.Linear(3, 1).parameters()).state_dict()["param_groups"]
    for groups in (2 * saved["optimizer"]["param_groups"], other):
        torch.save({**saved, "optimizer": {"state": {}, "param_groups": groups}}, tmp_path / "checkpoint.pt")
        with pytest.raises(InputError, match="another optimiser"):
            Session(tmp_path, resume=True).run(3)
    torch.save({"network": saved["network"]}, tmp_path / "checkpoint.pt")
    with pytest.raises(InputError, match="holds no trainer"):
        Session(tmp_path, resume=True).run(3)
    (tmp_path / "checkpoint.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"no whole checkpoint .* Move it away"):
        Session(tmp_path, resume=True).run(3)


def test_a_finished_training_has_nothing_left_to_do(tmp_path):
    done = Session(tmp_path).run(2)
    again = Session(tmp_path, resume=True).run(2)
    assert again.epochs == []
    assert torch.equal(again.network.weight, done.network.weight)


def test_where_the_weights_are_is_said(tmp_path, caplog):
    with caplog.at_level("INFO", logger="mocodis_monai.handlers"):
        Session(tmp_path).run(1)
    assert str(tmp_path / "model.pt") in caplog.text


@pytest.mark.parametrize("wrap", [dict, lambda output: [output, {}]])
def test_outputs_are_read_whole_or_decollated(wrap):
    output = wrap({"loss": torch.tensor(2.5), "terms": {"refined": 1.0}})
    assert loss_of(output) == 2.5
    assert terms_of(output) == {"refined": 1.0}


def test_terms_are_written_every_few_iterations():
    written = []

    class Writer:
        def add_scalar(self, *point):
            written.append(point)

    engine = Engine(lambda engine, batch: {"loss": batch / 2, "terms": {"refined": float(batch)}})
    TensorBoardTerms(Writer(), interval=3).attach(engine)
    engine.run(range(7))
    at_3, at_6 = ([("train/loss", value / 2, k), ("train/refined", value, k)] for value, k in ((2.0, 3), (5.0, 6)))
    assert written == [*at_3, *at_6]


@pytest.mark.parametrize("show_loss", [True, False])
def test_a_progress_bar_shows_the_loss_where_there_is_one(capfd, show_loss):
    output = {"loss": torch.tensor(0.125)} if show_loss else {"pred": torch.zeros(1)}
    engine = Engine(lambda engine, batch: output)
    EpochProgress("counting", show_loss=show_loss).attach(engine)
    engine.run(range(4))
    shown = capfd.readouterr().err
    assert "counting" in shown and "[4/4]" in shown
    assert ("loss=0.125" in shown) == show_loss
