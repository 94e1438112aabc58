"""What a training draws follows from seed and number alone: whatever the workers, the processes and the past."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
import yaml
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedTrainer
from monai.transforms import Compose, OneOf, RandFlipd, RandRotate90d, RandScaleIntensityd

from mocodis_monai import sampling
from mocodis_monai.data.records import phantom_records
from mocodis_monai.errors import InputError
from mocodis_monai.sampling import EpochSampler, FixedDataset, KeptDataset, SeededDataset
from mocodis_monai.transforms import (
    LoadSourced,
    RandContrastd,
    RandKSpaceMotiond,
    RandLayersd,
    RandLesionsd,
    RandTextured,
    RandThermalNoised,
    RandZeroFilld,
)

TRAIN = Path(__file__).parents[1] / "bundle" / "configs" / "train.yaml"


def pipeline() -> Compose:
    """Every random transform of train.yaml, on one anatomy instead of two."""
    motion = {"target_keys": "target", "prob": 0.9, "displacement_mm": (0.3, 4.0)}
    receiver = {"phase_rad": 0.7, "noise_std": 0.01}
    return Compose(
        [
            LoadSourced("image"),
            RandContrastd("image", prob=0.5),
            RandTextured("image", prob=0.5),
            RandLayersd("image", prob=0.5),
            RandLesionsd("image", prob=0.5),
            RandZeroFilld("image", prob=0.5),
            OneOf([RandKSpaceMotiond("image", **motion), RandKSpaceMotiond("image", **motion, receiver=receiver)]),
            RandFlipd(["image", "target"], prob=0.5, spatial_axis=0),
            RandFlipd(["image", "target"], prob=0.5, spatial_axis=1),
            RandRotate90d(["image", "target"], prob=0.5),
            RandScaleIntensityd(["image", "target"], factors=0.2, prob=0.5),
            RandThermalNoised(["image", "target"], prob=0.5),
        ]
    )


def configured(config: Any, train: dict) -> Iterator[str]:
    """Class names of a transform of ``train`` and of those in it, references followed; the partner's are left out."""
    if isinstance(config, str):
        config = train[config.removeprefix("@train#")]
    keys = config.get("keys", "")
    if (keys if isinstance(keys, str) else keys[0]).startswith("partner"):
        return
    yield config["_target_"].split(".")[-1]
    for part in config.get("transforms", []):
        yield from configured(part, train)


def made(transform: Any) -> Iterator[str]:
    """Class names of a transform and of those in it."""
    yield type(transform).__name__
    for part in getattr(transform, "transforms", []):
        yield from made(part)


def random_ones(names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith("Rand") or name == "OneOf"]


def test_the_pipeline_has_every_random_transform_of_the_training_in_its_order():
    train = yaml.safe_load(TRAIN.read_text())["train"]
    names = [name for part in ("simulating", "preprocessing") for name in configured(train[part], train)]
    assert random_ones(made(pipeline())) == random_ones(names)


def seeded(seed: int = 0) -> SeededDataset:
    return SeededDataset(phantom_records(3, size=(32, 32)), pipeline(), seed)


def same(one: dict, other: dict) -> bool:
    return all(torch.equal(one[key], other[key]) for key in ("image", "target"))


def test_a_sample_does_not_hang_on_those_before_it():
    dataset = seeded()
    forwards = [dataset[k] for k in range(6)]
    for k in reversed(range(6)):
        assert same(dataset[k], forwards[k]) and same(seeded()[k], forwards[k])


def test_other_rounds_and_other_seeds_show_a_record_differently():
    dataset = seeded()
    assert dataset[0]["subject"] == dataset[3]["subject"] != dataset[1]["subject"]
    assert not same(dataset[0], dataset[3]) and not same(dataset[0], seeded(1)[0])


def test_a_thread_that_draws_beside_another_leaves_the_number_of_threads_as_it_was():
    before, dataset, inside = torch.get_num_threads(), seeded(), threading.Barrier(2)
    torch.set_num_threads(2)

    def meet(sample: dict) -> dict:
        inside.wait()  # both are at it, and the second has seen what the first one set
        return sample

    dataset.transform = Compose([*dataset.transform.transforms[:1], meet])
    dataset.transform.__deepcopy__ = lambda _: dataset.transform
    try:
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(dataset.__getitem__, range(2)))
        with ThreadPoolExecutor(1) as later:
            assert later.submit(torch.get_num_threads).result() == 2
    finally:
        torch.set_num_threads(before)


def test_slices_of_the_data_set_are_the_same_samples():
    dataset = seeded()
    assert same(dataset[1:3][0], dataset[1])


def test_the_number_of_workers_does_not_change_a_batch():
    batches = []
    for workers in (0, 1, 2):
        dataset = seeded()
        sampler = EpochSampler(dataset, batch_size=2, num_batches=2)
        sampler.set_epoch(1)
        torch.manual_seed(workers)  # what the loader would draw its workers' seeds from
        loader = DataLoader(dataset, batch_size=2, sampler=sampler, num_workers=workers)
        batches.append([torch.cat([batch["image"], batch["target"]]) for batch in loader])
    for number in range(2):
        assert torch.equal(batches[0][number], batches[1][number])
        assert torch.equal(batches[0][number], batches[2][number])


def numbers(epoch: int, rank: int = 0, processes: int = 1, batch_size: int = 4, records: int = 10) -> list[int]:
    """What the sampler of one process gives in an epoch of three batches."""
    with (
        mock.patch.object(sampling, "rank", lambda: rank),
        mock.patch.object(sampling, "world_size", lambda: processes),
    ):
        sampler = EpochSampler(Dataset(range(records)), batch_size, num_batches=3, seed=5)
    sampler.set_epoch(epoch)
    drawn = list(sampler)
    assert len(drawn) == len(sampler) == 3 * sampler.share
    return drawn


