"""Ignite handlers of the training workflows: progress, TensorBoard, checkpoints."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from itertools import chain, count
from pathlib import Path
from pickle import UnpicklingError
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import torch
from ignite.engine import Engine, Events
from ignite.handlers import Checkpoint
from ignite.handlers.tqdm_logger import ProgressBar
from monai.handlers import StatsHandler, TensorBoardHandler
from monai.utils.enums import CommonKeys as Keys

from mocodis_monai.data.files import staged
from mocodis_monai.distributed import rank
from mocodis_monai.errors import InputError
from mocodis_monai.release import load_weights


def loss_of(output: Any) -> float:
    """The loss of an iteration's output (a dict, or a list of dicts once decollated)."""
    first = output[0] if isinstance(output, list) else output
    return float(first[Keys.LOSS])


def terms_of(output: Any) -> dict[str, float]:
    """The named parts of the loss and the state of the codebooks of an iteration's output."""
    first = output[0] if isinstance(output, list) else output
    return dict(first["terms"])


class EpochProgress:
    """A progress bar per epoch, with the loss for a training engine."""

    def __init__(self, description: str = "training", show_loss: bool = True) -> None:
        self.description, self.show_loss = description, show_loss

    def attach(self, engine: Engine) -> None:
        """Draw while ``engine`` runs."""
        bar = ProgressBar(desc=self.description, persist=True)
        bar.attach(engine, output_transform=(lambda output: {"loss": loss_of(output)}) if self.show_loss else None)


class TensorBoardTerms:
    """Write the loss, its named parts, and the codebooks' usage and perplexity to TensorBoard.

    Args:
        writer: a ``torch.utils.tensorboard.SummaryWriter``.
        interval: iterations between two points.
    """

    def __init__(self, writer: Any, interval: int = 10) -> None:
        self.writer, self.interval = writer, interval

    def attach(self, engine: Engine) -> None:
        """Write every ``interval`` iterations of ``engine``."""
        engine.add_event_handler(Events.ITERATION_COMPLETED(every=self.interval), self._write)

    def _write(self, engine: Engine) -> None:
        for name, value in {"loss": loss_of(engine.state.output), **terms_of(engine.state.output)}.items():
            self.writer.add_scalar(f"train/{name}", value, engine.state.iteration)


class SeedIterations:
    """Let the random numbers of an iteration follow from seed, iteration and process alone.

    Then a training that goes on from a checkpoint draws what it would have drawn without the break.

    Args:
        seed: any integer from zero up.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def attach(self, engine: Engine) -> None:
        """Seed torch's generators, those of GPUs too, before every iteration of ``engine``."""
        engine.add_event_handler(Events.ITERATION_STARTED, self._seed)

    def _seed(self, engine: Engine) -> None:
        sequence = np.random.SeedSequence((self.seed, engine.state.iteration, rank()))
        torch.manual_seed(int(sequence.generate_state(1)[0]))


