"""A folder of many scans: all are corrected, failures are said, what is finished is left alone."""

from __future__ import annotations

import json
import os
import re
import signal
from concurrent.futures import ThreadPoolExecutor

import nibabel as nib
import numpy as np
import pytest
import torch

from mocodis_monai.correct import batch
from tests.correct.conftest import head, records, save_head, tree

NAMES = ("a.nii.gz", "visit 2/b.nii", "visit 2/c.nii.gz")


def test_a_folder_gives_a_folder_of_the_same_shape(study, tmp_path, correct, capsys):
    out = tmp_path / "out"
    assert correct(study, out, "--uncertainty") == 0
    wanted = {"results.jsonl"}
    for name in ("a", "visit 2/b", "visit 2/c"):
        wanted |= {f"{name}_corrected{end}" for end in (".nii.gz", ".png", "_uncertainty.nii.gz")}
    assert set(tree(out)) == wanted
    found = records(out)
    assert tuple(found) == NAMES
    for name, record in found.items():
        before, after = nib.load(study / name), nib.load(out / record["output"])
        assert after.shape == before.shape and np.array_equal(after.affine, before.affine)
        assert record["decision"] == "corrected" and record["gate"] == 1 and record["num_slices"] == 3
        assert record["motion_score_mm"] > 0 > record["log_likelihood_nats"] and record["time_s"] > 0
    said = capsys.readouterr().out
    assert "3 corrected, 0 done before, 0 failed" in said and "visit 2/c.nii.gz" in said


def test_each_scan_is_corrected_as_it_would_be_alone_however_many_at_once(study, tmp_path, correct, set_threads):
    set_threads(1)  # another number may round otherwise
    assert correct(study, tmp_path / "one", "--no-picture") == 0
    assert correct(study, tmp_path / "three", "--no-picture", "--jobs", 3) == 0
    assert tree(tmp_path / "one") == tree(tmp_path / "three")
    assert correct(study / "a.nii.gz", tmp_path / "alone.nii.gz", "--no-picture") == 0
    one, alone = (nib.load(p) for p in (tmp_path / "one" / "a_corrected.nii.gz", tmp_path / "alone.nii.gz"))
    np.testing.assert_array_equal(one.get_fdata(), alone.get_fdata())


def test_jobs_share_the_threads_and_give_them_back(study, tmp_path, correct, set_threads, network, monkeypatch):
    set_threads(4)
    work, used = network.correct, []
    count = torch.get_num_threads
    monkeypatch.setattr(network, "correct", lambda *args, **options: used.append(count()) or work(*args, **options))
    assert correct(study, tmp_path / "out", "--no-picture", "--jobs", 2) == 0
    assert set(used) == {2}
    with ThreadPoolExecutor(1) as later:
        assert later.submit(count).result() == count() == 4


def test_the_number_of_threads_changes_the_rounding_alone(study, tmp_path, correct, set_threads):
    voxels = []
    for threads in (1, 2):
        set_threads(threads)
        assert correct(study / "a.nii.gz", tmp_path / f"{threads}.nii.gz", "--no-picture") == 0
        voxels.append(nib.load(tmp_path / f"{threads}.nii.gz").get_fdata())
    np.testing.assert_allclose(*voxels, atol=0.01 * voxels[0].max())


@pytest.mark.parametrize("error", [ValueError("DOE^JOHN"), MemoryError(), RuntimeError("can't allocate memory")])
def test_a_batch_goes_on_when_scans_fail(study, tmp_path, correct, capsys, monkeypatch, error, network):
    (study / "bad.nii").write_text("no image")
    work = network.correct

    def fail_once(*args, **kwargs):
        monkeypatch.setattr(network, "correct", work)
        raise error

    monkeypatch.setattr(network, "correct", fail_once)
    assert correct(study, tmp_path / "out", "--no-picture") == 1
    said = capsys.readouterr().out
    assert "2 corrected, 0 done before, 2 failed" in said
    assert f"failed: {study / 'bad.nii'}: not a NIfTI image" in said
    assert "unexpected ValueError" in said or "not enough memory" in said
    found = records(tmp_path / "out")
    assert [record["status"] for record in found.values()] == ["failed", "failed", "done", "done"]
    assert "not a NIfTI image" in found["bad.nii"]["error"]
    assert found["bad.nii"].keys() == {"scan", "status", "output", "error"}  # no figures, no files that are not there
    assert "DOE" not in said + json.dumps(found)  # texts of other libraries may quote a header
    assert "bad_corrected.nii.gz" not in tree(tmp_path / "out")
    # Once more: what failed by chance is done now, what was done stays, what is bad fails again.
    assert correct(study, tmp_path / "out", "--no-picture") == 1
    assert "1 corrected, 2 done before, 1 failed" in capsys.readouterr().out


