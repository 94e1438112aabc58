"""Records become images with the right spacing and scale; random contrast keeps the background dark."""

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.data.utils import affine_to_spacing
from monai.transforms import Compose
from nibabel import aff2axcodes

from mocodis_monai.data.intensity import foreground_scale
from mocodis_monai.data.phantom import make_phantom
from mocodis_monai.data.records import phantom_records, slice_records
from mocodis_monai.transforms.sources import (
    KNOTS,
    LoadSourced,
    RandContrast,
    RandContrastd,
    remap_intensities,
)


@pytest.fixture
def permuted(tmp_path):
    """A RAS block (20, 24, 28), spacing (1, 2, 3) mm, stored as (z, x, y)."""
    ras = np.zeros((20, 24, 28), dtype=np.float32)
    ras[4:16, 5:19, 6:22] = np.random.default_rng(0).uniform(50, 100, (12, 14, 16))
    affine = np.zeros((4, 4))
    affine[2, 0], affine[0, 1], affine[1, 2], affine[3, 3] = 3, 1, 2, 1
    path = tmp_path / "volume.nii.gz"
    nib.save(nib.Nifti1Image(np.transpose(ras, (2, 0, 1)), affine), path)
    return path, ras


def test_a_phantom_record_becomes_the_phantom_with_its_spacing():
    record = phantom_records(1, first_seed=4, regions=["knee"], size=(64, 80))[0]
    image = LoadSourced("image")(record)["image"]
    phantom = make_phantom("knee", 4, (64, 80))
    assert isinstance(image, MetaTensor) and torch.equal(image.as_tensor(), phantom.image)
    assert affine_to_spacing(image.affine).tolist() == pytest.approx([*phantom.spacing_mm, 1])
    assert aff2axcodes(image.affine.numpy())[:2] == ("I", "P")  # a sagittal knee, head up, kneecap in front
    assert record["image"]["kind"] == "phantom"


def test_a_slice_record_becomes_the_scaled_slice(permuted):
    path, ras = permuted
    record = next(r for r in slice_records(path, axes=(1,)) if r["image"]["index"] == 10)
    image = LoadSourced("image")(record)["image"]
    assert affine_to_spacing(image.affine).tolist() == pytest.approx([1, 3, 2])
    assert aff2axcodes(image.affine.numpy()) == ("R", "S", "A")
    assert foreground_scale(image) == pytest.approx(1, abs=1e-6)
    expected = ras[:, 10] / foreground_scale(ras[:, 10])
    assert torch.allclose(image[0].as_tensor(), torch.from_numpy(expected))


def test_size_pads_and_crops_about_the_centre_without_resampling(permuted):
    path, _ = permuted
    record = slice_records(path, axes=(2,))[0]
    plain = LoadSourced("image")(record)["image"]
    fitted = LoadSourced("image", size=(32, 16))(record)["image"]
    assert plain.shape == (1, 20, 24) and fitted.shape == (1, 32, 16)
    assert torch.equal(fitted.as_tensor()[:, 6:26], plain.as_tensor()[:, :, 4:20])
    assert not fitted[:, :6].any() and not fitted[:, 26:].any()
    assert np.allclose(np.diag(fitted.affine), np.diag(plain.affine))


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="'movie'"):
        LoadSourced("image")({"image": {"kind": "movie"}})


def test_contrast_is_seeded_and_leaves_the_global_generator_alone():
    image = make_phantom("head", 0).image
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    first, again, other = (RandContrast(1.0).set_random_state(seed)(image) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert np.array_equal(state, np.random.get_state()[1])  # noqa: NPY002


def test_contrast_keeps_scale_background_and_sign():
    transform = RandContrast(1.0).set_random_state(0)
    image = make_phantom("abdomen", 1).image
    for _ in range(12):
        changed = transform(image)
        assert foreground_scale(changed) == pytest.approx(1, abs=1e-5) and changed.min() >= 0
        assert changed[image < 0.01].max() < 0.02


def test_contrast_draws_rising_falling_and_free_curves():
    transform = RandContrast(1.0).set_random_state(3)
    slopes = set()
    for _ in range(40):
        transform.randomize()
        steps = np.diff(transform.values[2:])
        slopes.add("up" if (steps >= 0).all() else "down" if (steps <= 0).all() else "free")
    assert slopes == {"up", "down", "free"}


def test_the_identity_curve_is_the_identity():
    image = make_phantom("head", 2).image.clamp(max=1.4)
    assert torch.allclose(remap_intensities(image, KNOTS), image, atol=1e-6)


def test_dictionary_version_uses_one_curve_for_all_keys_and_keeps_the_metadata():
    record = phantom_records(1, regions=["head"])[0]
    load = LoadSourced("image")
    pipeline = Compose([load, RandContrastd("image", prob=1.0)]).set_random_state(seed=5)
    image, plain = pipeline(record)["image"], load(record)["image"]
    assert isinstance(image, MetaTensor) and torch.equal(image.affine, plain.affine)
    assert image.meta["filename_or_obj"] == "phantom_head_0" and not torch.equal(image, plain)
    twin = RandContrastd(("a", "b"), prob=1.0)({"a": plain, "b": plain})
    assert torch.equal(twin["a"], twin["b"])


def test_contrast_of_an_array_is_that_of_the_tensor_and_another_scale_is_refused():
    image = make_phantom("head", 2).image
    seen, array = (RandContrast(1.0).set_random_state(0)(kind) for kind in (image, image.numpy()))
    assert isinstance(array, np.ndarray) and np.array_equal(seen, array)
    with pytest.raises(ValueError, match=r"reaches up to 1\d{3}.*; allowed is 0\.5 to 2"):
        RandContrast(1.0)(1000 * image)


def test_an_empty_image_keeps_its_contrast():
    empty = torch.zeros(1, 8, 8)
    assert torch.equal(RandContrast(1.0).set_random_state(0)(empty), empty)


def test_contrast_at_probability_zero_is_the_input():
    image = make_phantom("head", 0).image
    assert RandContrast(0.0)(image) is image
    assert RandContrastd("image", prob=0.0)({"image": image})["image"] is image


def test_contrast_gives_no_gradient_as_it_says():
    image = torch.rand(1, 16, 16, requires_grad=True)
    assert not RandContrast(1.0).set_random_state(0)(image).requires_grad
