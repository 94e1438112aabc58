"""The intensity scale is a percentile of the foreground; the mask is solid."""

import numpy as np
import pytest
import torch

from mocodis_monai.data.intensity import foreground_mask, foreground_scale


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