def test_a_name_that_is_too_long_with_its_suffix_fails_alone(study, tmp_path, correct, capsys):
    long = f"{'l' * 246}.nii"
    (study / "visit 2" / "b.nii").rename(study / long)
    assert correct(study, tmp_path / "out", "--no-picture") == 1
    assert "2 corrected, 0 done before, 1 failed" in capsys.readouterr().out
    assert records(tmp_path / "out")[long]["status"] == "failed"


def test_a_picture_and_a_map_of_another_correction_do_not_stay_beside_the_new_one(study, tmp_path, correct):
    out = tmp_path / "out"
    assert correct(study, out, "--uncertainty", "--fidelity", 0) == 0
    (out / "visit 2" / "b_corrected.png").write_text("drawn over by hand")
    assert correct(study, out, "--no-picture") == 0
    kept = {name for name in tree(out) if name.endswith((".png", "_uncertainty.nii.gz"))}
    assert kept == {"visit 2/b_corrected.png"}  # not ours any more


def test_a_result_of_before_that_stays_when_its_scan_fails_is_told(study, tmp_path, correct, capsys):
    assert correct(study, tmp_path / "out", "--no-picture") == 0
    (study / "a.nii.gz").write_text("no image any more")
    assert correct(study, tmp_path / "out", "--no-picture") == 1
    assert "The result of an earlier run still lies there." in capsys.readouterr().out
    assert (tmp_path / "out" / "a_corrected.nii.gz").exists()


def test_what_is_finished_is_not_done_again(study, tmp_path, correct, network, monkeypatch, capsys):
    out = tmp_path / "out"
    assert correct(study, out) == 0
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    monkeypatch.setattr(network, "correct", None)  # to be called no more
    assert correct(study, out) == 0
    assert "0 corrected, 3 done before, 0 failed" in capsys.readouterr().out
    assert before == {path: path.stat().st_mtime_ns for path in out.rglob("*")}


def other_input(study, out):
    save_head(study / "a.nii.gz", 9)


def other_output(study, out):
    with (out / "a_corrected.nii.gz").open("ab") as file:
        file.write(b"edited")


def lost_picture(study, out):
    (out / "a_corrected.png").unlink()


def garbled_records(study, out):
    lines = (out / "results.jsonl").read_text().splitlines()
    (out / "results.jsonl").write_text("\n".join(['{"scan": "a.nii', "[]", "null", '{"output": 3}', *lines[1:]]))


@pytest.mark.parametrize("change", [other_input, other_output, lost_picture, garbled_records])
def test_what_changed_is_done_again_and_the_rest_is_not(study, tmp_path, correct, capsys, change):
    out = tmp_path / "out"
    assert correct(study, out) == 0
    change(study, out)
    assert correct(study, out) == 0
    assert "1 corrected, 2 done before, 0 failed" in capsys.readouterr().out
    assert correct(study, tmp_path / "fresh") == 0
    assert tree(out) == tree(tmp_path / "fresh")


@pytest.mark.parametrize(
    "options", [("--fidelity", 0.5), ("--guidance", 0.5), ("--slice-axis", 2), ("--phase-encode-axis", 2)], ids=str
)
def test_other_settings_are_other_results(study, tmp_path, correct, capsys, options):
    out = tmp_path / "out"
    assert correct(study, out, "--no-picture") == 0
    assert correct(study, out, "--no-picture", *options) == 0
    assert "3 corrected, 0 done before" in capsys.readouterr().out


