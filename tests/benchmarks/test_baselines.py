"""The baselines: the same samples and loss as ours, trained by the same workflow, and one table at the end."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
import typer
from torch.nn import functional as F

from benchmarks.baseline_methods import (
    Autofocus,
    ImageLoss,
    NetworkMethod,
    Remembered,
    ResidualNetwork,
    ShareOfResidual,
    basic_unet,
    gradient_entropy,
    muon_groups_of,
    restormer,
)
from benchmarks.baseline_training import train
from benchmarks.baselines import compare, knobs_of, part_of
from mocodis_monai.data.phantom import make_phantom
from mocodis_monai.errors import InputError
from mocodis_monai.evaluation import Case, Cell, Grid, builtin_grid
from mocodis_monai.losses import CorrectionLoss, foreground_structural_loss, structural_loss
from mocodis_monai.motion import to_image, to_kspace
from mocodis_monai.networks import MotionCorrector

TINY = {"image_size": 64, "batch_size": 2, "num_workers": 0, "num_validation_images": 1}


def as_case(image: torch.Tensor) -> Case:
    cell = Cell("head", "sudden", "mild", "")
    return Case(cell, "a", "a", image[..., None], None, (1.0, 1.0, 1.0), 2, 0.0, {}, "PLS")


def test_knobs_are_read_as_yaml_reads_them():
    read = knobs_of(["image_size=96", "sample_dir=a=b/c", "families=[nod, drift]"])
    assert read == {"image_size": 96, "sample_dir": "a=b/c", "families": ["nod", "drift"]}
    with pytest.raises(typer.BadParameter, match="name=value"):
        knobs_of(["image_size"])


@pytest.mark.parametrize("make", [basic_unet, restormer])
def test_networks_take_any_size_and_are_about_as_large_as_ours(make):
    network = make().eval()
    image = torch.rand(1, 1, 45, 61)
    with torch.no_grad():
        assert network(image).shape == image.shape
    ours = sum(weight.numel() for weight in MotionCorrector().parameters())
    assert 0.4 < sum(weight.numel() for weight in network.parameters()) / ours < 1.5


def test_the_loss_is_the_image_term_of_ours_and_its_structural_term():
    clean, moved, prediction = (torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(k)) for k in range(3))
    floor, share = (getattr(CorrectionLoss(), name) for name in ("balance_floor", "structure_weight"))
    weights = torch.stack([1 / (F.l1_loss(a, b) + floor) for a, b in zip(moved, clean)])
    errors = torch.stack([F.l1_loss(a, b) for a, b in zip(prediction, clean)])
    wanted = (weights / weights.mean() * errors).mean() + share * structural_loss(prediction, clean)
    assert ImageLoss()(prediction, moved, clean).item() == pytest.approx(wanted.item(), rel=1e-5)


def test_the_loss_counts_structure_where_and_as_much_as_the_configs_say():
    clean, moved, prediction = (torch.rand(3, 1, 32, 32, generator=torch.Generator().manual_seed(k)) for k in range(3))
    clean[..., 16:] = 0
    given = {"structure_weight": 1.0, "structure_in": "foreground"}
    plain = ImageLoss(structure_weight=0.0)(prediction, moved, clean)
    difference = ImageLoss(**given)(prediction, moved, clean) - plain
    assert difference.item() == pytest.approx(foreground_structural_loss(prediction, clean).item(), rel=1e-5)


@pytest.mark.parametrize("make", [basic_unet, restormer])
def test_muon_steps_all_kernels_of_a_baseline_but_those_that_touch_the_image(make):
    network = make()
    kernels, others = (group["params"] for group in muon_groups_of(network))
    assert len(kernels) + len(others) == len({*kernels, *others}) == len(list(network.parameters()))
    in_image = [weight for weight in network.parameters() if weight.ndim > 1 and 1 in weight.shape[:2]]
    outer = [weight for weight in others if weight.ndim > 1]
    assert len(outer) == 2 and {id(weight) for weight in outer} <= {id(weight) for weight in in_image}
    assert all(weight.ndim > 1 for weight in kernels)


def test_a_network_without_known_outer_layers_is_told_where_to_name_them():
    with pytest.raises(KeyError, match="Conv2d is not in OUTER_LAYERS"):
        muon_groups_of(ResidualNetwork(torch.nn.Conv2d(1, 1, 3)))


def test_the_baselines_step_by_the_optimiser_of_the_configs(tmp_path):
    configs = ("train.yaml", "train_muon.yaml")
    trained = train("unet", 8, tmp_path, configs, {**TINY, "num_samples": 16})
    groups = torch.load(trained.weights.parent / "checkpoint.pt", weights_only=True)["optimizer"]["param_groups"]
    assert [group["use_muon"] for group in groups] == [True, False]


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


def test_a_share_of_the_residual_is_a_part_of_the_way():
    class Brighter(torch.nn.Module):
        calls = 0

        def forward(self, image):
            self.calls += 1
            return image + 0.5

    case = as_case(make_phantom("head", 1, (64, 64)).image[0])
    network = Brighter()
    method = Remembered(NetworkMethod("brighter", network))
    whole = method.correct(case).image
    half, none = (ShareOfResidual(method, share).correct(case).image for share in (0.5, 0.0))
    torch.testing.assert_close(none, case.moved)
    torch.testing.assert_close(half - none, (whole - none) / 2)
    all_of_it = ShareOfResidual(method, 1.0, added=0.5)  # as if the method took half of what the network says
    torch.testing.assert_close(all_of_it.correct(case).image - none, 2 * (whole - none))
    assert (whole - none).max() > 0.4
    method.correct(case._replace(moved=case.moved.clone()))  # as an evaluation hands it to each row
    assert network.calls == 1  # shares come for nothing
    method.correct(case._replace(name="another"))
    assert network.calls == 2


@pytest.fixture(scope="module")
def eight_steps(tmp_path_factory):
    """Folder of a BasicUNet after eight steps, and what its training gave back."""
    out = tmp_path_factory.mktemp("baselines")
    return out, train("unet", 8, out, knobs=TINY)


def test_a_training_that_is_done_is_not_done_again(eight_steps):
    out, first = eight_steps
    (record,) = (json.loads(path.read_text()) for path in out.rglob("seconds.json"))
    assert record == {"steps": 8, "seconds": pytest.approx(first.seconds)}
    before = first.weights.stat().st_mtime_ns
    assert train("unet", 8, out, knobs=TINY) == first
    assert first.weights.stat().st_mtime_ns == before


def test_a_folder_with_another_training_is_refused(eight_steps):
    out, _ = eight_steps
    with pytest.raises(InputError, match=r"batch_size.*Give another --out"):
        train("unet", 8, out, knobs={**TINY, "batch_size": 4})


def test_a_quarter_of_the_steps_goes_to_codes_that_are_not_given(tmp_path):
    train("ours", 8, tmp_path, knobs=TINY)
    records = {path.parent.name: json.loads(path.read_text())["steps"] for path in tmp_path.rglob("seconds.json")}
    assert records == {"codes": 2, "correction": 6}


def test_a_training_that_was_killed_ends_as_if_it_had_not_been(tmp_path):
    whole = train("ours", 8, tmp_path, knobs=TINY).weights
    wanted = torch.load(whole, weights_only=True)
    shutil.rmtree(whole.parent)  # killed between the stages
    found = torch.load(train("ours", 8, tmp_path, knobs=TINY).weights, weights_only=True)
    for name, weight in wanted.items():
        torch.testing.assert_close(weight, found[name], msg=name)


def test_ours_starts_from_given_codes_with_a_fresh_branch(tmp_path):
    torch.manual_seed(5)
    donor = MotionCorrector()
    with torch.no_grad():
        for weight in donor.parameters():
            weight.add_(0.01)
    for name, buffer in donor.named_buffers():
        if name.endswith("initialized"):
            buffer.fill_(True)
    torch.save(donor.state_dict(), tmp_path / "donor.pt")
    trained = train("ours", 8, tmp_path, knobs=TINY, codes=tmp_path / "donor.pt")
    start = torch.load(next(tmp_path.rglob("codes.pt")), weights_only=True)
    end = torch.load(trained.weights, weights_only=True)
    codes = {name: value for name, value in donor.state_dict().items() if name.startswith("vqvae.content_encoder")}
    for name, value in codes.items():
        assert torch.equal(end[name], value) and torch.equal(start[name], value), name
    given, fresh = donor.state_dict(), {name for name in start if name.startswith("fidelity_branch")}
    assert not any(torch.equal(start[name], given[name]) for name in fresh if start[name].is_floating_point())


def test_the_table_has_ours_and_every_baseline(tmp_path):
    grid = Grid(("knee",), ("sudden",), (3.5,), num_subjects=1)
    files = compare(tmp_path, 8, grid, knobs=TINY)
    summary = json.loads(files.summary.read_text())
    networks = ["ours", "MONAI BasicUNet", "MONAI Restormer"]
    rows = [f"{name}, share {share}" for name in networks for share in ("0.5", "1")]
    assert summary["methods"] == ["uncorrected", *rows, "autofocus", "ours, --weights"]
    about = summary["about"]
    assert all(about["seconds_per_volume"][name] > 0 for name in summary["methods"][1:])
    assert set(about["training_cpu_s"]) == set(rows[::2]) and min(about["training_cpu_s"].values()) > 0
    assert about["parameters"]["autofocus"] == 0
    against = {group["against"] for group in summary["groups"]["against others"]}
    assert against == set(summary["methods"][2:])
    report, table = files.report.read_text(), files.table.read_text()
    assert all(name in report and name in table for name in summary["methods"][1:])
    assert "training in processor minutes" in table
    apart = compare(tmp_path, 8, grid, knobs=TINY, baselines=("unet",), table=tmp_path / "apart")
    assert apart.summary.parent == tmp_path / "apart" and json.loads(files.summary.read_text()) == summary
    alone = json.loads(apart.summary.read_text())
    assert alone["methods"] == ["uncorrected", *rows[:4], "ours, --weights"]


def test_a_part_of_the_grid():
    grid = builtin_grid()
    part = part_of(grid, ["severe", "mild"], 24)
    assert (part.displacements_mm, part.num_subjects, part.regions) == ((3.5, 0.75), 24, grid.regions)
    assert part_of(grid, [], None) == grid
    with pytest.raises(typer.BadParameter, match="allowed are mild, moderate, severe, extreme"):
        part_of(grid, ["strong"], None)
