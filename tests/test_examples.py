"""The tutorial scripts run as they stand, and what they say is true."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import mocodis_monai

ROOT = Path(mocodis_monai.__file__).parents[1]


def run(name: str, out: Path) -> list[str]:
    """The lines that an example prints."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg"}
    command = [sys.executable, ROOT / "examples" / name, out]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, cwd=out.parent)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.splitlines()


def test_motion_in_a_pipeline(tmp_path):
    said = run("motion_in_a_pipeline.py", tmp_path / "out")
    assert len([line for line in said if " mm, " in line]) == 6
    assert "made again, equal: True" in said
    ssim = next(float(line.split()[-1]) for line in said if line.startswith("SSIM"))
    assert 0.3 < ssim < 0.99  # moved, and still of the same anatomy
    assert (tmp_path / "out" / "motion.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_train_and_compare(tmp_path):
    said = run("train_and_compare.py", tmp_path / "out")
    files = json.loads((tmp_path / "out" / "manifest.json").read_text())["files"]
    assert sorted(entry["split"] for entry in files) == ["test"] * 2 + ["train"] * 4
    summary = json.loads((tmp_path / "out" / "report" / "summary.json").read_text())
    assert {"uncorrected", "residual U-Net", "MoCoDis"} == set(summary["methods"])
    groups = summary["groups"]["severity"]
    assert {group["group"] for group in groups} == {"none", "moderate", "severe"}
    assert {group["num_subjects"] for group in groups} == {2}
    assert len([line for line in said if "SSIM" in line]) == len(groups) == 9
    assert (tmp_path / "out" / "report" / "report.html").is_file()


def test_folder_of_scans(tmp_path):
    said = run("folder_of_scans.py", tmp_path / "out")
    assert "exit status: 1" in said  # one scan is damaged, and says so
    assert "nothing done twice: True" in said
    status = {line.split()[0]: line.split()[1] for line in said if line.split()[0].endswith(".nii.gz")}
    assert status["damaged.nii.gz"] == "failed" and status["moved.nii.gz"] == status["still.nii.gz"] == "done"
    assert (tmp_path / "out" / "report.html").is_file()
