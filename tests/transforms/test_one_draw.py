"""What the keys of a sample share: one draw, made apart from applying it."""

import pytest
import torch

from mocodis_monai.transforms import RandLayersd, RandLesionsd, RandTextured, RandThermalNoised, RandZeroFilld

KINDS = [RandLayersd, RandLesionsd, RandTextured, RandThermalNoised, RandZeroFilld]


@pytest.mark.parametrize("kind", KINDS)
def test_all_that_is_drawn_is_drawn_by_randomize(kind):
    image = torch.rand(1, 24, 20)
    for seed in range(4):
        apart, whole = (kind(("image", "other"), prob=0.7).set_random_state(seed) for _ in range(2))
        apart.randomize(image)
        whole({"image": image, "other": image})
        assert apart.R.rand() == whole.R.rand()
