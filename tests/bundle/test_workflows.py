"""The bundle's workflows as users start them: `python -m monai.bundle` in a process of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser, ConfigWorkflow, verify_net_in_out

import mocodis_monai
from mocodis_monai.data.packaged import icbm152_t1_path
from mocodis_monai.networks import MotionCorrector
from mocodis_monai.release import bundle_root

BUNDLE = Path(bundle_root())
CONFIGS = BUNDLE / "configs"
OVERLAYS = (
    "train_prior.yaml",
    "train_release.yaml",
    "train_heads.yaml",
    "train_own.yaml",
    "evaluate.yaml",
    "multi_gpu_train.yaml",
)
TINY = {
    "iterations_per_epoch": 2,  # one of each stage in the first epoch
    "codes_iterations": 1,
    "num_samples": 16,
    "num_validation_images": 2,
    "image_size": 64,
    "num_workers": 0,
}
AFFINE = np.array([[0, -1.5, 0, 5], [2.0, 0, 0, -7], [0, 0, 4.0, 9], [0, 0, 0, 1]])


def monai_bundle(run_id: str, *configs: str, cwd: Path = BUNDLE.parent, fails: bool = False, **knobs) -> str:
    """Run `python -m monai.bundle run` and give back all that it printed."""
    files = configs[0] if len(configs) == 1 else str(list(configs))
    command = [sys.executable, "-m", "monai.bundle", "run", run_id, "--config_file", files]
    command += [
        word for name, value in knobs.items() for word in (f"--{name.replace('__', '#')}", str(value))
    ]
    environment = {**os.environ, "PYTHONPATH": str(Path(mocodis_monai.__file__).parents[1])}
    done = subprocess.run(
        command,
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    assert (done.returncode != 0) == fails, done.stdout[-4000:]
    return done.stdout


def config(name: str) -> str:
    return f"bundle/configs/{name}"


def weights_of(folder: Path, name: str = "model.pt") -> dict[str, torch.Tensor]:
    return torch.load(folder / name, weights_only=True)


def volume(path: Path, shape: tuple[int, ...]) -> Path:
    """A magnitude image: an ellipsoid in air."""
    grid = np.meshgrid(
        *(np.linspace(-1, 1, size) if size > 1 else np.zeros(1) for size in shape), indexing="ij"
    )
    image = (
        400 * (sum(axis**2 for axis in grid) < 0.5) * (1 + 0.3 * np.cos(9 * grid[0]) * np.cos(7 * grid[1]))
    )
    nib.save(nib.Nifti1Image(image.astype(np.float32), AFFINE), path)
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """The folder of a first epoch, of a training over two that was cut short after one."""
    folder = tmp_path_factory.mktemp("trained")
    said = monai_bundle(
        "training",
        config("train.yaml"),
        **TINY,
        max_epochs=2,
        train__trainer__max_epochs=1,
        output_dir=folder,
    )
    assert str(folder / "model.pt") in said
    return folder


def test_training_leaves_weights_a_checkpoint_and_tensorboard_with_pictures(trained):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    MotionCorrector().load_state_dict(weights_of(trained))
    assert weights_of(trained, "checkpoint.pt")["trainer"]["iteration"] == 2
    events = EventAccumulator(str(trained / "tensorboard"))
    events.Reload()
    assert {"ssim", "psnr_db", "ssim_uncorrected", "psnr_db_uncorrected"} <= {
        tag.removeprefix("val_") for tag in events.Tags()["scalars"]
    }
    assert len(events.Tags()["images"]) == 3  # input, target and corrected


def test_training_shows_progress_and_metrics_and_runs_from_inside_the_bundle(tmp_path):
    said = monai_bundle(
        "run", "configs/train.yaml", cwd=BUNDLE, **TINY, max_epochs=1, output_dir=tmp_path / "out"
    )
    assert "training: [2/2] 100%" in said and "validation: [1/1] 100%" in said
    metrics = re.search(r"Epoch\[1\] Metrics -- (.*)", said).group(1)
    for name in ("ssim", "ssim_uncorrected", "psnr_db", "psnr_db_uncorrected"):
        assert np.isfinite(float(re.search(rf"\b{name}: ([-.\d]+)", metrics).group(1)))
    assert (tmp_path / "out" / "model.pt").is_file()


def test_training_goes_on_from_its_checkpoint(trained, tmp_path):
    for file in ("checkpoint.pt", "model.pt"):
        (tmp_path / file).write_bytes((trained / file).read_bytes())
    said = monai_bundle(
        "training", config("train.yaml"), **TINY, max_epochs=2, output_dir=tmp_path, resume=True
    )
    assert "Epoch[2] Metrics" in said and "Epoch[1] Metrics" not in said
    before, after = weights_of(trained), weights_of(tmp_path)
    assert weights_of(tmp_path, "checkpoint.pt")["trainer"]["iteration"] == 4
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert any(name.startswith("fidelity_branch.") for name in changed)
    assert all(name.startswith("fidelity_branch.") for name in changed)  # the codes stay


def test_the_prior_trains_on_frozen_codes(trained, tmp_path):
    monai_bundle(
        "train_prior",
        config("train.yaml"),
        config("train_prior.yaml"),
        **TINY,
        max_epochs=1,
        initial_weights=trained / "model.pt",
        output_dir=tmp_path,
    )
    before, after = weights_of(trained), weights_of(tmp_path)
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert changed and all(name.startswith("prior.") for name in changed)


def test_evaluation_measures_given_weights(trained, tmp_path):
    said = monai_bundle(
        "evaluating",
        config("train.yaml"),
        config("evaluate.yaml"),
        **TINY,
        weights=trained / "model.pt",
        output_dir=tmp_path,
    )
    for name in ("ssim", "ssim_uncorrected", "psnr_db", "psnr_db_uncorrected", "nmse", "vif", "aes"):
        assert re.search(rf"Metrics -- .*\b{name}: \d", said)


def test_the_evaluation_writes_its_table_from_given_weights_of_another_network_def(tmp_path):
    torch.save(MotionCorrector(prior_layers=1).state_dict(), tmp_path / "model.pt")
    grid = {"_target_": "mocodis_monai.evaluation.Grid", "regions": ["knee"], "families": [], "num_subjects": 1}
    monai_bundle(
        "run",
        config("train.yaml"),
        config("evaluate.yaml"),
        weights=tmp_path / "model.pt",
        network_def__prior_layers=1,
        output_dir=tmp_path / "out",
        grid=grid,
    )
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written == {"report.html", "summary.json", "cases.csv", "table.md"}


def test_inference_corrects_every_volume_of_a_folder(trained, tmp_path):
    shapes = {"head": (70, 52, 3), "single": (40, 66, 1)}
    (tmp_path / "in").mkdir()
    for name, shape in shapes.items():
        volume(tmp_path / "in" / f"{name}.nii.gz", shape)
    monai_bundle(
        "run",
        config("inference.yaml"),
        dataset_dir=tmp_path / "in",
        output_dir=tmp_path / "out",
        weights=trained / "model.pt",
    )
    for name, shape in shapes.items():
        out, source = (
            nib.load(path)
            for path in (tmp_path / "out" / f"{name}_corrected.nii.gz", tmp_path / "in" / f"{name}.nii.gz")
        )
        assert out.shape == shape and out.get_data_dtype() == np.float32
        np.testing.assert_allclose(out.affine, source.affine)
        assert out.get_fdata().max() == pytest.approx(source.get_fdata().max(), rel=0.5)  # the unit is kept
        assert len(list((tmp_path / "out").glob(f"{name}*.png"))) == 1
    assert len(list((tmp_path / "out").iterdir())) == 4


def test_inference_names_a_folder_that_is_not_there(trained, tmp_path):
    said = monai_bundle(
        "run",
        config("inference.yaml"),
        fails=True,
        dataset_dir=tmp_path / "nowhere",
        output_dir=tmp_path / "out",
        weights=trained / "model.pt",
    )
    assert f"{tmp_path / 'nowhere'}: no such folder" in said
    assert not (tmp_path / "out").exists()


def test_the_release_training_adds_real_volumes_and_simulates_once(tmp_path):
    try:
        icbm152_t1_path()
    except FileNotFoundError as error:
        pytest.skip(str(error))
    configs = config("train.yaml"), config("train_release.yaml")
    # The one volume that a test can count on stands in for the head with skull.
    knobs = {**TINY, "num_samples": 8, "head": icbm152_t1_path(), "sample_dir": tmp_path / "samples"}
    monai_bundle("simulating", *configs, **knobs)
    samples = sorted((tmp_path / "samples").glob("*.pt"))
    assert len(samples) == 8
    kept = [path.stat().st_mtime_ns for path in samples]
    said = monai_bundle("training", *configs, **knobs, max_epochs=1, output_dir=tmp_path)
    assert "training: [2/2] 100%" in said
    assert (tmp_path / "model.pt").is_file()
    # Simulated once, for all trainings.
    assert [path.stat().st_mtime_ns for path in sorted((tmp_path / "samples").glob("*.pt"))] == kept


def workflow_of(kind: str, configs: list[str], **knobs) -> ConfigWorkflow:
    """An initialised workflow of the bundle's configs."""
    workflow = ConfigWorkflow(
        [str(CONFIGS / name) for name in configs],
        str(CONFIGS / "metadata.json"),
        workflow_type=kind,
        run_id="training" if kind == "train" else "run",
        logging_file=False,
        **knobs,
    )
    workflow.initialize()
    return workflow


