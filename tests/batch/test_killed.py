"""A run that gets SIGKILL before any of its changes of the file system, and is run again, equals one never killed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pydicom.data import get_testdata_file

from tests.batch.conftest import save_head, tree

SCRIPT = Path(__file__).with_name("killed_run.py")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork, to kill many processes quickly")
@pytest.mark.parametrize("options", [("--no-picture", "--uncertainty"), ()], ids=["map", "picture"])
def test_killed_at_every_change_the_results_equal_an_uninterrupted_run(tmp_path, options):
    inputs = tmp_path / "in"
    save_head(inputs / "a.nii.gz", 1)
    if "--no-picture" in options:  # without pictures it is quick enough for several scans
        save_head(inputs / "sub" / "b.nii", 2)
        (inputs / "series").mkdir()
        shutil.copy(get_testdata_file("MR_small.dcm"), inputs / "series" / "MR_small.dcm")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, str(SCRIPT), str(inputs), str(tmp_path / "out"), *options]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    kills = int(done.stdout)
    assert kills >= (18 if "--no-picture" in options else 6)
    whole = tree(tmp_path / "out" / "whole")
    for number in range(1, kills + 1):
        assert tree(tmp_path / "out" / str(number)) == whole, f"killed before change {number}"
