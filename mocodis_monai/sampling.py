"""Which samples a training draws and how they look: functions of a seed and a number, never of what went before.

So a training that was cut short goes on with the samples that it would have drawn, and neither the number of data
workers nor that of processes changes them.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from monai.data import Dataset, PersistentDataset
from monai.transforms import Compose
from torch.utils.data import DataLoader, DistributedSampler, Subset
from tqdm import tqdm

from mocodis_monai.data.files import staged
from mocodis_monai.distributed import rank, wait_for_all, world_size
from mocodis_monai.errors import InputError


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute on one thread, as in a data worker: several add up in another order, and the last bit differs.

    Where one is found it is left: of threads that draw at once, one may see what another has set for a while, and would
    put it back for good.
    """
    threads = torch.get_num_threads()
    if threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class SeededDataset(Dataset):
    """Records with random transforms; sample ``k`` is record ``k % len(data)``, transformed by seed and ``k`` alone.

    ``k`` may be larger than the number of records: the next round shows them with other random numbers. A MONAI
    ``Dataset`` draws them from a generator that runs on, so that a sample hangs on all samples before it.

    Args:
        data: records.
        transform: a ``Compose``; its random state is set for every sample.
        seed: of the random transforms.
    """

    def __init__(self, data: Sequence[Any], transform: Compose, seed: int = 0) -> None:
        super().__init__(data, transform)
        self.seed = seed

    def _transform(self, index: int) -> Any:
        transform = deepcopy(self.transform)  # threads may share this dataset, and its random state
        transform.set_random_state(seed=int(np.random.SeedSequence((self.seed, index)).generate_state(1)[0]))
        with _one_thread():
            return transform(self.data[index % len(self.data)])


class KeptDataset(PersistentDataset):
    """MONAI's ``PersistentDataset`` that knows how its samples were made.

    That one finds a kept sample by its record alone: after another choice of, say, families it would go on with the
    old samples and say nothing.

    Args:
        data: records.
        transform: what makes a sample of a record.
        cache_dir: where the samples are kept.
        made_with: all that the transform depends on, by name: kept as ``made_with.json`` beside the samples.

    Raises:
        InputError: the samples in ``cache_dir`` were made otherwise, or nobody knows how.
    """

    def __init__(
        self, data: Sequence[Any], transform: Sequence[Any], cache_dir: str | Path, made_with: Mapping[str, Any]
    ) -> None:
        super().__init__(data, transform, cache_dir)
        self._folder = Path(cache_dir)
        path, now = Path(cache_dir) / "made_with.json", json.loads(json.dumps(made_with))
        if not path.is_file():
            if any(path.parent.glob("*.pt")):
                raise InputError(f"{cache_dir}: no {path.name} says how its samples were made. Remove the folder.")
            if rank() == 0:
                with staged(path) as (temporary,):
                    temporary.write_text(json.dumps(now, indent=2) + "\n")
        wait_for_all()
        before = json.loads(path.read_text())
        keys = sorted(before.keys() | now.keys())
        changed = [f"{k} {before.get(k)!r}, now {now.get(k)!r}" for k in keys if before.get(k) != now.get(k)]
        if changed:
            raise InputError(
                f"{cache_dir}: these samples were made with {'; '.join(changed)}. Give another --sample_dir, or remove "
                "this one."
            )

    def _cachecheck(self, item_transformed: Any) -> Any:
        """The sample of a record, kept or made; a kept one that was cut short is made again."""
        path = self._folder / f"{self.hash_func(item_transformed).decode()}{self.transform_hash}.pt"
        if path.is_file():
            try:
                return torch.load(path, weights_only=True)
            except (RuntimeError, EOFError, UnpicklingError):
                warnings.warn(f"{path}: this sample cannot be read, and is made again.", stacklevel=2)
                path.unlink(missing_ok=True)
        return super()._cachecheck(item_transformed)  # type: ignore[no-untyped-call]


def fill(dataset: Dataset, num_workers: int) -> None:
    """Ask once for every sample of a dataset that keeps its samples, such as ``KeptDataset``; processes share the work.

    Samples in a row stay with one process, since opening a volume takes longer than cutting it.
    """
    first, last = (len(dataset) * part // world_size() for part in (rank(), rank() + 1))
    loader = DataLoader(Subset(dataset, range(first, last)), batch_size=None, num_workers=num_workers)
    for _ in tqdm(loader, desc="simulating", unit="sample", disable=rank() != 0):
        pass
    wait_for_all()


class FixedDataset(Dataset):
    """Records transformed once, random transforms included: the same samples in every epoch, each by seed and number.

    MONAI's ``CacheDataset`` draws the random transforms anew each time.

    Args:
        data: records.
        transform: a ``Compose``.
        seed: of the random transforms.
    """

    def __init__(self, data: Sequence[Any], transform: Compose, seed: int = 0) -> None:
        made = SeededDataset(data, transform, seed)
        numbers = tqdm(range(len(data)), desc="fixed samples", unit="sample", disable=rank() != 0)
        super().__init__([made[number] for number in numbers])


class EpochSampler(DistributedSampler[int]):
    """The samples of an epoch for this process, numbers for a :class:`SeededDataset`: seed and epoch decide.

    All epochs together walk through the records round by round, each round in a new random order, so that no record
    comes twice before each came once. Of every batch each process takes its block. MONAI's engines tell the epoch
    (``set_epoch``), counted from 1.

    Args:
        dataset: its length counts.
        batch_size: samples of an optimiser step, over all processes.
        num_batches: optimiser steps of an epoch.
        seed: of the order.

    Attributes:
        share: samples of an optimiser step for this process.

    Raises:
        InputError: the batch cannot be dealt out evenly, or there is nothing to draw.
    """

    def __init__(self, dataset: Dataset, batch_size: int, num_batches: int, seed: int = 0) -> None:
        super().__init__(dataset, num_replicas=world_size(), rank=rank(), seed=seed)
        self.records = len(dataset)
        if not self.records or num_batches < 1:
            raise InputError(
                f"{self.records} samples (num_samples), {num_batches} steps an epoch (iterations_per_epoch): a "
                "training needs at least one of each. Give more."
            )
        self.share, rest = divmod(batch_size, self.num_replicas)
        if rest or not self.share:
            raise InputError(
                f"batch_size is {batch_size}; it must be a multiple of the {self.num_replicas} processes, "
                "which share the batch. Change --batch_size or torchrun's --nproc_per_node."
            )
        self.num_samples = self.share * num_batches
        self.total_size = batch_size * num_batches

    def __iter__(self) -> Iterator[int]:
        """Numbers of samples, ``share`` for each batch."""
        known, order = -1, list[int]()
        batch_size = self.share * self.num_replicas
        first = (max(self.epoch, 1) - 1) * self.total_size
        for batch in range(first + self.rank * self.share, first + self.total_size, batch_size):
            for position in range(batch, batch + self.share):
                number, place = divmod(position, self.records)
                if number != known:
                    known, order = number, self._order(number)
                yield number * self.records + order[place]

    def _order(self, number: int) -> list[int]:
        """The order of the records in a round."""
        seed = int(np.random.SeedSequence((self.seed, number)).generate_state(1)[0])
        return torch.randperm(self.records, generator=torch.Generator().manual_seed(seed)).tolist()
