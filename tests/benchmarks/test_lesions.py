"""The lesion test measures what it says: contrast of what was planted, and blobs that are not in the target."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from benchmarks.lesions import CONTRAST, contrast, plant, spurious


def disc(diameter: float) -> MetaTensor:
    """An even disc of 0.6 in air, (1, 96, 96) with pixels of 1 mm."""
    rows, columns = np.ogrid[:96, :96]
    inside = np.hypot(rows - 48, columns - 48) < diameter / 2
    return MetaTensor(torch.from_numpy(0.6 * inside.astype(np.float32))[None])


@pytest.mark.parametrize("diameter_mm", [3.0, 6.0, 12.0])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_planted_lesion_has_its_size_and_its_contrast(diameter_mm, sign):
    planted = plant(disc(80), np.random.default_rng(0), diameter_mm, sign)
    change = (planted.image - disc(80)).as_tensor()[0].numpy() * sign / CONTRAST
    assert change.sum() == pytest.approx(np.pi / 4 * diameter_mm**2, rel=0.05)  # area, the soft edge counted in part
    core = change > 0.99
    assert contrast(planted.image.as_tensor()[0].numpy(), core) == pytest.approx(sign * CONTRAST, abs=0.02)


def test_where_there_is_no_room_nothing_is_planted():
    assert plant(disc(10), np.random.default_rng(0), 12.0, 1) is None


def test_blobs_count_only_where_the_target_has_none():
    target = disc(80).as_tensor()[0].numpy()
    planted = plant(disc(80), np.random.default_rng(1), 6.0, -1).image.as_tensor()[0].numpy()
    assert spurious(target, target, 1.0) == 0
    assert spurious(planted, target, 1.0) == 1
    assert spurious(planted, planted, 1.0) == 0