def test_other_weights_are_other_results(study, tmp_path, correct, capsys):
    for content in (b"one", b"two", b"two"):
        (tmp_path / "w.pt").write_bytes(content)
        assert correct(study, tmp_path / "out", "--no-picture", "--weights", tmp_path / "w.pt") == 0
    said = re.findall(r"\d corrected, \d done before", capsys.readouterr().out)
    assert said == ["3 corrected, 0 done before", "3 corrected, 0 done before", "0 corrected, 3 done before"]


def test_a_result_that_was_not_asked_for_before_is_made(study, tmp_path, correct):
    out = tmp_path / "out"
    assert correct(study, out) == 0
    assert correct(study, out, "--uncertainty") == 0
    assert (out / "a_corrected_uncertainty.nii.gz").is_file()


def test_after_a_failure_between_no_map_of_another_image_stays(study, tmp_path, correct):
    out, scan = tmp_path / "out", study / "a.nii.gz"
    assert correct(study, out, "--uncertainty") == 0
    scan.write_bytes(scan.read_bytes()[:200])
    assert correct(study, out, "--no-picture") == 1
    assert {"a_corrected_uncertainty.nii.gz", "a_corrected.png"} <= set(records(out)["a.nii.gz"]["left"])
    assert (out / "a_corrected_uncertainty.nii.gz").is_file()
    save_head(scan, seed=7)
    assert correct(study, out, "--no-picture") == 0
    assert not (out / "a_corrected_uncertainty.nii.gz").exists() and not (out / "a_corrected.png").exists()
    assert "left" not in records(out)["a.nii.gz"]


def test_runs_into_one_folder_keep_each_others_records(tmp_path, correct):
    for name in ("a", "b"):
        save_head(tmp_path / "in" / f"{name}.nii.gz")
        assert correct(tmp_path / "in" / f"{name}.nii.gz", tmp_path / f"{name}_out.nii.gz", "--no-picture") == 0
    assert set(records(tmp_path)) == {"a.nii.gz", "b.nii.gz"}


def test_ctrl_c_stops_cleanly_and_the_next_run_goes_on(study, tmp_path, correct, network, monkeypatch, capsys):
    work, make, runs = network.correct, batch._Run, []

    def interrupted(*args, **kwargs):
        for _ in range(60):  # again, like people do: a signal that comes just before a wait is seen after it only
            os.kill(os.getpid(), signal.SIGINT)
            if runs[0].stop.wait(1):
                break
        return work(*args, **kwargs)

    monkeypatch.setattr(batch, "_Run", lambda *parts: runs.append(make(*parts)) or runs[-1])
    monkeypatch.setattr(network, "correct", interrupted)
    # Python does not listen to Ctrl-C where it was started in the background.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert correct(study, tmp_path / "out") == 130
        assert "stopped; what is written is whole" in capsys.readouterr().err
    finally:
        signal.signal(signal.SIGINT, before)
    assert not tree(tmp_path / "out")  # nothing half done
    monkeypatch.setattr(network, "correct", work)
    assert correct(study, tmp_path / "out") == 0
    assert "3 corrected, 0 done before" in capsys.readouterr().out


def test_inputs_are_never_touched(study, tmp_path, correct):
    (study / "bad.nii").write_text("no image")
    before = tree(study), {path: path.stat().st_mtime_ns for path in [study, *study.rglob("*")]}
    assert correct(study, tmp_path / "out", "--uncertainty") == 1
    assert before == (tree(study), {path: path.stat().st_mtime_ns for path in [study, *study.rglob("*")]})


@pytest.mark.parametrize("where", ["", "out", "visit 2"])
def test_outputs_never_go_among_the_inputs(study, correct, capsys, where):
    before = tree(study)
    assert correct(study, study / where) == 1
    assert "lies in the folder of the inputs" in capsys.readouterr().err
    assert tree(study) == before


