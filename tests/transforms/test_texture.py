"""Texture and layers: spectrum, strength, where they run, what they leave alone."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from mocodis_monai.transforms import RandLayersd, RandLesionsd, RandTextured
from mocodis_monai.transforms.texture import power_law_field


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0])
def test_the_spectrum_falls_with_the_exponent(exponent):
    # Energy in two rings an octave apart, averaged over fields: the ratio is 2^(2 exponent).
    rng = np.random.RandomState(0)
    radius = sum(torch.meshgrid(*[torch.fft.fftfreq(128).square()] * 2, indexing="ij")).sqrt()
    rings = [(radius > low) & (radius < 1.1 * low) for low in (0.1, 0.2)]
    energy = torch.zeros(2)
    for _ in range(20):
        power = torch.fft.fftn(power_law_field((128, 128), exponent, rng)).abs().square()
        energy += torch.stack([power[ring].mean() for ring in rings])
    assert torch.log2(energy[0] / energy[1]).item() == pytest.approx(2 * exponent, abs=0.15)


@pytest.mark.parametrize("shape", [(48, 40), (24, 20, 16)])
def test_a_field_has_mean_zero_and_variance_one(shape):
    field = power_law_field(shape, 1.0, np.random.RandomState(1))
    assert field.shape == shape and field.dtype == torch.float32
    assert field.mean().abs() < 1e-5 and field.std().item() == pytest.approx(1, abs=1e-5)


def test_the_texture_is_as_strong_as_asked_for_and_air_stays_air():
    image = torch.zeros(1, 128, 128)
    image[:, 32:96, 32:96] = 0.8
    add = RandTextured("image", prob=1.0, strength=0.1).set_random_state(0)
    for _ in range(6):
        textured = add({"image": image})["image"]
        assert not textured[image == 0].any() and (textured >= 0).all()
    # Over the whole grid the standard deviation is the strength; a square of it has somewhat more or less.
    flat = add({"image": torch.full((1, 64, 64), 0.8)})["image"]
    assert (flat / 0.8).std().item() == pytest.approx(0.1, rel=0.02)


def test_layers_run_along_the_edge_and_keep_flat_places_flat():
    image = torch.zeros(1, 64, 64)
    image[:, :, 32:] = 1.0
    add = RandLayersd("image", prob=1.0).set_random_state(0)
    for _ in range(5):
        layered = add({"image": image})["image"]
        assert not layered[image == 0].any()
        assert layered[0].std(0).max() < 1e-6  # the same in every row: along the edge
        assert layered[0, 0, 60:].std() < 1e-3  # far from the edge
    turns = (layered[0, 0, 32:].diff().sign().diff() != 0).sum()
    assert turns >= 2


@pytest.mark.parametrize("kind", [RandTextured, RandLayersd])
def test_same_seed_same_sample_and_all_keys_alike(kind):
    image = MetaTensor(torch.rand(1, 32, 28))
    add = kind(("image", "other"), prob=1.0)
    first = add.set_random_state(3)({"image": image, "other": image.clone()})
    torch.testing.assert_close(first["other"], first["image"])
    assert torch.equal(first["image"], add.set_random_state(3)({"image": image, "other": image})["image"])
    assert not torch.equal(first["image"], add({"image": image, "other": image})["image"])
    assert isinstance(first["image"], MetaTensor)


@pytest.mark.parametrize("kind", [RandTextured, RandLayersd])
def test_an_array_gives_what_its_tensor_gives(kind):
    image = np.random.default_rng(0).random((1, 20, 18), dtype=np.float32)
    turned = np.ascontiguousarray(image[:, ::-1])[:, ::-1]  # negative strides
    kinds = (image, turned, image.astype(np.float64), torch.from_numpy(image))
    made = [kind("a", prob=1.0).set_random_state(0)({"a": one})["a"] for one in kinds]
    for one, result in zip(kinds, made, strict=True):  # as the input, struck or not: a batch holds both
        assert type(result) is type(one) and result.dtype == one.dtype
        assert np.array_equal(result, made[-1])
    half = kind("a", prob=1.0).set_random_state(0)({"a": torch.from_numpy(image).half()})["a"]
    torch.testing.assert_close(half, made[-1].half(), atol=2e-2, rtol=0)


@pytest.mark.parametrize("kind", [RandTextured, RandLayersd])
def test_at_probability_zero_nothing_changes(kind):
    image = torch.rand(1, 16, 16)
    assert torch.equal(kind("image", prob=0.0)({"image": image})["image"], image)


@pytest.mark.parametrize("kind", [RandLayersd, RandLesionsd])
def test_an_image_on_another_scale_is_refused_and_an_empty_one_is_not(kind):
    with pytest.raises(ValueError, match="foreground reaches up to"):
        kind("image", prob=1.0)({"image": 1000 * torch.rand(1, 32, 32)})
    assert not kind("image", prob=1.0)({"image": torch.zeros(1, 32, 32)})["image"].any()


@pytest.mark.parametrize("strength", [(0.3, 0.1), -0.1, (-0.1, 0.1), (0.1, 0.2, 0.3)])
def test_a_strength_that_cannot_be_is_refused(strength):
    with pytest.raises(ValueError, match=r"strength: got .* allowed is .* 0 <= low <= high"):
        RandTextured("image", strength=strength)


@pytest.mark.parametrize("shape", [(1, 1), (2, 1), (1, 1, 1)])
@pytest.mark.parametrize("kind", [RandTextured, RandLayersd, RandLesionsd])
def test_where_nothing_can_vary_the_values_are_finite(kind, shape):
    change = kind("image", prob=1.0).set_random_state(0)
    for _ in range(12):
        assert bool(torch.isfinite(change({"image": torch.ones(1, *shape)})["image"]).all())


def test_a_single_pixel_has_no_texture():
    image = torch.full((1, 1, 1), 0.7)
    assert torch.equal(RandTextured("image", prob=1.0).set_random_state(0)({"image": image})["image"], image)
