"""The baselines: the same samples and loss as ours, trained by the same workflow, and one table at the end."""

from __future__ import annotations

import json

import pytest
import torch
from torch.nn import functional as F

from benchmarks.baseline_methods import Autofocus, ImageLoss, NetworkMethod, basic_unet, gradient_entropy, restormer
from benchmarks.baselines import compare, train
from mocodis_monai.data.phantom import make_phantom
from mocodis_monai.evaluation import Case, Cell, Grid
from mocodis_monai.motion import to_image, to_kspace
from mocodis_monai.networks import MotionCorrector

TINY = {"image_size": 64, "batch_size": 2, "num_workers": 0, "num_validation_images": 1}


def as_case(image: torch.Tensor) -> Case:
    cell = Cell("head", "sudden", "mild", "")
    return Case(cell, "a", "a", image[..., None], None, (1.0, 1.0, 1.0), 2, 0.0, {}, "PLS")


@pytest.mark.parametrize("make", [basic_unet, restormer])
def test_networks_take_any_size_and_are_about_as_large_as_ours(make):
    network = make().eval()
    image = torch.rand(1, 1, 45, 61)
    with torch.no_grad():
        assert network(image).shape == image.shape
    ours = sum(weight.numel() for weight in MotionCorrector().parameters())
    assert 0.4 < sum(weight.numel() for weight in network.parameters()) / ours < 1.5


def test_the_loss_is_the_image_term_of_ours():
    clean, moved, prediction = (torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(k)) for k in range(3))
    loss = ImageLoss()
    weights = torch.stack([1 / (F.l1_loss(a, b) + loss.balance_floor) for a, b in zip(moved, clean)])
    errors = torch.stack([F.l1_loss(a, b) for a, b in zip(prediction, clean)])
    assert loss(prediction, moved, clean) == pytest.approx((weights / weights.mean() * errors).mean().item(), rel=1e-5)


def test_the_method_works_on_the_scale_of_one_and_leaves_air_alone():
    class Doubled(torch.nn.Module):
        def forward(self, image):
            assert image.amax() < 1.3
            return 2 * image

    image = 700 * make_phantom("head", 1, (64, 64)).image[0]
    volume = torch.stack([image, *[1e-3 * image] * 3], 2)  # the mask reaches one slice into the air
    case = as_case(image)._replace(moved=volume)
    output = NetworkMethod("doubled", Doubled()).correct(case)
    torch.testing.assert_close(output.image[..., 0], 2 * image, rtol=0.02, atol=1)  # bfloat16
    torch.testing.assert_close(output.image[..., 3], volume[..., 3])


@pytest.mark.parametrize("axis", [0, 1])
def test_autofocus_sharpens_an_image_whose_lines_were_shifted(axis):
    clean = make_phantom("head", 1).image[0]
    spectrum = to_kspace(clean, (0, 1)).movedim(axis, 0)
    frequency = torch.fft.fftshift(torch.fft.fftfreq(128))[:, None]
    shift_px = torch.zeros(128, 1)
    shift_px[:52] = 2.0  # the patient moved along the phase-encode axis before the centre was acquired
    turned = spectrum * torch.exp(-2j * torch.pi * frequency * shift_px)
    moved = to_image(turned.movedim(0, axis), (0, 1)).abs()
    focused = Autofocus().correct(as_case(moved)).image[..., 0]
    assert gradient_entropy(focused) < gradient_entropy(moved)
    again = Autofocus().focus(clean)
    assert gradient_entropy(again) <= gradient_entropy(clean)


def test_training_stops_and_goes_on(tmp_path):
    first = train("unet", 2, tmp_path, knobs=TINY)
    steps = json.loads((tmp_path / "seconds.json").read_text())["steps"]
    assert steps == 2 and first.seconds > 0
    before = first.weights.stat().st_mtime_ns
    assert train("unet", 2, tmp_path, knobs=TINY) == first  # done: not trained again
    assert first.weights.stat().st_mtime_ns == before
    further = train("unet", 4, tmp_path, knobs=TINY)
    assert json.loads((tmp_path / "seconds.json").read_text())["steps"] == 4
    assert further.seconds > first.seconds
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["trainer"]["iteration"] == 4


def test_the_table_has_ours_and_every_baseline(tmp_path):
    grid = Grid(("knee",), ("sudden",), (3.5,), num_subjects=1)
    files = compare(tmp_path, 2, grid, knobs=TINY)
    summary = json.loads(files.summary.read_text())
    names = ["ours", "MONAI BasicUNet", "MONAI Restormer", "autofocus"]
    assert summary["methods"] == ["uncorrected", *names]
    about = summary["about"]
    assert all(about["seconds_per_volume"][name] > 0 for name in names)
    assert all(about["training_seconds"][name] > 0 for name in names[:3])
    assert about["parameters"]["autofocus"] == 0
    against = {group["against"] for group in summary["groups"]["against others"]}
    assert against == set(names[1:])
    assert all(name in files.report.read_text() for name in names)
