"""A seeded composition: the record alone decides the sample."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from monai.data import PersistentDataset
from monai.transforms import RandFlipd, RandGaussianNoised, RandScaleIntensityd, SelectItemsd, ToTensord

from mocodis_monai.data.records import phantom_records
from mocodis_monai.transforms import LoadSourced, RandKSpaceMotiond, SeededCompose

RECORDS = [{"image": torch.full((1, 8, 8), 1.0 + seed), "seed": seed} for seed in range(6)]


def noisy() -> SeededCompose:
    return SeededCompose([RandGaussianNoised("image", prob=1.0), RandScaleIntensityd("image", factors=0.5, prob=0.5)])


def test_a_sample_does_not_hang_on_what_was_asked_before():
    forwards, backwards, alone = noisy(), noisy(), noisy()
    samples = [forwards(record)["image"] for record in RECORDS]
    again = [backwards(record)["image"] for record in reversed(RECORDS)][::-1]
    assert all(torch.equal(a, b) for a, b in zip(samples, again, strict=True))
    assert torch.equal(alone(RECORDS[4])["image"], samples[4])
    assert not torch.equal(samples[0] - 1, samples[1] - 2)


def test_global_generators_are_left_alone():
    before = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    noisy()(RECORDS[0])
    assert np.array_equal(np.random.get_state()[1], before[0])  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), before[1])


def test_a_record_without_a_seed_is_refused():
    with pytest.raises(KeyError, match="'seed' is missing in the record"):
        noisy()({"image": RECORDS[0]["image"]})


def test_samples_are_kept_on_disk_and_what_comes_after_stays_random(tmp_path):
    calls = []

    def count(sample):
        calls.append(1)
        return sample

    plain = [ToTensord("image", track_meta=False), SelectItemsd("image")]  # what loads with weights_only
    seeded = SeededCompose([count, RandGaussianNoised("image", prob=1.0), *plain])
    flip = RandFlipd("image", prob=0.5, spatial_axis=0)
    dataset = PersistentDataset(RECORDS, [seeded, flip], cache_dir=tmp_path)
    looks = [dataset[2]["image"] for _ in range(16)]
    assert len(calls) == 1
    kept = seeded(RECORDS[2])["image"]
    flipped = [torch.equal(look, kept.flip(1)) for look in looks]
    assert any(flipped) and not all(flipped)
    assert all(flip or torch.equal(look, kept) for flip, look in zip(flipped, looks, strict=True))


def test_threads_that_share_the_transform_get_the_samples_of_their_records():
    simulate = SeededCompose([LoadSourced("image"), RandKSpaceMotiond("image", prob=1.0)])
    records = [{**record, "seed": number} for number, record in enumerate(phantom_records(6, size=(32, 32)))]
    alone = [simulate(record)["image"] for record in records]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda record: simulate(record)["image"], records * 3))
    assert all(torch.equal(one, other) for one, other in zip(alone * 3, together, strict=True))
