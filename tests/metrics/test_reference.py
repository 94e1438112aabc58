"""SSIM and PSNR against independent computations, and what they must not depend on."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mocodis_monai.data.intensity import foreground_mask
from mocodis_monai.metrics import (
    ForegroundPSNR,
    ForegroundSSIM,
    foreground_psnr,
    foreground_ssim,
    percentile_scaled,
)


@pytest.fixture
def images() -> tuple[np.ndarray, np.ndarray]:
    """A disc with a texture and a ghosted copy, 32 x 32."""
    y, x = np.mgrid[-1:1:32j, -1:1:32j]
    clean = ((x**2 + y**2 < 0.6) * (0.6 + 0.3 * np.cos(8 * x) * np.cos(6 * y))).astype(np.float32)
    return 0.8 * clean + 0.2 * np.roll(clean, 6, axis=0), clean


@pytest.fixture
def inside() -> np.ndarray:
    """A mask that keeps the 11 x 11 window of the SSIM off the border."""
    mask = np.zeros((32, 32), dtype=bool)
    mask[6:25, 7:24] = True
    return mask


def direct_ssim(a: np.ndarray, b: np.ndarray, mask: np.ndarray) -> float:
    """Equation 13 of Wang et al. 2004 window by window: 11 x 11, sigma 1.5, K1 = .01, K2 = .03, range 1."""
    offsets = np.arange(-5, 6)
    gauss = np.exp(-(offsets**2) / (2 * 1.5**2))
    weights = np.outer(gauss, gauss) / gauss.sum() ** 2
    values = []
    for row, column in np.argwhere(mask):
        p, q = (image[row - 5 : row + 6, column - 5 : column + 6].astype(np.float64) for image in (a, b))
        mean_p, mean_q = (weights * p).sum(), (weights * q).sum()
        var_p, var_q = (weights * (p - mean_p) ** 2).sum(), (weights * (q - mean_q) ** 2).sum()
        covariance = (weights * (p - mean_p) * (q - mean_q)).sum()
        luminance = (2 * mean_p * mean_q + 1e-4) / (mean_p**2 + mean_q**2 + 1e-4)
        values.append(luminance * (2 * covariance + 9e-4) / (var_p + var_q + 9e-4))
    return float(np.mean(values))


def test_ssim_is_the_formula_of_wang(images, inside):
    image, clean = images
    low, high = np.percentile(clean, (1, 99.9))
    wanted = direct_ssim((image - low) / (high - low), (clean - low) / (high - low), inside)
    assert foreground_ssim(image, clean, inside) == pytest.approx(wanted, abs=1e-4)
    assert 0 < wanted < 1


def test_ssim_of_a_volume_is_the_mean_over_the_mask_of_its_slices(images, inside):
    image, clean = images
    fewer = inside.copy()
    fewer[:15] = False
    volume, target = np.stack([image, clean, image], 2), np.stack([clean, clean, clean], 2)
    mask = np.stack([inside, fewer, np.zeros_like(inside)], 2)  # of three slices only: no window would fit across
    wanted = (foreground_ssim(image, clean, inside) * inside.sum() + fewer.sum()) / (inside.sum() + fewer.sum())
    # The percentiles are those of the volume, which are those of each of its equal slices.
    assert foreground_ssim(volume, target, mask) == pytest.approx(wanted, abs=1e-4)


def test_ssim_of_what_is_smaller_than_its_window_does_not_exist(images, inside):
    image, clean = images
    assert np.isnan(foreground_ssim(image[:10], clean[:10], inside[:10]))
    assert np.isnan(foreground_ssim(image, clean, np.zeros_like(inside)))


def test_psnr_of_a_known_error(images, inside):
    _, clean = images
    low, high = np.percentile(clean, (1, 99.9))
    error = 0.05 * (high - low)
    assert foreground_psnr(clean + np.float32(error), clean, inside) == pytest.approx(
        -20 * np.log10(0.05), abs=1e-3
    )


@pytest.mark.parametrize("measure", [foreground_ssim, foreground_psnr])
def test_a_common_change_of_scale_and_offset_changes_nothing(measure, images, inside):
    image, clean = images
    wanted = measure(image, clean, inside)
    assert measure(700 * image + 30, 700 * clean + 30, inside) == pytest.approx(wanted, rel=1e-3)


@pytest.mark.parametrize("measure", [foreground_ssim, foreground_psnr])
def test_a_change_of_the_scale_of_one_image_costs(measure, images, inside):
    _, clean = images
    assert measure(0.8 * clean, clean, inside) < measure(clean, clean, inside)


def test_equal_images_are_perfect(images, inside):
    _, clean = images
    assert foreground_ssim(clean, clean, inside) == pytest.approx(1)
    assert foreground_psnr(clean, clean, inside) == 100


def test_a_psnr_sees_the_mask_only(images, inside):
    _, clean = images
    spoilt = np.where(inside, clean, 5).astype(np.float32)
    assert foreground_psnr(spoilt, clean, inside) == 100


def test_the_scale_is_that_of_the_target(images):
    image, clean = images
    low, high = np.percentile(clean, (1, 99.9))
    scaled = percentile_scaled(image, clean)
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled * (high - low) + low, image, atol=1e-6)


@pytest.mark.parametrize(
    ("metric", "measure"), [(ForegroundSSIM, foreground_ssim), (ForegroundPSNR, foreground_psnr)]
)
def test_the_metric_is_the_mean_over_images_inside_their_foreground(metric, measure, images):
    image, clean = (torch.from_numpy(part)[None] for part in images)
    batches = [
        (torch.stack([image, clean]), torch.stack([clean, clean])),
        (image.flip(1)[None], clean.flip(1)[None]),
    ]
    values = [
        measure(a[0].numpy(), b[0].numpy(), foreground_mask(b)[0].numpy())
        for pair in batches
        for a, b in zip(*pair, strict=True)
    ]
    running = metric()
    for prediction, target in batches:
        assert running(prediction, target).shape == (len(target), 1)
    assert running.aggregate().item() == pytest.approx(np.mean(values), abs=1e-5)
    running.reset()
    running(*batches[1])
    assert running.aggregate().item() == pytest.approx(values[2], abs=1e-5)


@pytest.mark.parametrize("metric", [ForegroundSSIM, ForegroundPSNR])
@pytest.mark.parametrize("shapes", [((1, 1, 8, 8), (1, 1, 8, 9)), ((1, 2, 8, 8), (1, 2, 8, 8))])
def test_shapes_must_agree_and_have_one_channel(metric, shapes):
    with pytest.raises(ValueError, match="both need one shape"):
        metric()(*map(torch.rand, shapes))
