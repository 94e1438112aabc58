"""Zero filling: what goes, what stays, and that a still image stays a still image."""

import math

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from mocodis_monai.motion import to_kspace
from mocodis_monai.transforms import RandZeroFilld
from mocodis_monai.transforms.zero_fill import zero_fill


def wave(size, cycles, axis):
    """1 + cos of ``cycles`` over the field of view along one axis, (1, size, size)."""
    along = 1 + 0.5 * torch.cos(2 * math.pi * cycles * torch.arange(size) / size)
    return along.reshape(1, -1, 1).expand(1, size, size) if axis == 0 else along.expand(1, size, size)


def test_a_wave_within_the_kept_lines_stays_and_one_beyond_them_goes():
    for axis in (0, 1):
        slow, fast = wave(64, 8, axis), wave(64, 20, axis)  # of 32 cycles at most; half of the lines reach 16
        torch.testing.assert_close(zero_fill(slow, {axis: 0.5}), slow)
        torch.testing.assert_close(zero_fill(fast, {axis: 0.5}), torch.ones_like(fast))
        torch.testing.assert_close(zero_fill(fast, {1 - axis: 0.5}), fast)


def test_the_hamming_window_weights_a_wave_by_its_frequency():
    expected = 0.54 + 0.46 * math.cos(2 * math.pi * 8 / 64 / 0.5)
    image = wave(64, 8, 0)
    torch.testing.assert_close(zero_fill(image, {0: 0.5}, hamming=True), 1 + expected * (image - 1))


@pytest.mark.parametrize("shape", [(1, 33, 40), (2, 21, 16, 18)])
def test_all_lines_kept_is_the_identity(shape):
    image = torch.rand(shape)
    torch.testing.assert_close(zero_fill(image, dict.fromkeys(range(len(shape) - 1), 1.0)), image)


def test_some_axes_of_each_sample_lose_their_outer_lines():
    fill, lost = RandZeroFilld("image", prob=1.0).set_random_state(0), []
    image = 1 + torch.rand(1, 64, 64, generator=torch.Generator().manual_seed(0))  # magnitude is real part
    for _ in range(20):
        kspace = to_kspace(fill({"image": image})["image"], (-2, -1)).abs()[0]
        lost.append([(kspace.amax(1 - axis) < 1e-3).float().mean().item() for axis in (0, 1)])
    lost = np.array(lost)
    assert ((lost > 0.05).any(1)).all() and lost.max() <= 0.56
    assert 3 <= (lost > 0.05).all(1).sum() <= 12 and (lost[:, 0] == 0).any() and (lost[:, 1] == 0).any()


def test_keys_share_the_window_and_keep_their_metadata():
    image = MetaTensor(torch.rand(1, 32, 28), meta={"filename_or_obj": "scan"})
    fill = RandZeroFilld(("image", "other"), prob=1.0).set_random_state(3)
    filled = fill({"image": image, "other": image.clone()})
    assert isinstance(filled["image"], MetaTensor) and filled["image"].meta["filename_or_obj"] == "scan"
    assert torch.equal(filled["image"], filled["other"]) and not torch.equal(filled["image"], image)
    assert RandZeroFilld("image", prob=0.0)({"image": image})["image"] is image


@pytest.mark.parametrize("kept", [(0.0, 0.5), (0.8, 0.5), (0.5, 1.1), 0, 1.1, (0.5,), (0.5, math.nan)])
def test_a_share_that_cannot_be_is_refused(kept):
    with pytest.raises(ValueError, match=r"kept: got .* allowed is .* 0 < low <= high <= 1"):
        RandZeroFilld("image", kept=kept)


def test_one_share_is_a_range_of_one():
    image = torch.rand(1, 32, 28)
    one, pair = (RandZeroFilld("image", 1.0, kept).set_random_state(0)({"image": image}) for kept in (0.5, (0.5, 0.5)))
    assert torch.equal(one["image"], pair["image"]) and not torch.equal(one["image"], image)


def test_without_any_of_the_keys_nothing_happens():
    fill = RandZeroFilld("image", prob=1.0, allow_missing_keys=True).set_random_state(0)
    assert fill({"other": 1}) == {"other": 1}
