"""Run ``mocodis correct`` twice at once on the same folders; see test_side_by_side.py.

    python two_runs.py INPUTS FOLDER OPTIONS...

Both work on FOLDER/both and say what they did in FOLDER/0 and FOLDER/1; none starts on its second slices before the
other is at its first ones. FOLDER/alone is then made by a run of its own.
"""

import multiprocessing
import sys
import threading
from pathlib import Path

from killed_run import Network, prepare, run

from mocodis_monai import cli

PATIENCE_S = 120


def start_together(number: int, barrier, arguments: list[str]) -> None:
    """One of the two; ends the process."""
    work, first, both_work = Network.correct, threading.Lock(), threading.Event()

    def correct(self, image, **options):
        if first.acquire(blocking=False):  # never released: once a process
            barrier.wait(PATIENCE_S)
            both_work.set()
        both_work.wait(PATIENCE_S)  # else the other threads would leave a late process nothing to do
        return work(self, image, **options)

    Network.correct = correct
    sys.argv = ["mocodis", "correct", *arguments]
    with Path(arguments[1]).with_name(str(number)).open("w") as sys.stdout:
        cli.main()


def main() -> None:
    """Both, then one alone; fails if one of them does."""
    inputs, folder, *options = sys.argv[1:]
    prepare()
    fork = multiprocessing.get_context("fork")
    barrier, arguments = fork.Barrier(2), [inputs, str(Path(folder, "both")), *options]
    runs = [fork.Process(target=start_together, args=(number, barrier, arguments), daemon=True) for number in (0, 1)]
    for one in runs:
        one.start()
    for one in runs:
        one.join(PATIENCE_S)
    assert [one.exitcode for one in runs] == [0, 0]
    assert run(inputs, Path(folder, "alone"), options) == 0


if __name__ == "__main__":
    main()
