"""From a folder of scans to a report, by the three commands of the README."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser

import mocodis_monai
from mocodis_monai.data.phantom import make_phantom
from mocodis_monai.release import bundle_root, default_weights_path

CONFIGS = Path(bundle_root()) / "configs"


def python(*words: object, cwd: Path) -> str:
    """Run a module in a process of its own; all that it printed."""
    environment = {**os.environ, "PYTHONPATH": str(Path(mocodis_monai.__file__).parents[1])}
    caught = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    command = [sys.executable, "-m", *map(str, words)]
    done = subprocess.run(command, cwd=cwd, env=environment, timeout=600, **caught)
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout


def test_samples_are_known_by_the_scans_that_they_were_cut_from(tmp_path):
    def made_with() -> dict:
        parser = ConfigParser()
        parser.read_config(str(CONFIGS / "train.yaml"))
        parser["volumes"] = [str(tmp_path / "scan.nii.gz")]
        return parser.get_parsed_content("simulated_with")

    def save(seed: int) -> None:
        scan = make_phantom("head", seed, (32, 32)).image[0].numpy()[..., None]
        nib.save(nib.Nifti1Image(scan.astype(np.float32), np.eye(4)), tmp_path / "scan.nii.gz")

    save(1)
    before = made_with()
    assert made_with() == before
    save(2)  # repaired in its place, say
    assert {name for name, value in made_with().items() if value != before[name]} == {"volumes_sha256"}


def test_samples_are_known_by_every_knob_that_makes_them():
    parser = ConfigParser()
    parser.read_config(str(CONFIGS / "train.yaml"))
    made = {name: parser.get(f"train#{name}") for name in ("simulating", "motion", "motion_with_receiver")}
    knobs = set(re.findall(r"@(\w+)\b(?!#)", json.dumps(made))) - {"train"}
    structure = {"image_keys", "sample_keys"}  # of the code, as are the classes: the version stands for them
    in_records = {"image_size"}
    known = set(re.findall(r"@(\w+)", json.dumps(parser.get("simulated_with")))) - {"volumes"}
    assert knobs - structure - in_records == known


@pytest.mark.parametrize(("overlay", "work"), [("train_own.yaml", "training"), ("train_release.yaml", "simulating")])
def test_a_size_that_does_not_fit_is_refused_before_samples_are_made(overlay, work, tmp_path):
    parser = ConfigParser()
    parser.read_config([str(CONFIGS / "train.yaml"), str(CONFIGS / overlay)])
    (tmp_path / "scan.nii.gz").touch()
    parser.update({"image_size": 100, "volumes": [str(tmp_path / "scan.nii.gz")], "sample_dir": str(tmp_path / "made")})
    with pytest.raises(RuntimeError) as refused:
        parser.get_parsed_content(f"{work}#0")
    assert "must be a multiple of 16" in str(refused.value.__cause__)
    assert not (tmp_path / "made").exists()


@pytest.mark.slow
def test_a_folder_becomes_weights_and_a_report(tmp_path):
    (tmp_path / "scans").mkdir()
    for subject in range(5):
        slices = [make_phantom("head", 10 * subject + k, (96, 90)).image[0].numpy() for k in range(4)]
        stack = 400 * np.stack(slices, axis=-1).astype(np.float32)
        nib.save(nib.Nifti1Image(stack, np.diag([1, 1, 4, 1])), tmp_path / "scans" / f"p{subject}.nii.gz")
    python("mocodis_monai.cli", "manifest", "build", "scans", "--out", "manifest.json", cwd=tmp_path)
    files = json.loads((tmp_path / "manifest.json").read_text())["files"]
    of_split = {split: [e["path"] for e in files if e["split"] == split] for split in ("train", "validation", "test")}

    knobs = {
        "manifest": "manifest.json",
        "max_epochs": 1,
        "iterations_per_epoch": 1,
        "num_samples": 6,
        "volume_block": 3,
        "volume_share": 1.0,
        "num_validation_images": 2,
        "image_size": 64,
        "num_workers": 0,
        "output_dir": "own",
    }
    configs = str([str(CONFIGS / name) for name in ("train.yaml", "train_own.yaml")])
    words = [word for name, value in knobs.items() for word in (f"--{name}", value)]
    said = python("monai.bundle", "run", "training", "--config_file", configs, *words, cwd=tmp_path)
    assert re.search(r"Epoch\[1\] Metrics -- .*\bssim: \d", said)
    assert len(list((tmp_path / "own" / "samples").glob("*.pt"))) == 6
    before = torch.load(default_weights_path(), weights_only=True)
    after = torch.load(tmp_path / "own" / "model.pt", weights_only=True)
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert changed and all(name.startswith("fidelity_branch.") for name in changed)

    measured = ["--manifest", "manifest.json", "--weights", "own/model.pt", "--out", "report", "--quick"]
    python("mocodis_monai.cli", "evaluate", *measured, cwd=tmp_path)
    rows = (tmp_path / "report" / "cases.csv").read_text()
    assert all(path in rows for path in of_split["test"])
    assert not any(path in rows for path in of_split["train"] + of_split["validation"])