def test_scans_whose_results_would_have_one_name_get_two(study, tmp_path, correct):
    save_head(study / "a.nii", 5)
    assert correct(study, tmp_path / "out") == 0
    found = records(tmp_path / "out")
    assert found["a.nii"]["output"] == "a.nii_corrected.nii.gz"
    assert found["a.nii.gz"]["output"] == "a.nii.gz_corrected.nii.gz"
    assert len({record["picture"] for record in found.values()}) == 4


def test_a_folder_without_scans_is_refused_and_nothing_is_written(tmp_path, correct, capsys):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "notes.txt").write_text("x")
    assert correct(tmp_path / "in", tmp_path / "out") == 1
    assert "no NIfTI" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_the_report_is_one_page_with_a_picture_per_scan(study, tmp_path, correct):
    (study / "<script>alert(1)</script>.nii").parent.mkdir(parents=True)
    (study / "<script>alert(1)</script>.nii").write_text("no image")
    page = tmp_path / "report.html"
    assert correct(study, tmp_path / "out", "--report", page) == 1
    first = page.read_text()
    assert first.count("data:image/jpeg;base64,") == 3 and "4 scans, 1 failed" in first
    assert all(name in first for name in NAMES) and "not a NIfTI image" in first
    assert "<script" not in first and not re.search(r'(src|href)="(?!data:)', first)  # nothing from elsewhere
    assert correct(study, tmp_path / "out", "--report", page) == 1  # of finished scans as well
    assert page.read_text().count("data:image/jpeg;base64,") == 3


def test_the_phase_encode_axis_lies_in_the_slices(tmp_path, correct):
    nib.save(nib.Nifti1Image(head((50, 49, 48)), np.diag([-1, 1, 2, 1])), tmp_path / "in.nii")
    for axis, wanted in (("auto", 2), (0, 2), (2, 1)):
        out = tmp_path / f"{axis}.nii"
        assert correct(tmp_path / "in.nii", out, "--no-picture", "--phase-encode-axis", axis) == 0
        (record,) = [r for r in map(json.loads, (tmp_path / "results.jsonl").open()) if r["output"] == out.name]
        assert record["slice_axis"] == wanted
        assert record["phase_encode_axis"] == (None if axis == "auto" else axis)


@pytest.mark.parametrize(("num_slices", "axes"), [(48, (2, 1)), (12, (2, 2)), (1, (None, 2))])
def test_the_header_says_the_phase_encode_axis_unless_it_has_one_voxel(num_slices, axes, tmp_path, correct):
    image = nib.Nifti1Image(head((50, 49, num_slices)), np.diag([-1, 1, 2, 1]))
    image.header.set_dim_info(freq=0, phase=2, slice=1)
    nib.save(image, tmp_path / "in.nii")
    assert correct(tmp_path / "in.nii", tmp_path / "out.nii", "--no-picture") == 0
    record = records(tmp_path)["in.nii"]
    assert (record["phase_encode_axis"], record["slice_axis"]) == axes


def test_slices_too_small_to_see_anything_in_are_refused(study, tmp_path, correct, capsys):
    nib.save(nib.Nifti1Image(head((40, 36, 15)), np.diag([1, 2, 1, 1])), study / "thin.nii")
    nib.save(nib.Nifti1Image(head((15, 16, 15)), np.eye(4)), study / "tiny.nii")
    assert correct(study, tmp_path / "out", "--no-picture") == 1
    said = capsys.readouterr()
    assert "3 corrected, 0 done before, 2 failed" in said.out
    found = {name: record["error"] for name, record in records(tmp_path / "out").items() if "error" in record}
    allowed = "pixels; allowed are 16 or more along each side. Give"
    thin = f"shape (40, 36, 15) cut across axis 1 gives slices of 40 x 15 {allowed} --slice-axis 2."
    assert thin in found["thin.nii"]
    assert f"slices of 15 x 16 {allowed} a scan with larger slices." in found["tiny.nii"]
    assert correct(study / "a.nii.gz", tmp_path / "a.nii", "--slice-axis", 0) == 1
    assert f"a.nii.gz: shape (40, 36, 3) cut across axis 0 gives slices of 36 x 3 {allowed}" in capsys.readouterr().err
