"""Training in several processes under ``torchrun``: the process group, the network shared, the batch shared.

Each process works on its share of the batch; gradients, codebook statistics and the statistics of batch normalisation
are averaged over all, so that a step is the one that a single process would do on the whole batch.
"""

from __future__ import annotations

import logging
import os
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from mocodis_monai.distributed import device_of_process, join_processes, mean_with_gradient, rank, world_size
from mocodis_monai.errors import InputError
from mocodis_monai.networks import MotionCorrector


def process_device() -> torch.device:
    """The GPU of this process alone, or the CPU where the machine has none.

    Raises:
        InputError: more processes than GPUs: nccl takes no two on one.
    """
    device, local = device_of_process(), int(os.environ.get("LOCAL_RANK", "0"))
    if device.type == "cuda" and device.index != local:
        gpus = torch.cuda.device_count()
        raise InputError(f"torchrun: process {local} has no GPU of {gpus}. Use --nproc_per_node {gpus} at most.")
    return device


def start_processes(device: torch.device) -> None:
    """Join the process group that ``torchrun`` made: nccl between GPUs, gloo between CPUs. Only the first one logs.

    Raises:
        InputError: not started by torchrun.
    """
    if not dist.is_torchelastic_launched():
        raise InputError("multi_gpu_train.yaml: start it with torchrun --nproc_per_node N -m monai.bundle run ...")
    join_processes(device, "nccl" if device.type == "cuda" else "gloo")
    if rank() > 0:
        logging.disable(logging.INFO)


def stop_processes() -> None:
    """Leave the process group, all processes together: one that is gone would end the others in their last work."""
    dist.barrier()
    dist.destroy_process_group()


class MethodCall(nn.Module):
    """Calls any method of a network through ``forward``, where ``DistributedDataParallel`` hooks in."""

    def __init__(self, network: MotionCorrector) -> None:
        super().__init__()
        self.network = network

    def forward(self, method: str, *arguments: Any) -> Any:
        """``network.method(*arguments)``."""
        return getattr(self.network, method)(*arguments)


def data_parallel(network: MotionCorrector, frozen: tuple[str, ...] = ()) -> DistributedDataParallel:
    """Share ``network`` between the processes; its batch normalisation counts the images of all of them from now on.

    Args:
        network: on its device; changed in place, and the same weights in all processes afterwards.
        frozen: parts that will not train: their gradients are not sent around.
    """
    network.freeze(*frozen)
    _synchronize_normalisation(network)
    # The stages of the corrector train different parts; the prior is one.
    return DistributedDataParallel(MethodCall(network), find_unused_parameters=not frozen)


def bare(network: nn.Module) -> MotionCorrector:
    """The network itself, shared or not."""
    if isinstance(network, DistributedDataParallel):
        return cast("MethodCall", network.module).network
    return cast("MotionCorrector", network)


def call(network: nn.Module, method: str, *arguments: Any) -> Any:
    """``network.method(*arguments)``, in a way that gradients are averaged if the network is shared."""
    if isinstance(network, DistributedDataParallel):
        return network(method, *arguments)
    return getattr(network, method)(*arguments)


class SynchronizedBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch normalisation with the statistics of all processes, which hold equally many images.

    torch's ``SyncBatchNorm`` refuses CPUs.
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """(B, C, *spatial) -> (B, C, *spatial)."""
        if not self.training:
            return super().forward(input)
        x = input.float()
        axes = (0, *range(2, x.ndim))
        per_channel = (1, -1, *(1,) * (x.ndim - 2))
        mean = mean_with_gradient(x.mean(axes))
        centred = x - mean.reshape(per_channel)
        variance = mean_with_gradient(centred.square().mean(axes))
        self._remember(mean.detach(), variance.detach(), world_size() * x.numel() // x.shape[1])
        out = centred * (variance + self.eps).rsqrt().reshape(per_channel)
        if self.affine:
            out = out * self.weight.reshape(per_channel) + self.bias.reshape(per_channel)
        return out.to(input.dtype)

    def _remember(self, mean: torch.Tensor, variance: torch.Tensor, count: int) -> None:
        """Moving averages (C,) of mean and unbiased variance over ``count`` sites."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        momentum = 1 / int(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, momentum)
        self.running_var.lerp_(variance * count / (count - 1), momentum)

    def _check_input_dim(self, input: torch.Tensor) -> None:
        """Any number of spatial axes."""


def _synchronize_normalisation(network: nn.Module) -> None:
    """Put a :class:`SynchronizedBatchNorm` with the same state in the place of every batch normalisation."""
    for name, module in network.named_children():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            synchronized = SynchronizedBatchNorm.__new__(SynchronizedBatchNorm)
            synchronized.__dict__ = module.__dict__
            setattr(network, name, synchronized)
        else:
            _synchronize_normalisation(module)
