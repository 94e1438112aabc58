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


@pytest.mark.parametrize("kind", [RandLesionsd, RandTextured])
def test_keys_of_another_spatial_shape_are_refused_and_other_channels_are_not(kind):
    add = kind(("image", "other"), prob=1.0).set_random_state(0)
    with pytest.raises(ValueError, match=r"^other: got spatial shape \(1, 20\); allowed is .*\(24, 20\)"):
        add({"image": torch.rand(1, 24, 20), "other": torch.rand(1, 1, 20)})
    assert add({"image": torch.rand(2, 24, 20), "other": torch.rand(1, 24, 20)})["other"].shape == (1, 24, 20)


@pytest.mark.parametrize("shape", [(1, 24, 20), (2, 24, 1), (2, 24, 20, 1)])
def test_noise_is_not_broadcast_over_keys_of_another_shape(shape):
    add = RandThermalNoised(("image", "target"), prob=1.0)
    with pytest.raises(ValueError, match=r"^target: got shape .*; allowed is .*\(2, 24, 20\)"):
        add({"image": torch.rand(2, 24, 20), "target": torch.rand(shape)})
