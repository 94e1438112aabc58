"""Trainings that are killed and go on, alone and under torchrun, as users start them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import mocodis_monai
from mocodis_monai.release import bundle_root

ROOT = Path(mocodis_monai.__file__).parents[1]
CONFIGS = Path(bundle_root()) / "configs"
TINY = {
    "iterations_per_epoch": 4,
    "codes_iterations": 5,  # the first stage ends within the second epoch
    "num_samples": 7,  # so that a second round begins within the first epoch
    "num_validation_images": 2,
    "image_size": 64,
    "batch_size": 2,
}
PATIENCE_S = 300
KILLER = """
import os
import signal

from ignite.engine import Events
from mocodis_monai.distributed import rank


class KillAt:
    def __init__(self, iteration, process=0):
        self.iteration, self.process = iteration, process

    def attach(self, engine):
        engine.add_event_handler(Events.ITERATION_COMPLETED(once=self.iteration), self.kill)

    def kill(self, engine):
        if rank() == self.process:
            os.kill(os.getpid(), signal.SIGKILL)
"""


def start(folder: Path, run_id: str, *configs: str, processes: int = 1, kill: tuple[int, int] | None = None, **knobs):
    """`python -m monai.bundle run`, under torchrun for several processes; `kill` is an iteration and a process."""
    files = [str(CONFIGS / name) for name in configs]
    folder.mkdir(exist_ok=True)
    if kill:
        (folder / "killer.py").write_text(KILLER)
        (folder / "kill.yaml").write_text(
            f"+train#handlers:\n- _target_: killer.KillAt\n  iteration: {kill[0]}\n  process: {kill[1]}\n"
        )
        files.append(str(folder / "kill.yaml"))
    launcher = (
        ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)] if processes > 1 else []
    )
    command = [sys.executable, *launcher, "-m", "monai.bundle", "run", run_id, "--config_file", str(files)]
    command += [word for name, value in {**TINY, **knobs}.items() for word in (f"--{name}", str(value))]
    return subprocess.run(
        [*command, "--output_dir", str(folder)],
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{folder}", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE_S,
    )


def saved(folder: Path) -> dict:
    return torch.load(folder / "checkpoint.pt", weights_only=True)


def differing(one: object, other: object, name: str = "") -> list[str]:
    """Names of what is not the same bit for bit in two checkpoints."""
    if isinstance(one, dict):
        assert set(one) == set(other)
        return [found for key in one for found in differing(one[key], other[key], f"{name}.{key}")]
    if isinstance(one, list | tuple):
        return differing(dict(enumerate(one)), dict(enumerate(other)), name)
    same = torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other
    return [] if same else [name]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """The folder of a training that nobody interrupted, without data workers."""
    folder = tmp_path_factory.mktemp("whole") / "out"
    done = start(folder, "training", "train.yaml", max_epochs=3, num_workers=0)
    assert done.returncode == 0, done.stdout[-4000:]
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1])
def test_a_training_killed_within_an_epoch_ends_with_the_same_weights(whole, tmp_path, workers):
    folder, knobs = tmp_path / "out", {"max_epochs": 3, "num_workers": workers}
    killed = start(folder, "training", "train.yaml", kill=(7, 0), **knobs)
    assert killed.returncode == -signal.SIGKILL, killed.stdout[-4000:]
    assert saved(folder)["trainer"]["iteration"] == 4
    went_on = start(folder, "training", "train.yaml", resume=True, **knobs)
    assert went_on.returncode == 0, went_on.stdout[-4000:]
    assert "Epoch[2] Metrics" in went_on.stdout and "Epoch[1] Metrics" not in went_on.stdout
    assert differing(saved(folder), saved(whole)) == []


@pytest.mark.slow
def test_a_killed_process_ends_the_job_with_an_error_and_a_restart_goes_on(tmp_path):
    folder, configs = tmp_path / "out", ("train.yaml", "multi_gpu_train.yaml")
    knobs = {"max_epochs": 2, "num_workers": 0, "processes": 2}
    began = time.monotonic()
    killed = start(folder, "training", *configs, kill=(7, 1), **knobs)
    assert killed.returncode not in (0, None) and time.monotonic() - began < PATIENCE_S
    assert re.search(r"Signal 9 \(SIGKILL\)|exitcode\s*:\s*-9", killed.stdout)
    assert saved(folder)["trainer"]["iteration"] == 4
    went_on = start(folder, "training", *configs, resume=True, **knobs)
    assert went_on.returncode == 0, went_on.stdout[-4000:]
    assert saved(folder)["trainer"]["iteration"] == 8
    # The first process speaks and writes for both.
    assert went_on.stdout.count("Epoch[2] Metrics") == 1 and "Epoch[1] Metrics" not in went_on.stdout
    assert len(list((folder / "tensorboard").iterdir())) == 2  # one file for each start


@pytest.mark.slow
def test_the_prior_trains_in_two_processes_and_nothing_else_moves(whole, tmp_path):
    configs = ("train.yaml", "train_prior.yaml", "multi_gpu_train.yaml", "multi_gpu_train_prior.yaml")
    knobs = {"max_epochs": 1, "num_workers": 1, "processes": 2, "initial_weights": whole / "model.pt"}
    done = start(tmp_path / "out", "train_prior", *configs, **knobs)
    assert done.returncode == 0, done.stdout[-4000:]
    before, after = (torch.load(folder / "model.pt", weights_only=True) for folder in (whole, tmp_path / "out"))
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert changed and all(name.startswith("prior.") for name in changed)
