"""Thermal noise: how much of it, how smooth, and that an image and its target share it."""

import math

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from mocodis_monai.motion import to_kspace
from mocodis_monai.transforms import RandThermalNoised


def test_bright_tissue_gets_the_asked_spread_and_air_the_mean_of_rayleigh():
    add = RandThermalNoised(("bright", "air"), prob=1.0, noise_std=0.04, kept=0.6)
    for seed in range(6):  # white and smooth ones
        add.set_random_state(seed)
        noisy = add({"bright": torch.ones(1, 160, 160), "air": torch.zeros(1, 160, 160)})
        assert float(noisy["bright"].std()) == pytest.approx(0.04, rel=0.05)
        assert float(noisy["bright"].mean()) == pytest.approx(1 + 0.04**2 / 2, abs=2e-3)  # Gudbjartsson & Patz
        assert float(noisy["air"].mean()) == pytest.approx(0.04 * math.sqrt(math.pi / 2), rel=0.05)


def test_every_second_noise_has_no_outer_lines():
    add, empty = RandThermalNoised("image", prob=1.0).set_random_state(0), []
    for _ in range(20):
        noise = add({"image": torch.full((1, 64, 64), 10.0)})["image"] - 10  # far from zero: its real part
        kspace = to_kspace(noise, (-2, -1)).abs()[0]
        empty.append([(kspace.amax(1 - axis) < 1e-2 * kspace.max()).float().mean().item() for axis in (0, 1)])
    smooth = (np.array(empty) > 0.05).all(1)
    assert 5 <= smooth.sum() <= 15 and np.array(empty)[~smooth].max() < 0.05 and np.array(empty).max() <= 0.57


def test_a_moved_image_and_its_target_share_the_noise_and_the_next_sample_has_another():
    add = RandThermalNoised(("image", "target"), prob=1.0).set_random_state(1)
    image = MetaTensor(torch.ones(1, 32, 28), meta={"filename_or_obj": "scan"})
    sample = {"image": image, "target": torch.ones(1, 32, 28)}
    noisy, again = add(sample), add(sample)
    assert isinstance(noisy["image"], MetaTensor) and noisy["image"].meta["filename_or_obj"] == "scan"
    assert torch.equal(noisy["image"].as_tensor(), noisy["target"])
    assert not torch.equal(noisy["target"], again["target"]) and torch.equal(sample["target"], torch.ones(1, 32, 28))
    add.set_random_state(1)
    assert torch.equal(add(sample)["target"], noisy["target"])


def test_in_none_of_the_samples_it_is_the_identity():
    image = torch.rand(1, 16, 16)
    assert RandThermalNoised("image", prob=0.0)({"image": image})["image"] is image
    assert RandThermalNoised("image", prob=1.0, allow_missing_keys=True)({"other": 1}) == {"other": 1}


@pytest.mark.parametrize(
    "option",
    [{"noise_std": (0.1, 0.0)}, {"noise_std": (-0.1, 0.1)}, {"kept": (0.0, 1.0)}, {"kept": (0.5, 1.5)}, {"kept": 0.0}],
)
def test_a_range_that_cannot_be_says_so(option):
    with pytest.raises(ValueError, match=f"{next(iter(option))}: got"):
        RandThermalNoised("image", **option)