class SaveCheckpoint:
    """Write a checkpoint after every epoch, and say where.

    ``checkpoint.pt`` holds all that training needs to go on; ``model.pt`` is the network's plain state dict, which
    loads with ``weights_only=True``. Both appear by rename, so that an interrupted write leaves the last one whole.
    What an earlier training left in the same folder becomes ``checkpoint_before.pt`` at the start, so that no later run
    goes on from there by mistake, and ``model_before.pt`` after the first epoch; what was set aside before stays, and
    the next is ``checkpoint_before_2.pt``.

    Args:
        output_dir: the folder; made if it is missing.
        network: what ``model.pt`` holds.
        state: objects with ``state_dict``, by name; the trainer is added.
    """

    def __init__(self, output_dir: str, network: torch.nn.Module, state: dict[str, Any]) -> None:
        self.output_dir, self.network, self.state = Path(output_dir), network, state
        self._afresh = True

    def attach(self, engine: Engine) -> None:
        """Save at the end of each epoch of ``engine``."""
        self.output_dir.mkdir(parents=True, exist_ok=True)
        engine.add_event_handler(Events.STARTED, self._look)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._save)
        engine.add_event_handler(Events.COMPLETED, self._say_where)

    def _look(self, engine: Engine) -> None:
        self._afresh = engine.state.epoch == 0  # else it goes on with the training that lies there
        if self._afresh:
            self._set_aside("checkpoint")
        else:  # it may have been cut short between the checkpoint and the weights
            self._write(self.network.state_dict(), "model.pt")

    def _set_aside(self, name: str) -> None:
        """Keep what an earlier training left under another name."""
        file = self.output_dir / f"{name}.pt"
        if file.exists():
            names = (f"{name}_before{number}.pt" for number in chain([""], (f"_{k}" for k in count(2))))
            free = next(path for path in map(file.with_name, names) if not path.exists())
            kept = file.replace(free)
            logging.getLogger(__name__).warning("the %s of an earlier training is now %s", name, kept)

    def _save(self, engine: Engine) -> None:
        if self._afresh:
            self._set_aside("model")
        self._afresh = False
        state = {name: part.state_dict() for name, part in {**self.state, "trainer": engine}.items()}
        self._write(state, "checkpoint.pt")
        self._write(self.network.state_dict(), "model.pt")

    def _write(self, state: Any, name: str) -> None:
        with staged(self.output_dir / name) as (partial,):
            torch.save(state, partial)

    def _say_where(self, engine: Engine) -> None:
        logging.getLogger(__name__).info("weights: %s", self.output_dir / "model.pt")


class StartFrom:
    """Load the weights to start from, at once: a wrong file is found before any work.

    Args:
        weights: a ``model.pt`` or ``checkpoint.pt``.
        network: what they are loaded into.

    Raises:
        InputError: see :func:`mocodis_monai.release.load_weights`.
    """

    def __init__(self, weights: str, network: torch.nn.Module) -> None:
        load_weights(network, weights)

    def attach(self, engine: Engine) -> None:
        """Nothing is left to do when ``engine`` starts."""


