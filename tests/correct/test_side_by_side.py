"""Runs at once on the same scans: each scan is corrected by one of them, nothing fails, and nothing is left behind."""

from __future__ import annotations

import errno
import os
import re
import stat
import subprocess
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import pytest
from pydicom.data import get_testdata_file

from mocodis_monai.correct.ledger import LOCK_NAME, Ledger
from tests.correct.conftest import records, save_head, tree

fcntl = pytest.importorskip("fcntl", reason="without its locks, runs need folders of their own")
SCRIPT = Path(__file__).with_name("two_runs.py")
NUM_SCANS = 8
FINGERPRINT = "0" * 64


@pytest.mark.parametrize("jobs", ["1", "3"])
def test_two_processes_on_the_same_folders_lose_nothing_and_fail_nothing(jobs, tmp_path):
    inputs, out = tmp_path / "in", tmp_path / "out"
    for number in range(NUM_SCANS - 1):
        save_head(inputs / f"{number}.nii.gz", number)
    (inputs / "series").mkdir()
    (inputs / "series" / "a.dcm").write_bytes(Path(get_testdata_file("MR_small.dcm")).read_bytes())
    out.mkdir()
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    report = ["--report", str(out / "report.html")]  # of one name as well
    command = [sys.executable, str(SCRIPT), str(inputs), str(out), "--uncertainty", "--jobs", jobs, *report]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:] + "".join((out / name).read_text() for name in "01")
    corrected = 0
    for name in "01":
        counts = re.search(r"(\d+) corrected, (\d+) done before, (\d+) failed", (out / name).read_text())
        left = re.search(rf"(\d+) of {NUM_SCANS} were left to another run", (out / name).read_text())
        mine, before, failed = map(int, counts.groups())
        assert failed == 0 and mine >= 1
        assert mine + before + (int(left[1]) if left else 0) == NUM_SCANS
        corrected += mine
    assert corrected == NUM_SCANS  # none twice
    assert tree(out / "both") == tree(out / "alone")
    assert not [path for path in out.iterdir() if path.name.startswith(".")]


def note(folder: Path, output: Path) -> dict:
    """What a run writes and notes of a scan."""
    output.write_text("corrected")
    sums = Ledger(folder).checksums({"output": output.name})
    name = output.name
    return {"scan": name, "status": "done", "output": name, "fingerprint": FINGERPRINT, "sha256": sums}


def test_threads_with_ledgers_of_their_own_do_each_scan_once(tmp_path):
    outputs, done, at_work = [tmp_path / f"{number}.nii" for number in range(40)], Counter(), set()
    begin = threading.Barrier(4)

    def run() -> None:
        ledger = Ledger(tmp_path)
        begin.wait()
        for output in outputs:
            with ledger.claimed(output) as is_free:
                if is_free and not ledger.finished({"output": output}, FINGERPRINT):
                    assert output not in at_work
                    at_work.add(output)
                    ledger.put(note(tmp_path, output))
                    done[output] += 1
                    at_work.remove(output)
        ledger.compact()

    with ThreadPoolExecutor(4) as pool:
        for future in [pool.submit(run) for _ in range(4)]:
            future.result()
    assert done == dict.fromkeys(outputs, 1)
    assert {path.name for path in tmp_path.iterdir()} == {*(o.name for o in outputs), "results.jsonl", LOCK_NAME}


def test_a_lock_that_went_while_it_was_waited_for_is_taken_anew(tmp_path, monkeypatch):
    """Who held it had noted nothing, and removed it."""
    flock, at_work, ledger = fcntl.flock, [], Ledger(tmp_path)
    record = note(tmp_path, tmp_path / "a.nii")

    def late(file, operation):
        if not at_work:
            at_work.append(Path(file.name).unlink())
        flock(file, operation)

    def while_it_is_held(handle):
        with (tmp_path / LOCK_NAME).open("ab") as other, pytest.raises(BlockingIOError):
            flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        at_work.append("noting")

    monkeypatch.setattr(fcntl, "flock", late)
    monkeypatch.setattr(os, "fsync", while_it_is_held)
    ledger.put(record)
    assert at_work == [None, "noting"]


def test_a_claim_keeps_one_scan_and_what_was_noted_meanwhile_is_known_after_it(tmp_path):
    first, second, output = Ledger(tmp_path), Ledger(tmp_path), tmp_path / "a.nii"
    with first.claimed(output) as is_free, second.claimed(tmp_path / "b.nii") as other_is_free:
        assert is_free and other_is_free
        with second.claimed(output) as is_free_again:
            assert not is_free_again
        first.put(note(tmp_path, output))
        first.compact()  # the records lie in another file now, and the claims of those at work stay
        with second.claimed(output) as is_free_again:
            assert not is_free_again
    with second.claimed(output) as is_free:
        assert is_free and second.finished({"output": output}, FINGERPRINT)


def test_a_claim_of_a_run_that_was_killed_is_free_and_goes(tmp_path):
    for kept in (False, True):
        child = os.fork()
        if not child:
            with Ledger(tmp_path).claimed(tmp_path / "a.nii"):
                os._exit(0)  # as if killed
        os.waitpid(child, 0)
        assert len(list(tmp_path.glob(".results.jsonl.claim-*"))) == 1
        with nullcontext(True) if kept else Ledger(tmp_path).claimed(tmp_path / "a.nii") as is_free:
            assert is_free
        Ledger(tmp_path).compact()
        assert not list(tmp_path.glob(".results.jsonl.claim-*"))


def test_locks_are_such_as_nfs_keeps_between_machines(tmp_path, monkeypatch):
    """It asks its server for a lock on a regular file that is open for writing, and for no other."""
    flock, locked = fcntl.flock, []

    def strict(file, operation):
        is_writable = fcntl.fcntl(file, fcntl.F_GETFL) & (os.O_WRONLY | os.O_RDWR)
        if not (is_writable and stat.S_ISREG(os.fstat(file.fileno()).st_mode)):
            raise OSError(errno.EBADF, "Bad file descriptor")
        locked.append(file.name)
        flock(file, operation)

    monkeypatch.setattr(fcntl, "flock", strict)
    ledger = Ledger(tmp_path)
    with ledger.claimed(tmp_path / "a.nii"):
        ledger.put(note(tmp_path, tmp_path / "a.nii"))
    ledger.compact()
    assert len(set(locked)) == 2  # the folder's and the scan's


def test_a_scan_that_another_run_has_is_left_to_it_without_failure(study, tmp_path, correct, capsys):
    out, report = tmp_path / "out", tmp_path / "report.html"
    out.mkdir()
    with Ledger(out).claimed(out / "a_corrected.nii.gz"):
        assert correct(study, out, "--report", report) == 0
    said = capsys.readouterr().out
    assert "2 corrected, 0 done before, 0 failed\n1 of 3 were left to another run" in said
    assert "left to another run" in report.read_text()
    assert "a.nii.gz" not in records(out) and not (out / "a_corrected.nii.gz").exists()
    assert correct(study, out) == 0
    assert "1 corrected, 2 done before, 0 failed\nresults" in capsys.readouterr().out


def test_a_single_scan_that_another_run_has_is_left_to_it(study, tmp_path, correct, capsys):
    with Ledger(tmp_path).claimed(tmp_path / "a.nii.gz"):
        assert correct(study / "a.nii.gz", tmp_path / "a.nii.gz", "--report", tmp_path / "report.html") == 0
    assert "a.nii.gz: left to another run, which is correcting this scan" in capsys.readouterr().out
    assert not (tmp_path / "a.nii.gz").exists()