def test_the_training_workflow_has_all_required_properties(tmp_path):
    workflow = workflow_of("train", ["train.yaml"], **TINY, output_dir=str(tmp_path))
    assert workflow.check_properties() == []
    assert workflow.bundle_root == str(BUNDLE)
    assert len(workflow.train_dataset) == TINY["num_samples"] and len(workflow.val_dataset) == 2
    sample = workflow.train_dataset[0]
    assert sample["image"].shape == sample["target"].shape == (1, 64, 64)
    workflow.finalize()


def test_the_inference_workflow_has_all_required_properties(tmp_path, trained):
    volume(tmp_path / "scan.nii.gz", (20, 24, 2))
    weights = str(trained / "model.pt")
    workflow = workflow_of("infer", ["inference.yaml"], dataset_dir=str(tmp_path), weights=weights)
    assert workflow.check_properties() == []
    assert workflow.dataset_dir == str(tmp_path) and len(workflow.dataset) == 1


def test_the_evaluation_overlay_is_an_inference_workflow(tmp_path, trained):
    places = {"output_dir": str(tmp_path), "weights": str(trained / "model.pt")}
    workflow = workflow_of("infer", ["train.yaml", "evaluate.yaml"], **TINY, **places)
    assert workflow.check_properties() == []


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_changes_what_is_there_and_keeps_the_imports(overlay):
    base, both = ConfigParser(), ConfigParser()
    base.read_config(str(CONFIGS / "train.yaml"))
    both.read_config([str(CONFIGS / "train.yaml"), str(CONFIGS / overlay)])
    assert both["imports"][: len(base["imports"])] == base["imports"]
    named = ConfigParser.load_config_file(str(CONFIGS / overlay))
    for key in (key for key in named if "#" in key):
        parent = key.rpartition("#")[0]
        assert base.get(parent) is not None, f"{overlay}: {key}, but train.yaml has no {parent}"


@pytest.mark.parametrize("name", [path.name for path in sorted(CONFIGS.glob("*.yaml"))])
def test_configs_hold_no_program_and_do_not_depend_on_the_current_folder(name):
    text = (CONFIGS / name).read_text()
    assert "lambda" not in text
    assert not re.search(r"getcwd|['\"]\./|['\"]bundle/(?!configs)", re.sub(r"#.*", "", text))


def test_the_metadata_say_what_is_installed_and_what_the_network_does():
    metadata = json.loads((CONFIGS / "metadata.json").read_text())
    assert metadata["version"] == mocodis_monai.__version__ == next(iter(metadata["changelog"]))
    needed = {"schema", "task", "description", "authors", "copyright", "intended_use", "network_data_format"}
    assert needed <= set(metadata)
    for package in metadata["required_packages_version"]:
        assert version(package)
    for shape in ({"any": 1}, {"any": 61}):
        verify_net_in_out(
            "network_def", str(CONFIGS / "metadata.json"), str(CONFIGS / "train.yaml"), device="cpu", **shape
        )
