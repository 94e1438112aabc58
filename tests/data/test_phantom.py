"""A phantom is its seed, has the promised scale, and fits into its field of view."""

import random

import numpy as np
import pytest
import torch

from mocodis_monai.data.intensity import foreground_mask, foreground_scale
from mocodis_monai.data.phantom import REGIONS, make_phantom
from mocodis_monai.data.tissues import Tissue

EXPECTED_TISSUES = {
    "head": {Tissue.WHITE_MATTER, Tissue.GREY_MATTER, Tissue.CSF, Tissue.CORTICAL_BONE, Tissue.FAT},
    "thorax": {Tissue.LUNG, Tissue.MYOCARDIUM, Tissue.BLOOD, Tissue.CORTICAL_BONE, Tissue.RED_MARROW},
    "abdomen": {Tissue.LIVER, Tissue.BLOOD, Tissue.MUSCLE, Tissue.FAT, Tissue.CORTICAL_BONE},
    "pelvis": {Tissue.URINE, Tissue.PROSTATE, Tissue.YELLOW_MARROW, Tissue.MUSCLE},
    "knee": {Tissue.YELLOW_MARROW, Tissue.CARTILAGE, Tissue.TENDON, Tissue.MUSCLE, Tissue.FAT},
}


@pytest.mark.parametrize("region", REGIONS)
def test_same_seed_same_phantom_bit_for_bit_and_others_differ(region):
    first, again, other = (make_phantom(region, seed) for seed in (5, 5, 6))
    assert torch.equal(first.image, again.image) and np.array_equal(first.labels, again.labels)
    assert first.sequence == again.sequence and first.spacing_mm == again.spacing_mm
    assert not torch.equal(first.image, other.image) and not np.array_equal(first.labels, other.labels)


@pytest.mark.parametrize("region", REGIONS)
def test_global_generators_are_untouched(region):
    states = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    make_phantom(region, 1)
    assert random.getstate() == states[0]
    assert np.array_equal(np.random.get_state()[1], states[1])  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), states[2])


@pytest.mark.parametrize("region", REGIONS)
@pytest.mark.parametrize("size", [(128, 128), (96, 160), (65, 33)])
def test_shape_scale_and_spacing(region, size):
    for seed in range(3):
        phantom = make_phantom(region, seed, size)
        assert phantom.image.shape == (1, *size) and phantom.image.dtype == torch.float32
        assert phantom.labels.shape == size and phantom.region == region
        assert phantom.image.min() >= 0 and torch.isfinite(phantom.image).all()
        assert foreground_scale(phantom.image) == pytest.approx(1, abs=1e-5)
        assert phantom.spacing_mm[0] == phantom.spacing_mm[1] > 0


@pytest.mark.parametrize("region", ["head", "abdomen", "knee"])
def test_field_of_view_is_that_of_the_region(region):
    low, high = {"head": (220, 260), "abdomen": (340, 420), "knee": (150, 175)}[region]
    for seed in range(5):
        assert low <= make_phantom(region, seed).spacing_mm[0] * 128 <= high


@pytest.mark.parametrize("region", EXPECTED_TISSUES)
def test_regions_hold_their_tissues_inside_air(region):
    for seed in range(8):
        labels = make_phantom(region, seed, (160, 160)).labels
        assert EXPECTED_TISSUES[region] <= set(np.unique(labels))
        assert labels[0, 0] == Tissue.AIR == labels[-1, -1]


@pytest.mark.parametrize("region", ["random_shapes", "dead_leaves"])
def test_random_content_has_many_regions_inside_a_ring(region):
    labels = make_phantom(region, 3).labels
    assert len(np.unique(labels)) > 5 and {0, 2} <= set(np.unique(labels))
    assert not labels[[0, -1]].any()


@pytest.mark.parametrize("region", ["head", "random_shapes", "dead_leaves"])
def test_foreground_mask_contains_the_object(region):
    for seed in range(4):
        phantom = make_phantom(region, seed)
        bright = (phantom.image > 0.15).numpy()
        mask = foreground_mask(phantom.image).numpy()
        assert mask[bright].mean() > 0.97
        assert mask[0][phantom.labels == 0].mean() < 0.15


def test_bad_arguments_are_named_with_what_is_allowed():
    with pytest.raises(ValueError, match=r"region is 'foot'.*head"):
        make_phantom("foot", 0)
    with pytest.raises(ValueError, match="seed is -1"):
        make_phantom("head", -1)
    for size in [(16, 128), (128, 4096), (128,), (64, 64, 64)]:
        with pytest.raises(ValueError, match=r"size is .*32 to 1024"):
            make_phantom("head", 0, size)
