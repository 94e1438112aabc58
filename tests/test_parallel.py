"""Two processes do what one does: the same losses, and networks that are the same bit for bit in both."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from ignite.engine import Engine
from torch import nn

import mocodis_monai
from mocodis_monai.distributed import device_of_process, random_rows, std_over_processes
from mocodis_monai.errors import InputError
from mocodis_monai.handlers import SaveCheckpoint, SeedIterations, for_this_process
from mocodis_monai.parallel import (
    SynchronizedBatchNorm,
    _synchronize_normalisation,
    bare,
    call,
    process_device,
    start_processes,
)

SCRIPT = Path(__file__).with_name("shared_training.py")
ROUNDING, GROWN = 1e-5, 1e-3
"""Relative. Sums of two halves round differently from the sum of the whole: by 2e-7 over the 12 steps of the codes. The
correction's steps let it grow, by the processor to 7e-6 or 2e-4 after six."""


def train(folder: Path, *launcher: str) -> list[dict]:
    """What each process wrote."""
    folder.mkdir()
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(mocodis_monai.__file__).parents[1]),
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [sys.executable, *launcher, str(SCRIPT), str(folder)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    return [torch.load(path, weights_only=True) for path in sorted(folder.glob("*.pt"))]


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> dict:
    (result,) = train(tmp_path_factory.mktemp("alone") / "out")
    return result


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> list[dict]:
    return train(
        tmp_path_factory.mktemp("two") / "out", "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"
    )


@pytest.mark.slow
def test_two_processes_have_the_loss_curve_of_one_with_the_same_global_batch(alone, two):
    assert len(two) == 2 and len(alone["losses"]) == 18 and len(alone["nats"]) == 4
    assert len(alone["placed"]) > 4, "no dead code was restarted, so that this proves nothing of restarts"
    for result in two:
        assert result["placed"] == alone["placed"]
        for curve in ("losses", "nats"):
            assert result[curve] == pytest.approx(alone[curve], rel=GROWN)
        assert result["losses"][:12] == pytest.approx(alone["losses"][:12], rel=ROUNDING)


@pytest.mark.slow
def test_codebooks_and_weights_are_the_same_bit_for_bit_in_both_processes(alone, two):
    first, second = (result["state"] for result in two)
    assert any(name.endswith("codebook") for name in first)
    assert all(torch.equal(first[name], second[name]) for name in first)
    for name, value in alone["state"].items():
        torch.testing.assert_close(first[name], value, rtol=1e-3, atol=1e-3, msg=lambda text, n=name: f"{n}: {text}")


@pytest.mark.parametrize("affine", [False, True])
def test_synchronized_normalisation_alone_is_batch_normalisation(affine):
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3, affine=affine))
    shared = nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3, affine=affine))
    shared.load_state_dict(plain.state_dict())
    _synchronize_normalisation(shared)
    assert isinstance(shared[1], SynchronizedBatchNorm) and list(shared.state_dict()) == list(plain.state_dict())
    for _ in range(3):
        x = 5 + 2 * torch.randn(4, 2, 6, 7)
        weights = torch.randn(4, 3, 6, 7)
        results = []
        for network in (plain, shared):
            network.zero_grad()
            out = network(x)
            (out * weights).sum().backward()
            results.append([out.detach(), *(weight.grad.clone() for weight in network.parameters())])
        for wanted, got in zip(*results, strict=True):
            torch.testing.assert_close(got, wanted, rtol=1e-3, atol=1e-3)
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(shared.state_dict()[name], value)
    torch.testing.assert_close(shared.eval()(x), plain.eval()(x))


def test_alone_the_arithmetic_over_processes_is_the_plain_one(small_corrector, image_pair):
    rows = torch.arange(20.0).reshape(10, 2)
    torch.manual_seed(3)
    drawn = random_rows(rows, 6)
    torch.manual_seed(3)
    assert torch.equal(drawn, rows[torch.randint(10, (6,))])
    assert torch.equal(std_over_processes(rows), rows.std())
    network = small_corrector().eval()
    assert bare(network) is network
    assert torch.equal(call(network, "forward", image_pair.moved), network(image_pair.moved))


def test_the_random_numbers_of_an_iteration_hang_on_seed_and_iteration_alone():
    def drawn(seed: int, done: int) -> list[float]:
        numbers = []
        engine = Engine(lambda engine, batch: numbers.append(torch.rand(()).item()))
        SeedIterations(seed).attach(engine)
        engine.load_state_dict({"iteration": done, "epoch_length": 2, "max_epochs": 2})
        engine.run(range(2))
        return numbers

    whole = drawn(1, 0)
    assert drawn(1, 2) == whole[2:]
    assert len({*whole, *drawn(2, 0)}) == 8


def test_outside_of_torchrun_one_is_told_to_use_it(monkeypatch):
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    with pytest.raises(InputError, match="start it with torchrun"):
        start_processes(torch.device("cpu"))


@pytest.fixture
def two_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.mark.parametrize("local", [0, 1])
def test_each_process_has_the_gpu_of_its_number(local, two_gpus, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", str(local))
    assert process_device() == device_of_process() == torch.device("cuda", local)


def test_more_processes_than_gpus_share_them_but_not_in_training(two_gpus, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert device_of_process() == torch.device("cuda", 1)
    with pytest.raises(InputError, match=r"process 3 has no GPU of 2\. Use --nproc_per_node 2 at most"):
        process_device()


def test_all_but_the_first_process_keep_silent(monkeypatch, tmp_path):
    from mocodis_monai import handlers

    every = [SaveCheckpoint(str(tmp_path), nn.Linear(1, 1), {}), SeedIterations(0)]
    assert for_this_process(every) == every
    monkeypatch.setattr(handlers, "rank", lambda: 1)
    assert for_this_process(every) == every[1:]
    assert not list(tmp_path.iterdir())
