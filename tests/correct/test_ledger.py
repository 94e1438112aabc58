"""``results.jsonl``: records are appended and none is lost, whatever was cut short and whoever writes beside."""

from __future__ import annotations

import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mocodis_monai.correct.ledger import Ledger
from mocodis_monai.errors import InputError

FINGERPRINT = "0" * 64


def record(folder: Path, name: str, fingerprint: str = FINGERPRINT) -> dict:
    """What a run notes of a scan, whose result it has written."""
    (folder / name).write_text(name)
    sums = Ledger(folder).checksums({"output": name})
    return {"scan": f"in/{name}", "status": "done", "output": name, "fingerprint": fingerprint, "sha256": sums}


def finished(folder: Path, name: str, fingerprint: str = FINGERPRINT) -> dict | None:
    """What a later run knows of the scan."""
    return Ledger(folder).finished({"output": folder / name}, fingerprint)


def test_threads_of_a_run_lose_nothing_of_each_other_without_file_locks(tmp_path, monkeypatch):
    monkeypatch.setattr("mocodis_monai.correct.ledger.fcntl", None)  # as on Windows
    ledger, names = Ledger(tmp_path), [f"{number}.nii" for number in range(60)]
    noted = {name: record(tmp_path, name) for name in names}

    def note(name: str) -> None:
        with ledger.claimed(tmp_path / name) as is_free:
            assert is_free
            ledger.put(noted[name])

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(note, names))
    assert all(finished(tmp_path, name) == noted[name] for name in names)


def test_a_record_is_appended_and_nothing_before_it_is_written_again(tmp_path):
    ledger = Ledger(tmp_path)
    ledger.put(record(tmp_path, "b.nii"))
    before, place = ledger.path.read_bytes(), ledger.path.stat().st_ino
    added = record(tmp_path, "a.nii")
    ledger.put(added)
    assert ledger.path.stat().st_ino == place  # the same file, not another one in its place
    assert ledger.path.read_bytes() == before + json.dumps(added).encode() + b"\n"


def test_the_last_record_of_a_scan_counts_and_compacting_leaves_it_alone(tmp_path):
    ledger = Ledger(tmp_path)
    for name, fingerprint in (("b.nii", "1" * 64), ("a.nii", "2" * 64), ("b.nii", "3" * 64)):
        ledger.put(record(tmp_path, name, fingerprint))
    for _ in range(2):
        assert finished(tmp_path, "b.nii", "1" * 64) is None
        assert finished(tmp_path, "a.nii", "2" * 64) and finished(tmp_path, "b.nii", "3" * 64)
        ledger.compact()
    lines = ledger.path.read_text().splitlines()
    assert [json.loads(line)["output"] for line in lines] == ["a.nii", "b.nii"]
    place = ledger.path.stat()
    ledger.compact()
    assert ledger.path.stat() == place  # it is not written where nothing changes


def test_a_line_cut_anywhere_costs_its_own_scan_alone(tmp_path):
    ledger = Ledger(tmp_path)
    for name in ("a.nii", "b.nii"):
        ledger.put(record(tmp_path, name))
    whole = ledger.path.read_bytes()
    last, added = whole.index(b"\n") + 1, record(tmp_path, "c.nii")
    for cut in range(last, len(whole) + 1):
        ledger.path.write_bytes(whole[:cut])
        assert (finished(tmp_path, "b.nii") is not None) == (cut >= len(whole) - 1), cut  # the line feed may be lost
        ledger.put(added)
        ledger.compact()
        assert finished(tmp_path, "a.nii") and finished(tmp_path, "c.nii"), cut
        assert len([json.loads(line) for line in ledger.path.open()]) == 2 + (cut >= len(whole) - 1)


@pytest.mark.parametrize("rubbish", [b"\xff\xfe\xff", b"\0\0\0\0", b"{", b"[]", b'{"output": 1}', b""])
def test_a_line_that_is_no_record_hides_no_other(tmp_path, rubbish):
    ledger = Ledger(tmp_path)
    ledger.put(record(tmp_path, "a.nii"))
    with ledger.path.open("ab") as file:
        file.write(rubbish + b"\n")
    ledger.put(record(tmp_path, "b.nii"))
    assert finished(tmp_path, "a.nii") and finished(tmp_path, "b.nii")
    ledger.compact()
    assert len([json.loads(line) for line in ledger.path.open()]) == 2


@pytest.mark.skipif(sys.platform == "win32", reason="locks are of POSIX only")
def test_writers_side_by_side_lose_nothing_while_another_compacts(tmp_path):
    """Each has a ledger, and so a lock, of its own, as processes have."""
    records = [record(tmp_path, f"{number}.nii") for number in range(120)]
    written = threading.Event()

    def write(part: int) -> None:
        ledger = Ledger(tmp_path)
        for one in records[part::4]:
            ledger.put(one)

    def compact() -> int:
        times = 0
        while not written.wait(0.01) or times == 0:  # a pause: the system's lock has no queue
            Ledger(tmp_path).compact()
            times += 1
        return times

    with ThreadPoolExecutor(5) as pool:
        compacting = pool.submit(compact)
        try:
            list(pool.map(write, range(4)))
        finally:
            written.set()
        assert compacting.result() >= 1
    Ledger(tmp_path).compact()
    lines = [json.loads(line) for line in (tmp_path / "results.jsonl").open()]
    assert lines == sorted(records, key=lambda one: one["output"])


def test_records_that_cannot_be_read_are_not_taken_for_none(tmp_path):
    (tmp_path / "results.jsonl").mkdir()
    with pytest.raises(InputError, match=r"results\.jsonl: cannot be read \(Is a directory\)\. Make it readable"):
        Ledger(tmp_path)


def test_a_disk_that_refuses_is_said(tmp_path):
    ledger = Ledger(tmp_path)
    (tmp_path / "results.jsonl").mkdir()
    with pytest.raises(InputError, match=r"results\.jsonl: cannot be written \(Is a directory\)\. Check space"):
        ledger.put({"output": "a.nii"})


@pytest.mark.parametrize(
    "foreign",
    [
        b'{"model": "a", "output": "yes"}\nfree text\n',
        b'{"model": "x", "auc": 0.9}',  # no line end: nor was it cut short
        b'{"scan": "x", "auc": 0.9}',
        b"one note",
    ],
)
def test_records_of_another_program_are_refused_and_stay(tmp_path, foreign):
    (tmp_path / "results.jsonl").write_bytes(foreign)
    with pytest.raises(InputError, match="holds no record of corrected scans"):
        Ledger(tmp_path)
    assert (tmp_path / "results.jsonl").read_bytes() == foreign


@pytest.mark.parametrize("line", [b'{"scan": "in/a.n', b'{"sc', b""])
def test_a_first_line_that_was_cut_short_is_no_obstacle(tmp_path, line):
    (tmp_path / "results.jsonl").write_bytes(line)
    Ledger(tmp_path).put(record(tmp_path, "b.nii"))
    assert finished(tmp_path, "b.nii")


def test_a_result_elsewhere_is_found_again_though_the_folder_is_a_link(tmp_path):
    (tmp_path / "deep" / "store").mkdir(parents=True)
    (tmp_path / "out").symlink_to(tmp_path / "deep" / "store")
    picture = tmp_path / "pictures" / "a.png"
    picture.parent.mkdir()
    picture.write_text("picture")
    ledger = Ledger(tmp_path / "out")
    sums = ledger.checksums({"picture": ledger.key(picture)})
    assert ledger.key(picture) == "../../pictures/a.png" and sums["picture"] is not None