class ResumeFrom:
    """Go on from a checkpoint of :class:`SaveCheckpoint` if there is one; start afresh if there is none.

    The learning rates, the weight decay and the length of a one-cycle schedule are those that the configuration names
    now, not those that were saved.

    Args:
        path: the checkpoint.
        state: the objects that were saved, by name; the trainer is added.

    Raises:
        InputError: when the engine starts, the checkpoint cannot be read, has more epochs than are asked for, or
            epochs of another length, or is of another optimiser.
    """

    def __init__(self, path: str, state: dict[str, Any]) -> None:
        self.path, self.state = path, state

    def attach(self, engine: Engine) -> None:
        """Load when ``engine`` starts."""
        if os.path.isfile(self.path):
            engine.add_event_handler(Events.STARTED, self._resume)
        elif rank() == 0 and (aside := sorted(Path(self.path).parent.glob("checkpoint_before*.pt"))):
            logging.getLogger(__name__).warning(
                "no %s to go on from: training starts afresh. To go on with an earlier one, rename %s to it",
                self.path,
                " or ".join(path.name for path in aside),
            )
        else:
            logging.getLogger(__name__).info("no %s to go on from: training starts afresh", self.path)

    def _resume(self, engine: Engine) -> None:
        saved = self._read()
        self._check(saved, engine)
        configured, max_epochs = self._configured(), engine.state.max_epochs
        Checkpoint.load_objects({**self.state, "trainer": engine}, saved)
        engine.state.max_epochs = max_epochs
        self._put_back(configured)
        self._say_from_where(engine)

    def _read(self) -> dict[str, Any]:
        try:
            # Through main memory: each process puts its copy on its own device.
            saved: dict[str, Any] = torch.load(self.path, map_location="cpu", weights_only=True)
        except OSError as error:
            raise InputError(f"{self.path}: cannot be opened ({error.strerror}). Check its permissions.") from error
        except (RuntimeError, EOFError, UnpicklingError) as error:
            raise InputError(
                f"{self.path}: this is no whole checkpoint ({type(error).__name__}). Move it away to start afresh."
            ) from error
        if missing := [name for name in ("trainer", *self.state) if name not in saved]:
            raise InputError(
                f"{self.path}: holds no {missing[0]}; it is no checkpoint of such a training. Move it away to start "
                "afresh, or start from its weights (--initial_weights)."
            )
        return saved

    def _check(self, saved: dict[str, Any], engine: Engine) -> None:
        """Say in our words what would stop in the midst of loading, or spoil what is loaded."""
        length, wanted = saved["trainer"]["epoch_length"], engine.state.epoch_length
        if length != wanted:
            raise InputError(
                f"{self.path}: its epochs have {length} iterations, not {wanted}. Go on with --iterations_per_epoch "
                f"{length}; more epochs (--max_epochs) are possible."
            )
        done, of = saved["trainer"]["iteration"] // length, engine.state.max_epochs
        if of is not None and done > of:
            raise InputError(f"{self.path}: {done} epochs are done, and {of} asked for (--max_epochs). Ask for more.")
        groups = saved.get("optimizer", {}).get("param_groups", [])
        if "optimizer" in self.state and list(map(_kind_of, groups)) != list(map(_kind_of, self._param_groups)):
            raise InputError(
                f"{self.path}: was made with another optimiser or network. Go on with the configuration that it was "
                "made with, or start afresh from its weights (--initial_weights)."
            )

    def _configured(self) -> _Configured:
        schedule = self.state.get("lr_scheduler")
        return _Configured(
            {name: vars(schedule)[name] for name in _SCHEDULE_LENGTH if hasattr(schedule, name)},
            [{name: group[name] for name in _GROUP_SETTINGS & group.keys()} for group in self._param_groups],
        )

    def _put_back(self, configured: _Configured) -> None:
        if configured.length:
            vars(self.state["lr_scheduler"]).update(configured.length)
        for group, settings in zip(self._param_groups, configured.groups, strict=True):
            group.update(settings)

    def _say_from_where(self, engine: Engine) -> None:
        done, of = engine.state.epoch, engine.state.max_epochs
        rest = "nothing is left to do" if of is not None and done >= of else "it goes on"
        logging.getLogger(__name__).info("%s: epoch %s of %s is done, %s", self.path, done, of, rest)

    @property
    def _param_groups(self) -> list[dict[str, Any]]:
        return getattr(self.state.get("optimizer"), "param_groups", [])


class _Configured(NamedTuple):
    """What the configuration says and a checkpoint has no say in: length of the schedule, settings of the groups."""

    length: dict[str, Any]
    groups: list[dict[str, Any]]


def _kind_of(group: dict[str, Any]) -> tuple[int, set[str]]:
    """What tells optimisers and networks apart: how many parameters a group has, and which settings."""
    return len(group["params"]), group.keys() - {"params", "initial_lr", "max_lr", "min_lr"}


_SCHEDULE_LENGTH = ("total_steps", "_schedule_phases")
_GROUP_SETTINGS = {"max_lr", "initial_lr", "min_lr", "weight_decay"}
"""What of a one-cycle schedule and of an optimiser's groups is not taken from a checkpoint."""

_ONE_IS_ENOUGH = (EpochProgress, TensorBoardTerms, SaveCheckpoint, StatsHandler, TensorBoardHandler)
"""What would write or show the same thing once per process."""


def for_this_process(handlers: Sequence[Any]) -> list[Any]:
    """All handlers in the first process, in the others those that do not write or show."""
    return [handler for handler in handlers if rank() == 0 or not isinstance(handler, _ONE_IS_ENOUGH)]


def writer_of_rank_zero(log_dir: str) -> Any:
    """A TensorBoard writer in the first process; in the others something that no handler there will use."""
    if rank() > 0:
        return SimpleNamespace()
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(log_dir)
