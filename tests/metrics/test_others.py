"""NMSE, VIF and AES against independent computations, what they must not depend on, and where no metric exists."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.signal import convolve2d
from scipy.special import erf

from mocodis_monai.data.intensity import foreground_mask
from mocodis_monai.metrics import (
    ForegroundAES,
    ForegroundNMSE,
    ForegroundPSNR,
    ForegroundSSIM,
    ForegroundVIF,
    average_edge_strength,
    foreground_nmse,
    foreground_psnr,
    foreground_ssim,
    foreground_vif,
)


@pytest.fixture
def images() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A ghosted disc with a texture, the clean one, and a mask: 72 x 64 each."""
    y, x = np.mgrid[-1:1:72j, -1:1:64j]
    mask = x**2 + y**2 < 0.7
    clean = (mask * (0.6 + 0.3 * np.cos(9 * x) * np.cos(7 * y))).astype(np.float32)
    return 0.8 * clean + 0.2 * np.roll(clean, 6, axis=0), clean, mask


def scaled(image: np.ndarray, clean: np.ndarray) -> np.ndarray:
    low, high = np.percentile(clean, (1, 99.9))
    return (image.astype(np.float64) - low) / (high - low)


def direct_vif(image: np.ndarray, clean: np.ndarray) -> float:
    """Pixel-domain VIF after Sheikh and Bovik 2006 (equation 18 with one subband per scale), on a range of 0 to 255."""
    seen = known = 0.0
    for scale in range(4):
        size = 2 ** (4 - scale) + 1
        offset = np.arange(size) - size // 2
        bell = np.exp(-(offset**2) / (2 * (size / 5) ** 2))
        window = np.outer(bell, bell) / bell.sum() ** 2
        if scale:
            image, clean = (convolve2d(part, window, mode="valid")[::2, ::2] for part in (image, clean))
        mean_a, mean_b = (convolve2d(part, window, mode="valid") for part in (clean, image))
        var_a = np.maximum(convolve2d(clean**2, window, mode="valid") - mean_a**2, 0)
        var_b = np.maximum(convolve2d(image**2, window, mode="valid") - mean_b**2, 0)
        covariance = convolve2d(clean * image, window, mode="valid") - mean_a * mean_b
        gain = covariance / (var_a + 1e-10)
        noise = var_b - gain * covariance
        gain, noise = np.where(var_a < 1e-10, 0, gain), np.where(var_a < 1e-10, var_b, noise)
        gain, noise = np.where(var_b < 1e-10, 0, gain), np.where(var_b < 1e-10, 0, noise)
        noise = np.maximum(np.where(gain < 0, var_b, noise), 1e-10)
        gain = np.maximum(gain, 0)
        seen += np.log10(1 + gain**2 * np.where(var_a < 1e-10, 0, var_a) / (noise + 2)).sum()
        known += np.log10(1 + np.where(var_a < 1e-10, 0, var_a) / 2).sum()
    return seen / known


def test_nmse_is_the_energy_of_the_error_over_that_of_the_target(images):
    image, clean, mask = images
    a, b = (scaled(part, clean)[mask] for part in (image, clean))
    wanted = np.linalg.norm(a - b) ** 2 / np.linalg.norm(b) ** 2
    assert foreground_nmse(image, clean, mask) == pytest.approx(wanted, rel=1e-4)
    assert foreground_nmse(clean, clean, mask) == 0
    spoilt = np.where(mask, clean, 5).astype(np.float32)
    assert foreground_nmse(spoilt, clean, mask) == 0  # the mask alone is seen


def test_vif_is_the_formula_of_sheikh_and_bovik(images):
    image, clean, mask = images
    wanted = direct_vif(*(np.where(mask, 255 * scaled(part, clean), 0) for part in (image, clean)))
    # float32 against float64: variances of some 1e3 are differences of squares of some 1e4.
    assert foreground_vif(image, clean, mask) == pytest.approx(wanted, rel=2e-3)
    assert 0 < wanted < 0.9
    assert foreground_vif(clean, clean, mask) == pytest.approx(1, abs=1e-3)


def test_vif_of_a_volume_is_the_mean_over_its_slices_with_foreground(images):
    image, clean, mask = images
    volume, target = np.stack([image, clean, image], 2), np.stack([clean, clean, clean], 2)
    inside = np.stack([mask, mask, np.zeros_like(mask)], 2)
    wanted = (foreground_vif(image, clean, mask) + foreground_vif(clean, clean, mask)) / 2
    # The percentiles are those of the volume, which are those of each of its equal slices.
    assert foreground_vif(volume, target, inside) == pytest.approx(wanted, abs=1e-3)


def test_vif_of_a_small_image_does_not_exist(images):
    image, clean, mask = (part[:40] for part in images)
    assert np.isnan(foreground_vif(image, clean, mask))


@pytest.mark.parametrize("measure", [foreground_nmse, foreground_vif])
def test_a_common_change_of_scale_and_offset_changes_nothing(measure, images):
    image, clean, mask = images
    wanted = measure(image, clean, mask)
    assert measure(700 * image + 30, 700 * clean + 30, mask) == pytest.approx(wanted, rel=1e-2)


def blurred_step(sigma_px: float) -> np.ndarray:
    """A step of height one along the columns, convolved with a Gaussian, 64 x 64."""
    x = np.arange(64) - 31.0
    profile = 0.5 * (1 + erf(x / (np.sqrt(2) * sigma_px)))
    return np.tile(profile, (64, 1)).astype(np.float32)


