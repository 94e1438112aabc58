"""The intensity scale is a percentile of the foreground; the mask is solid."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from mocodis_monai.data.intensity import check_magnitude, check_no_labels, foreground_mask, foreground_scale
from mocodis_monai.data.phantom import REGIONS, make_phantom
from mocodis_monai.errors import InputError, NotAScanError


def disc_with_holes(size=96):
    y, x = np.mgrid[:size, :size] - size / 2
    disc = np.hypot(x, y) < 0.4 * size
    image = disc.astype(np.float32)
    image[np.hypot(x - 10, y) < 8] = 0
    return torch.from_numpy(image)[None], torch.from_numpy(disc)[None]


def test_scale_follows_the_image_and_ignores_the_background():
    values = torch.rand(1, 64, 64, generator=torch.Generator().manual_seed(0)) + 0.5
    padded = torch.nn.functional.pad(values, (200, 200, 200, 200))
    assert foreground_scale(values) == pytest.approx(np.percentile(values.numpy(), 99.5), rel=1e-6)
    assert foreground_scale(padded) == pytest.approx(foreground_scale(values), rel=1e-6)
    assert foreground_scale(7 * values) == pytest.approx(7 * foreground_scale(values), rel=1e-6)


def test_mask_fills_holes_and_does_not_depend_on_the_scale():
    image, disc = disc_with_holes()
    mask = foreground_mask(image)
    assert mask.dtype == torch.bool and mask.shape == image.shape
    assert mask[disc].all() and mask.sum() < 1.15 * disc.sum()
    assert torch.equal(mask, foreground_mask(300 * image))


def test_mask_ignores_noise_and_specks_and_keeps_two_legs():
    image, disc = disc_with_holes()
    generator = torch.Generator().manual_seed(0)
    both = torch.cat([image, image], dim=-1) + 0.03 * torch.rand(1, 96, 192, generator=generator)
    both[0, 2:4, 2:4] = 1
    mask = foreground_mask(both)
    assert mask[torch.cat([disc, disc], dim=-1)].all() and not mask[0, :5, :5].any()


def test_mask_of_a_volume_fills_a_cavity():
    volume = torch.zeros(1, 24, 24, 24)
    volume[:, 4:20, 4:20, 4:20] = 1
    volume[:, 9:15, 9:15, 9:15] = 0
    assert foreground_mask(volume)[:, 4:20, 4:20, 4:20].all()


@pytest.mark.parametrize("axis", [1, 2, 3])
def test_a_slice_with_an_axis_of_length_one_is_filled_as_the_plain_slice(axis):
    image = torch.zeros(1, 48, 40)
    image[0, 8:40, 6:34] = 1
    image[0, 15:30, 12:25] = 0  # a lung
    inside = foreground_mask(image)
    assert inside[0, 15:30, 12:25].all()
    assert torch.equal(foreground_mask(image.unsqueeze(axis)).squeeze(axis), inside)


def test_unfit_images_are_refused():
    with pytest.raises(ValueError, match="no value above zero"):
        foreground_scale(torch.zeros(1, 8, 8))
    with pytest.raises(ValueError, match="NaN or infinite"):
        foreground_scale(torch.full((1, 8, 8), torch.nan))
    with pytest.raises(ValueError, match=r"shape \(8, 8\)"):
        foreground_mask(torch.ones(8, 8))


def quantised(image: np.ndarray, levels: int) -> np.ndarray:
    """Whole numbers up to ``levels``, what is brighter than 1 clipped."""
    return np.rint(np.minimum(image, 1) * levels)


@pytest.mark.parametrize("levels", [31, 255, 4095])
@pytest.mark.parametrize("region", REGIONS)
def test_no_magnitude_image_passes_for_labels(region, levels):
    phantom = make_phantom(region, 0, (128, 128))
    image = quantised(phantom.image.numpy().transpose(1, 2, 0), levels)
    thresholded = np.where(image > image.mean(), image, 0)
    ringing = np.where(image < 0.1 * levels, 0, image)
    ringing[0, 0] = -1  # an even background that is not the lowest value
    for values in (image, thresholded, ringing):
        check_no_labels(Path("a.nii"), values)


def test_the_tissues_of_a_phantom_are_labels():
    labels = make_phantom("head", 0, (128, 128)).labels
    for values in (labels[..., None], labels[None], np.repeat(labels[:, None], 3, axis=1)):
        with pytest.raises(NotAScanError, match=r"a\.nii: \d+ values, .*: a mask or a map of labels"):
            check_no_labels(Path("a.nii"), values.astype(np.float32))


@pytest.mark.parametrize("sigma", [1, 3, 20])
def test_noise_alone_is_no_map_of_labels(sigma):
    rng = np.random.default_rng(0)
    noise = np.hypot(*rng.normal(0, sigma, (2, 40, 40, 8)))
    check_no_labels(Path("a.nii"), np.rint(noise))
    doubled = np.rint(noise).repeat(2, axis=0).repeat(2, axis=1)
    check_no_labels(Path("a.nii"), doubled)


def test_masks_and_sparse_labels_are_told_from_images_by_their_values():
    lesions = np.zeros((20, 20, 4), np.float32)
    lesions[::7, ::9] = 3
    for values in (lesions, 1 - lesions / 3, lesions - 5):
        with pytest.raises(NotAScanError, match="2 values"):
            check_no_labels(Path("a.nii"), values)
    check_no_labels(Path("a.nii"), lesions / 7)  # no whole numbers: perhaps a phantom


TEMPLATES = Path("/usr/share/mricron/templates")


@pytest.mark.skipif(not TEMPLATES.exists(), reason="mricron-data is not installed")
@pytest.mark.parametrize(("name", "are_labels"), [("aal", True), ("JHU-WhiteMatter-labels-2mm", True), ("ch2", False)])
def test_atlases_are_labels_and_a_head_of_8_bit_is_none(name, are_labels):
    image = nib.load(TEMPLATES / f"{name}.nii.gz")
    values = np.array(image.dataobj[:, :, 40:60], dtype=np.float32, order="C")
    found = False
    try:
        check_no_labels(Path("a.nii"), values)
    except NotAScanError:
        found = True
    assert found == are_labels


def test_a_phase_image_is_another_kind_and_a_few_values_that_ran_over_are_a_fault():
    rng = np.random.default_rng(0)
    with pytest.raises(NotAScanError, match="as in a phase image"):
        check_magnitude(Path("a.nii"), rng.uniform(-4096, 4095, (20, 20)))
    image = rng.uniform(0, 30000, (20, 20))
    image[:2] = -32768
    with pytest.raises(InputError, match="as in a phase image") as caught:
        check_magnitude(Path("a.nii"), image)
    assert not isinstance(caught.value, NotAScanError)
