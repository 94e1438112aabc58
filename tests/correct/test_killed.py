"""A run that gets SIGKILL before any of its changes of the file system, and is run again, equals one never killed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pydicom.data import get_testdata_file

from tests.correct.conftest import save_head, tree

SCRIPT = Path(__file__).with_name("killed_run.py")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork, to kill many processes quickly")
def test_killed_at_every_change_the_results_equal_an_uninterrupted_run(tmp_path):
    inputs = tmp_path / "in"
    # Corrected in another order than their records stand in at last, so that these are put in order at the end.
    save_head(inputs / "sub" / "s.nii.gz")
    (inputs / "sub" / "sA").mkdir()
    shutil.copy(get_testdata_file("MR_small.dcm"), inputs / "sub" / "sA" / "MR_small.dcm")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, str(SCRIPT), str(inputs), str(tmp_path / "out"), "--uncertainty"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    kills = int(done.stdout)
    # For each scan 3 results written and renamed, and its record; the records put in order; and the folders.
    assert kills >= 18
    whole = tree(tmp_path / "out" / "whole")
    outputs = [json.loads(line)["output"] for line in (tmp_path / "out" / "whole" / "results.jsonl").open()]
    assert outputs == ["sub/sA_corrected", "sub/s_corrected.nii.gz"]
    for number in range(1, kills + 1):
        assert tree(tmp_path / "out" / str(number)) == whole, f"killed before change {number}"
