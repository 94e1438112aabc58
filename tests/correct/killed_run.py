"""Run ``mocodis correct`` again and again, each time killed one change of the file system later; see test_killed.py.

    python killed_run.py INPUTS FOLDER OPTIONS...

For n = 1, 2, ...: a process works on FOLDER/n until its n-th change of the file system, at which it gets SIGKILL; then
another one finishes FOLDER/n. It ends with the n that no run reaches. FOLDER/whole is a run that was never killed.
"""

import os
import signal
import sys
from pathlib import Path

import torch
from matplotlib.figure import Figure

from mocodis_monai import cli
from mocodis_monai.correct import run as correct_run
from mocodis_monai.networks import Correction
from mocodis_monai.report import comparison

CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir"}


class Network(torch.nn.Module):
    """A quick stand-in: what is tested is the files."""

    guidance = 0.0

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def correct(self, image: torch.Tensor, **options) -> Correction:
        """Darker, with a map of a tenth of the image."""
        one = torch.ones(len(image))
        return Correction(image * 0.9, image * 0.1, one, image * 0.5, one)


def draw(volumes: list, *rest, **options) -> Figure:
    """A quick picture of a corrected volume."""
    figure = Figure(figsize=(0.4, 0.4))
    figure.figimage(volumes[1][:, :, 0])
    return figure


def kill_at(change: int) -> None:
    """SIGKILL to this process just before its change of that number, counted from one."""
    count = 0

    def hook(event: str, arguments: tuple) -> None:
        nonlocal count
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if event in CHANGES or writes:
            count += 1
            if count == change:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def run(inputs: str, output: Path, options: list[str], killed_at: int = 0) -> int:
    """Exit status of a run in a process of its own; minus the signal if it was killed."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if killed_at:
        kill_at(killed_at)
    sys.argv = ["mocodis", "correct", inputs, str(output), *options]
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    try:
        cli.main()
    except SystemExit as stopped:
        os._exit(int(stopped.code or 0))
    finally:
        os._exit(99)


def prepare() -> None:
    """Put the stand-ins into their places, before processes are forked."""
    torch.set_num_threads(1)
    correct_run.load_corrector = lambda weights, device: Network()
    comparison._draw = draw


def main() -> None:
    """Kill, finish, and say how often."""
    inputs, folder, *options = sys.argv[1:]
    prepare()
    assert run(inputs, Path(folder) / "whole", options) == 0
    change = 1
    while (status := run(inputs, Path(folder) / str(change), options, killed_at=change)) != 0:
        assert status == -signal.SIGKILL, status
        assert run(inputs, Path(folder) / str(change), options) == 0
        change += 1
    print(change - 1)


if __name__ == "__main__":
    main()
