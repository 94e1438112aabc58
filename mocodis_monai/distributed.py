"""The processes of a distributed run, with ``torch.distributed``: joining them, and arithmetic over them.

Alone, each operation is the plain one. Every process calls the same function in the same order, with tensors of the
same shape. Results are the same bit for bit in all of them.
"""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist


def rank() -> int:
    """The number of this process, 0 where it is alone."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def world_size() -> int:
    """How many processes share the work."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def device_of_process() -> torch.device:
    """The GPU of this process, or the CPU where the machine has none; more processes than GPUs share them in turn."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())


def join_processes(device: torch.device, backend: str, timeout: timedelta | None = None) -> None:
    """Join the process group that ``torchrun`` made, and work on ``device`` from now on.

    Args:
        device: of this process.
        backend: "nccl", between GPUs, or "gloo".
        timeout: the longest that one process waits for another; None takes torch's.
    """
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group(backend, timeout=timeout)


def wait_for_all() -> None:
    """Go on when every process has come here."""
    if world_size() > 1:
        dist.barrier()


def sum_over_processes(values: torch.Tensor) -> torch.Tensor:
    """The element-wise sum, without gradient; ``values`` keeps its own."""
    if world_size() == 1:
        return values
    total = values.detach().clone(memory_format=torch.contiguous_format)
    dist.all_reduce(total)
    return total


def mean_over_processes(values: torch.Tensor) -> torch.Tensor:
    """The element-wise mean, without gradient where there is more than one process."""
    return sum_over_processes(values) / world_size()


def mean_of_numbers(numbers: dict[str, float], device: torch.device) -> dict[str, float]:
    """The mean of each named number; the names are the same in all processes."""
    if world_size() == 1:
        return numbers
    values = torch.tensor(list(numbers.values()), dtype=torch.float32, device=device)
    return dict(zip(numbers, mean_over_processes(values).tolist(), strict=True))


def std_over_processes(values: torch.Tensor) -> torch.Tensor:
    """The sample standard deviation of all elements of all processes, a scalar."""
    if world_size() == 1:
        return values.std()
    count = values.numel() * world_size()
    mean = sum_over_processes(values.sum()) / count
    return (sum_over_processes((values - mean).square().sum()) / (count - 1)).sqrt()


def from_rank_zero(values: torch.Tensor) -> torch.Tensor:
    """What the first process passed."""
    if world_size() == 1:
        return values
    shared = values.detach().clone(memory_format=torch.contiguous_format)
    dist.broadcast(shared, src=0)
    return shared


def random_rows(rows: torch.Tensor, number: int) -> torch.Tensor:
    """``number`` random rows of ``rows`` (N, C), the processes' rows laid end to end, (number, C); without gradient.

    The first process draws, so that they are the rows that one process with all of ``rows`` would draw.
    """
    drawn = torch.randint(rows.shape[0] * world_size(), (number,), device=rows.device)
    if world_size() == 1:
        return rows[drawn]
    place = from_rank_zero(drawn) - rank() * rows.shape[0]
    own = (place >= 0) & (place < rows.shape[0])
    return sum_over_processes(torch.where(own.unsqueeze(1), rows[place.clamp(0, rows.shape[0] - 1)], 0))


class _Sum(torch.autograd.Function):
    """The sum over the processes; its gradient is the sum of their gradients. torch's own one is deprecated."""

    @staticmethod
    def forward(ctx: Any, values: torch.Tensor) -> torch.Tensor:
        return sum_over_processes(values)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        return sum_over_processes(gradients[0])


def mean_with_gradient(values: torch.Tensor) -> torch.Tensor:
    """The element-wise mean, through which gradients reach every process."""
    total: torch.Tensor = _Sum.apply(values)  # type: ignore[no-untyped-call]
    return total / world_size()
