"""Processes of torchrun share a folder of scans, as users start them; the results are those of one process."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mocodis_monai.networks import MotionCorrector
from tests.correct.conftest import records, save_head, tree

TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
PATIENCE_S = 300
KILLED = """
import os
import signal
import sys
import time
from pathlib import Path

from mocodis_monai import cli
from mocodis_monai.correct import batch

attempt = batch._attempt
count = 0


def attempt_once(run, scan):
    global count
    count += 1
    if os.environ.get("RANK") == "1" and count == 2:
        while not Path(sys.argv[3], "results.jsonl").is_file():  # the record of the first scan is on its way
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGKILL)
    return attempt(run, scan)


batch._attempt = attempt_once
cli.main()
"""


def correct(*launcher: str, arguments: list[object]) -> subprocess.CompletedProcess:
    threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), **threads}
    return subprocess.run(
        [sys.executable, *launcher, "correct", *map(str, arguments), "--no-picture"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE_S,
    )


@pytest.mark.slow
def test_two_processes_share_a_folder_a_dead_one_ends_the_job_and_a_restart_goes_on(tmp_path):
    study = tmp_path / "study"
    for number in range(4):
        save_head(study / f"{number}.nii.gz", number)
    (study / "broken.nii.gz").write_bytes(b"no scan")
    weights, script = tmp_path / "model.pt", tmp_path / "killed.py"
    torch.manual_seed(0)
    torch.save(MotionCorrector().state_dict(), weights)
    script.write_text(KILLED)

    alone = tmp_path / "alone"
    assert correct("-m", "mocodis_monai.cli", arguments=[study, alone, "--weights", weights]).returncode == 1
    shared = tmp_path / "shared"
    arguments = [study, shared, "--weights", weights, "--report", tmp_path / "report.html"]
    killed = correct(*TORCHRUN, str(script), arguments=arguments)
    assert killed.returncode != 0 and re.search(rf"exitcode\s*:\s*-{signal.SIGKILL.value}", killed.stdout)
    assert "corrected," not in killed.stdout and not (tmp_path / "report.html").exists()
    finished = sum(record["status"] == "done" for record in records(shared).values())
    assert 1 <= finished < 4

    went_on = correct(*TORCHRUN, "-m", "mocodis_monai.cli", arguments=arguments)
    summary = f"{4 - finished} corrected, {finished} done before, 1 failed"
    assert went_on.returncode != 0 and went_on.stdout.count(summary) == 1, went_on.stdout[-3000:]
    assert went_on.stdout.count("research use only") + went_on.stdout.count("Research use only") == 1
    assert tree(shared) == tree(alone)
    assert (tmp_path / "report.html").read_text().count("<tr") == 1 + 5
    (study / "broken.nii.gz").unlink()
    assert correct(*TORCHRUN, "-m", "mocodis_monai.cli", arguments=arguments).returncode == 0