@pytest.mark.parametrize("sigma_px", [2.0, 3.0, 5.0])
def test_aes_of_a_blurred_step_is_its_slope(sigma_px):
    step, everywhere = blurred_step(sigma_px), np.ones((64, 64), dtype=bool)
    # The central difference of the error function where it is steepest.
    wanted = erf(1 / (np.sqrt(2) * sigma_px)) / 2
    assert average_edge_strength(step, everywhere) == pytest.approx(wanted, rel=0.02)
    assert average_edge_strength(step.T, everywhere) == pytest.approx(wanted, rel=0.02)
    assert average_edge_strength(900 * step + 40, everywhere) == pytest.approx(wanted, rel=0.02)


def test_aes_of_a_volume_is_the_mean_over_all_edge_pixels():
    everywhere = np.ones((64, 64, 2), dtype=bool)
    sharp, soft = blurred_step(2.0), blurred_step(5.0)
    both = average_edge_strength(np.stack([sharp, soft], 2), everywhere)
    alone = [average_edge_strength(image, everywhere[..., 0]) for image in (sharp, soft)]
    assert both == pytest.approx(np.mean(alone), rel=0.02)  # as many edge pixels in each


def test_aes_without_an_edge_does_not_exist():
    flat = np.ones((16, 16), np.float32)
    assert np.isnan(average_edge_strength(flat, np.ones((16, 16), bool)))
    assert np.isnan(average_edge_strength(flat, np.zeros((16, 16), bool)))


@pytest.mark.parametrize(("metric", "measure"), [(ForegroundNMSE, foreground_nmse), (ForegroundVIF, foreground_vif)])
def test_the_paired_metric_is_the_mean_over_images_inside_their_foreground(metric, measure, images):
    image, clean, _ = images
    prediction, target = (torch.from_numpy(np.stack([a, b])[:, None]) for a, b in ((image, clean), (clean, clean)))
    inside = foreground_mask(target[0])[0].numpy()
    wanted = np.mean([measure(image, clean, inside), measure(clean, clean, inside)])
    running = metric()
    assert running(prediction, target).shape == (2, 1)
    assert running.aggregate().item() == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize("measure", [foreground_nmse, foreground_vif, foreground_psnr, foreground_ssim])
def test_without_a_foreground_no_measure_exists(measure, images):
    image, clean, mask = images
    assert np.isnan(measure(image, clean, np.zeros_like(mask)))


@pytest.mark.parametrize("metric", [ForegroundNMSE, ForegroundPSNR, ForegroundSSIM, ForegroundVIF])
def test_a_target_that_has_no_scale_has_no_value_and_does_not_enter_the_mean(metric, images):
    image, clean, _ = images
    sliver = np.zeros_like(clean)
    sliver[10, 10:13] = 1  # less than a thousandth of the pixels
    prediction, target = (torch.from_numpy(np.stack([a, b])[:, None]) for a, b in ((image, image), (clean, sliver)))
    running = metric()
    values = running(prediction, target)
    assert values.isnan().flatten().tolist() == [False, True]
    assert running.aggregate() == values[0]


@pytest.mark.parametrize("metric", [ForegroundNMSE, ForegroundPSNR, ForegroundSSIM, ForegroundVIF, ForegroundAES])
def test_a_prediction_that_is_not_finite_is_refused_and_so_is_a_mean_of_nothing(metric, images):
    prediction, target = (torch.from_numpy(np.stack(pair)[:, None]) for pair in (images[:2], [images[1]] * 2))
    for broken in ((1, 0, 3, 3), (1,)):
        prediction[broken] = torch.nan
        with pytest.raises(ValueError, match="y_pred: image 1 holds NaN"):
            metric()(prediction, target)
    with pytest.raises(ValueError, match="no image came"):
        metric().aggregate()


def test_edges_are_those_of_one_channel():
    with pytest.raises(ValueError, match=r"need the shape \(B, 1, \*spatial\)"):
        ForegroundAES()(torch.rand(1, 2, 16, 16))


def test_the_metric_without_reference_looks_at_no_target(images):
    image = torch.from_numpy(images[0])[None, None]
    running = ForegroundAES()
    running(image)
    wanted = average_edge_strength(images[0], foreground_mask(image[0])[0].numpy())
    assert running.aggregate().item() == pytest.approx(wanted, rel=1e-5)
    running.reset()
    running(image, torch.zeros_like(image))
    assert running.aggregate().item() == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("metric", [ForegroundSSIM, ForegroundPSNR, ForegroundNMSE, ForegroundVIF, ForegroundAES])
def test_without_a_foreground_a_metric_has_no_value_and_it_does_not_count(metric, images):
    image, clean = (torch.from_numpy(part)[None] for part in images[:2])
    running, empty = metric(), torch.zeros_like(clean)
    prediction = torch.stack([image, empty if metric is ForegroundAES else image])  # the one that looks at no target
    values = running(prediction, torch.stack([clean, empty]))
    assert values.shape == (2, 1) and values[0].isfinite() and values[1].isnan()
    assert running.aggregate().item() == pytest.approx(values[0].item())
    with pytest.raises(ValueError, match="reduction: got 'none'"):
        running.aggregate(reduction="none")
