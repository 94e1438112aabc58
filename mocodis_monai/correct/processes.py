"""A folder of scans shared by the processes that ``torchrun`` starts: each has its part, the first speaks for all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

import torch.distributed as dist

from mocodis_monai.correct.batch import Outcome
from mocodis_monai.correct.scans import ScanFile
from mocodis_monai.distributed import device_of_process, join_processes, rank, world_size

__all__ = ["gather", "share_of", "together"]

_LONGEST_WAIT = timedelta(days=30)  # a process waits for the slowest one only at the very end


@contextmanager
def together() -> Iterator[None]:
    """Join the other processes, if torchrun started this one; each takes a GPU where there is one, some the same."""
    if not dist.is_torchelastic_launched():
        yield
        return
    join_processes(device_of_process(), "gloo", _LONGEST_WAIT)
    try:
        yield
    finally:
        dist.destroy_process_group()


def share_of(scans: Sequence[ScanFile]) -> list[ScanFile]:
    """The scans of this process: every n-th one of the list, which is the same in all n processes."""
    return list(scans[rank() :: world_size()])


def gather(outcomes: list[Outcome]) -> list[Outcome]:
    """The outcomes of all processes; waits until the last one is done."""
    if world_size() == 1:
        return outcomes
    parts: list[list[Outcome]] = [[] for _ in range(world_size())]
    dist.all_gather_object(parts, outcomes)
    return [outcome for part in parts for outcome in part]