def test_no_record_comes_twice_before_each_came_once_and_each_round_has_its_order():
    drawn = [number for epoch in range(1, 6) for number in numbers(epoch)]
    assert sorted(drawn) == list(range(60))  # six rounds of ten, each number once
    rounds = [[number % 10 for number in drawn[k : k + 10]] for k in range(0, 60, 10)]
    assert all(sorted(part) == list(range(10)) for part in rounds)
    assert len(set(map(tuple, rounds))) == 6


def test_monais_engines_count_epochs_as_the_sampler_does():
    dataset, seen = Dataset(range(12)), list[int]()
    loader = DataLoader(dataset, batch_size=2, sampler=EpochSampler(dataset, batch_size=2, num_batches=3))

    def note(engine: SupervisedTrainer, batch: torch.Tensor) -> dict:
        seen.extend(batch.tolist())
        return {}

    network = torch.nn.Linear(1, 1)
    SupervisedTrainer(
        "cpu", 2, loader, network, torch.optim.SGD(network.parameters()), torch.nn.MSELoss(), iteration_update=note,
        decollate=False,
    ).run()
    assert sorted(seen) == list(range(12))  # two epochs of three batches of two: each once


@pytest.mark.parametrize("processes", [2, 4])
def test_the_processes_share_the_batches_of_one(processes):
    for epoch in (1, 2, 8):
        whole, share = numbers(epoch), 4 // processes
        parts = [numbers(epoch, rank, processes) for rank in range(processes)]
        for batch in range(3):
            pieces = [part[batch * share : (batch + 1) * share] for part in parts]
            assert [number for piece in pieces for number in piece] == whole[4 * batch : 4 * (batch + 1)]


@pytest.mark.parametrize(("batch_size", "processes"), [(3, 2), (2, 4)])
def test_a_batch_that_cannot_be_shared_is_refused(batch_size, processes):
    with pytest.raises(InputError, match=rf"batch_size is {batch_size}; it must be a multiple of the {processes} proc"):
        numbers(1, 0, processes, batch_size)


def test_kept_samples_are_refused_where_they_were_made_otherwise(tmp_path):
    records, made_with = [{"image": 1.0}], {"families": ["nod"], "clean_share": 0.1}
    KeptDataset(records, [], tmp_path, made_with)
    KeptDataset(records, [], tmp_path, dict(made_with))
    with pytest.raises(InputError, match=r"clean_share 0\.1, now 0\.2.*--sample_dir"):
        KeptDataset(records, [], tmp_path, {**made_with, "clean_share": 0.2})
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "sample.pt").touch()
    with pytest.raises(InputError, match="says how its samples were made"):
        KeptDataset(records, [], tmp_path / "old", made_with)
    with pytest.raises(InputError, match=r"receiver_share None, now 0\.5"):
        KeptDataset(records, [], tmp_path, {**made_with, "receiver_share": 0.5})
    with pytest.raises(InputError, match=r"clean_share 0\.1, now None"):
        KeptDataset(records, [], tmp_path, {"families": ["nod"]})


@pytest.mark.parametrize("rest", [0, 40])
def test_a_kept_sample_that_was_cut_short_is_made_again(tmp_path, rest):
    kept = KeptDataset([{"image": torch.ones(3)}], [], tmp_path, {})
    assert torch.equal(kept[0]["image"], torch.ones(3))
    (path,) = tmp_path.glob("*.pt")
    path.write_bytes(path.read_bytes()[:rest])
    with pytest.warns(UserWarning, match=rf"{path.name}.*is made again"):
        assert torch.equal(kept[0]["image"], torch.ones(3))
    assert torch.equal(torch.load(path, weights_only=True)["image"], torch.ones(3))


def test_nothing_to_draw_is_refused():
    for records, batches in (([], 1), ([1], 0)):
        with pytest.raises(InputError, match="at least one of each"):
            EpochSampler(records, 1, batches)


def test_a_fixed_dataset_is_the_same_for_the_same_seed_and_in_every_epoch():
    records = phantom_records(4, size=(32, 32))
    first, again = (FixedDataset(records, pipeline(), seed=3) for _ in range(2))
    other = FixedDataset(records, pipeline(), seed=4)
    assert len(first) == 4
    for index in range(4):
        assert torch.equal(first[index]["image"], first[index]["image"])
        assert torch.equal(first[index]["image"], again[index]["image"])
        assert torch.equal(first[index]["target"], again[index]["target"])
        assert not torch.equal(first[index]["image"], other[index]["image"])


def test_a_fixed_sample_does_not_hang_on_those_before_it():
    records = phantom_records(3, size=(32, 32))
    alone = FixedDataset([records[1], *records[1:]], pipeline(), seed=3)
    assert torch.equal(FixedDataset(records, pipeline(), seed=3)[1]["image"], alone[1]["image"])


def test_a_fixed_dataset_leaves_the_global_generators_alone():
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    FixedDataset(phantom_records(2, size=(32, 32)), pipeline())
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002
    assert random.getstate() == before[2]


@pytest.mark.parametrize("processes", [1, 3])
def test_processes_fill_a_dataset_together_each_sample_once(monkeypatch, processes):
    asked = []

    class Asked(torch.utils.data.Dataset):
        def __len__(self):
            return 10

        def __getitem__(self, index):
            asked.append(index)
            return index

    monkeypatch.setattr(sampling, "wait_for_all", lambda: None)
    for process in range(processes):
        monkeypatch.setattr(sampling, "rank", lambda process=process: process)
        monkeypatch.setattr(sampling, "world_size", lambda: processes)
        sampling.fill(Asked(), 0)
    assert asked == list(range(10))
