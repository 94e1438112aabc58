"""Lesions: how many, how large, how strong, where, and that all images of a sample get the same."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from scipy.ndimage import label

from mocodis_monai.transforms import RandLesionsd


def added_to(image: torch.Tensor, seed: int, **options) -> np.ndarray:
    add = RandLesionsd("image", prob=1.0, **options).set_random_state(seed)
    return (add({"image": image})["image"] - image)[0].numpy()


@pytest.mark.parametrize("shape", [(120, 100), (48, 44, 40)])
def test_a_lesion_is_as_strong_and_about_as_long_as_asked(shape):
    image, lengths = torch.ones(1, *shape), []
    for seed in range(30):
        added = added_to(image, seed, diameter_px=10, contrast=0.3)
        parts, count = label(np.abs(added) > 0.15)
        assert 1 <= count <= 6
        alone = [np.argwhere(parts == one) for one in range(1, count + 1)]
        inside = [part for part in alone if part.min() > 0 and all(part.max(0) < np.array(shape) - 1)]
        if count == 1 and inside:
            # From one end to the other of the longest axis, whose outline strays by a seventh or so.
            lengths.append(np.linalg.norm(inside[0][:, None] - inside[0][None], axis=-1).max() + 1)
            assert np.abs(added).max() == pytest.approx(0.3, abs=1e-6)
    assert len(lengths) >= 2 and all(6 < length < 16 for length in lengths)
    assert np.mean(lengths) == pytest.approx(10, rel=0.25)


def test_bright_and_dark_ones_of_all_sizes_and_never_more_than_six():
    image, counts, signs, areas = torch.full((1, 160, 160), 0.7), [], [], []
    for seed in range(60):
        added = added_to(image, seed)
        parts, count = label(np.abs(added) > 0.05)
        counts.append(count)
        signs.append(np.sign(added[np.unravel_index(np.abs(added).argmax(), added.shape)]))
        areas += [(parts == one).sum() for one in range(1, count + 1)]
    assert set(counts) == set(range(1, 7)) and 15 < np.sum(np.array(signs) > 0) < 45
    assert np.percentile(areas, 10) < 20 and np.percentile(areas, 90) > 80


def test_they_lie_in_tissue_and_nothing_falls_below_zero():
    image = torch.zeros(1, 96, 96)
    image[:, 40:56, 40:56] = 0.2
    for seed in range(20):
        added = added_to(image, seed, diameter_px=(3, 6), contrast=(0.4, 0.5))
        assert added.any() and not added[:30].any() and not added[66:].any()
        assert (image[0].numpy() + added).min() >= 0
    assert not added_to(torch.zeros(1, 32, 32), 0).any()


def test_all_images_of_a_sample_get_the_same_lesions_and_the_next_sample_others():
    image = MetaTensor(torch.ones(1, 40, 36), meta={"filename_or_obj": "scan"})
    add = RandLesionsd(("image", "other"), prob=1.0)
    sample = {"image": image, "other": torch.ones(1, 40, 36)}
    first, second = add.set_random_state(3)(sample), add(sample)
    assert isinstance(first["image"], MetaTensor) and first["image"].meta["filename_or_obj"] == "scan"
    assert torch.equal(first["image"].as_tensor(), first["other"]) and not torch.equal(first["other"], second["other"])
    assert torch.equal(add.set_random_state(3)(sample)["other"], first["other"])
    assert torch.equal(sample["other"], torch.ones(1, 40, 36))


def test_in_none_of_the_samples_it_is_the_identity():
    image = torch.rand(1, 16, 16)
    assert RandLesionsd("image", prob=0.0)({"image": image})["image"] is image
    assert RandLesionsd("image", prob=1.0, allow_missing_keys=True)({"other": 1}) == {"other": 1}


@pytest.mark.parametrize("option", [{"diameter_px": (9, 3)}, {"diameter_px": (0, 3)}, {"contrast": (-0.1, 0.2)}])
def test_a_range_that_cannot_be_says_so(option):
    with pytest.raises(ValueError, match=f"{next(iter(option))}: got"):
        RandLesionsd("image", **option)


def test_lesions_of_bfloat16_are_those_of_the_same_values_in_float32():
    coarse = (0.2 + 0.7 * torch.rand(1, 24, 20)).bfloat16()
    fine, half = (
        RandLesionsd("image", prob=1.0).set_random_state(1)({"image": image})["image"]
        for image in (coarse.float(), coarse)
    )
    assert half.dtype == torch.bfloat16 and torch.equal(half, fine.bfloat16()) and not torch.equal(half, coarse)
