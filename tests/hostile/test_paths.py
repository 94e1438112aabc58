"""Names and places that could lose something: links, clashes, names that are not UTF-8, folders that refuse."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from mocodis_monai.data.folders import folders_in
from mocodis_monai.errors import InputError
from tests.correct.conftest import records, save_head, tree
from tests.data.dicom_cases import make_series, stored_volume


def test_no_result_takes_the_place_of_an_input_by_way_of_a_link(tmp_path, correct, capsys):
    source = save_head(tmp_path / "a_uncertainty.nii.gz")
    before = tree(tmp_path)
    assert correct(source, tmp_path / "a.nii.gz", "--uncertainty") == 1
    assert "would overwrite the input" in capsys.readouterr().err
    assert tree(tmp_path) == before


def test_a_linked_folder_of_outputs_does_not_lead_into_the_inputs(tmp_path, correct, capsys):
    study = tmp_path / "study"
    save_head(study / "day" / "a.nii.gz", 1)
    save_head(study / "day" / "a_corrected.nii.gz", 2)  # it looks like an output and is an input
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "day").symlink_to(study / "day")
    before = tree(study)
    assert correct(study, tmp_path / "out") == 1
    assert "would overwrite the input" in capsys.readouterr().err
    assert tree(study) == before


def test_a_hard_link_is_the_input_too(tmp_path, correct, capsys):
    source = save_head(tmp_path / "a.nii.gz")
    os.link(source, tmp_path / "b.nii.gz")
    assert correct(source, tmp_path / "b.nii.gz") == 1
    assert "would overwrite the input" in capsys.readouterr().err


def test_two_scans_that_would_get_one_output_are_refused(tmp_path, correct, capsys):
    for seed, name in enumerate(("a.nii", "a.nii.gz", "a.nii.nii")):
        save_head(tmp_path / "study" / name, seed)
    assert correct(tmp_path / "study", tmp_path / "out", "--no-picture") == 1
    assert "would get one name" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_linked_folders_are_followed_once_and_never_round_in_a_circle(tmp_path):
    study, elsewhere = tmp_path / "study", tmp_path / "elsewhere"
    save_head(study / "a.nii.gz")
    save_head(study / ".store" / "c.nii.gz")
    save_head(elsewhere / "deep" / "b.nii.gz")
    (elsewhere / "deep" / "back").symlink_to(study)
    (elsewhere / "round").symlink_to(elsewhere)
    (study / "from store").symlink_to(study / ".store")
    (study / "near").symlink_to(elsewhere / "deep")
    for name in ("one", "two"):
        (study / name).symlink_to(elsewhere)
    (study / "up").symlink_to(tmp_path)
    (study / "self").symlink_to(study)
    (tmp_path / "results" / "out").mkdir(parents=True)
    (study / "results").symlink_to(tmp_path / "results")
    found = [folder.relative_to(study).as_posix() for folder, _ in folders_in(study, tmp_path / "results" / "out")]
    assert found == [".", "from store", "near", "one", "results"]  # not one/deep, which is near


def test_outputs_around_the_inputs_hide_none_of_them(tmp_path, correct):
    save_head(tmp_path / "store" / "a.nii.gz")
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "linked").symlink_to(tmp_path / "store")
    assert correct(tmp_path / "study", tmp_path, "--no-picture") == 0
    assert set(records(tmp_path)) == {"linked/a.nii.gz"}


def test_a_run_goes_on_over_outputs_that_became_one_file(tmp_path, correct):
    study, out = tmp_path / "study", tmp_path / "out"
    for name in ("a", "b"):
        save_head(study / f"{name}.nii.gz")
    assert correct(study, out, "--no-picture") == 0
    (out / "b_corrected.nii.gz").unlink()
    os.link(out / "a_corrected.nii.gz", out / "b_corrected.nii.gz")  # as a tool against duplicates does
    assert correct(study, out, "--no-picture") == 0


@pytest.mark.parametrize("made", [True, False])
def test_a_report_that_is_a_folder_is_refused_before_the_work(made, tmp_path, correct, capsys):
    save_head(tmp_path / "study" / "a.nii.gz")
    report = tmp_path / ("out" if made else "elsewhere") / "r.html"
    report.mkdir(parents=True)
    assert correct(tmp_path / "study", tmp_path / "out", "--report", report) == 1
    assert "this is a folder" in capsys.readouterr().err
    assert not list((tmp_path).glob("out/*.nii.gz"))


def test_scans_behind_links_are_corrected_and_a_link_to_nothing_is_said(tmp_path, correct, capsys):
    study = tmp_path / "study"
    study.mkdir()
    save_head(tmp_path / "store" / "b.nii.gz")
    (study / "linked").symlink_to(tmp_path / "store")
    (study / "gone.nii.gz").symlink_to(tmp_path / "nowhere.nii.gz")
    (study / "visit").symlink_to(tmp_path / "not mounted")
    (study / "circle.nii.gz").symlink_to(study / "circle.nii.gz")
    os.mkfifo(study / "pipe.nii.gz")
    assert correct(study, tmp_path / "out", "--no-picture") == 1
    found = {name: record["status"] for name, record in records(tmp_path / "out").items()}
    assert found == {"linked/b.nii.gz": "done", "gone.nii.gz": "failed", "circle.nii.gz": "failed", "visit": "failed"}
    assert "gone.nii.gz: this link leads nowhere" in capsys.readouterr().out


def test_a_slice_that_is_a_link_to_nothing_is_missed(tmp_path, correct, capsys):
    make_series(tmp_path / "series", stored_volume())
    last = sorted((tmp_path / "series").iterdir())[-1]
    last.unlink()
    last.symlink_to(tmp_path / "nowhere.dcm")
    assert correct(tmp_path / "series", tmp_path / "out") == 1
    assert "a link to one that is gone" in capsys.readouterr().err


def test_a_folder_that_cannot_be_read_is_not_passed_over(tmp_path, monkeypatch):
    save_head(tmp_path / "locked" / "a.nii.gz")
    listed = os.scandir

    def scandir(path):
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(InputError, match=r"locked: this folder cannot be read \(Permission denied\)"):
        list(folders_in(tmp_path))


def test_a_name_that_is_not_utf8_is_corrected_drawn_and_reported(tmp_path, correct, capsys):
    study = tmp_path / "study"
    good = save_head(study / "good.nii.gz")
    odd = Path(os.fsdecode(os.fsencode(study) + b"/t\xe9te\n.nii.gz"))
    shutil.copy(good, odd)
    assert correct(study, tmp_path / "out", "--report", tmp_path / "out" / "run.html") == 0
    assert len(list((tmp_path / "out").glob("*_corrected.png"))) == 2
    page = (tmp_path / "out" / "run.html").read_text(encoding="utf-8")
    assert "good.nii.gz" in page and page.count("<img") == 2


def test_an_ending_in_capitals_is_an_ending(tmp_path, correct):
    source = save_head(tmp_path / "a.nii.gz")
    assert correct(source, tmp_path / "B.NII.GZ", "--picture", tmp_path / "B.PNG") == 0
    assert (tmp_path / "B.NII.GZ").read_bytes()[:2] == b"\x1f\x8b"
    assert (tmp_path / "B.PNG").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize("name", ["x" * 300 + ".nii.gz", "loop/a.nii.gz"])
def test_a_path_that_the_system_refuses_gets_one_line(name, tmp_path, correct, capsys):
    source = save_head(tmp_path / "a.nii.gz")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for arguments in ((tmp_path / name, tmp_path / "b.nii.gz"), (source, tmp_path / name)):
        assert correct(*arguments) == 1
        error = capsys.readouterr().err
        assert error.startswith("error: ") and error.count("\n") == 1


def test_a_folder_that_takes_no_files_is_said_before_the_work(tmp_path, correct, capsys, monkeypatch):
    source = save_head(tmp_path / "a.nii.gz")
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)
    assert correct(source, tmp_path / "b.nii.gz") == 1
    assert "no file can be made in this folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "value"), [("--max-gb", "nan"), ("--max-gb", "inf"), ("--fidelity", "nan"), ("--guidance", "nan")]
)
def test_numbers_must_be_numbers(option, value, tmp_path, correct):
    source = save_head(tmp_path / "a.nii.gz")
    assert correct(source, tmp_path / "b.nii.gz", option, value) == 2
    assert not (tmp_path / "b.nii.gz").exists()


def test_a_scan_that_would_lie_in_the_corrected_series_of_another_is_refused(tmp_path, correct, capsys):
    make_series(tmp_path / "study" / "a", stored_volume((40, 36, 4)))
    save_head(tmp_path / "study" / "a_corrected" / "t1.nii.gz")
    assert correct(tmp_path / "study", tmp_path / "out") == 1
    assert "would lie in the corrected series of" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_a_folder_of_dicom_without_its_mark_is_missed(tmp_path, correct, capsys):
    save_head(tmp_path / "study" / "t1.nii.gz")
    make_series(tmp_path / "study" / "old", stored_volume((40, 36, 4)), names=[f"{z}.dcm" for z in range(4)])
    for file in (tmp_path / "study" / "old").iterdir():
        file.write_bytes(file.read_bytes()[132:])
    assert correct(tmp_path / "study", tmp_path / "out", "--no-picture") == 1
    assert "1 corrected, 0 done before, 1 failed" in capsys.readouterr().out
    assert "0.dcm has the name of a DICOM file" in records(tmp_path / "out")["old"]["error"]


def test_the_folder_above_is_a_source_like_any_other(tmp_path, correct, monkeypatch):
    for number in (5, 6):
        names = [f"{number}{z}.dcm" for z in range(4)]
        make_series(tmp_path / "study", stored_volume((40, 36, 4)) + number, names=names, SeriesNumber=number)
    (tmp_path / "study" / "sub").mkdir()
    monkeypatch.chdir(tmp_path / "study" / "sub")
    assert correct("..", tmp_path / "out", "--no-picture") == 0
    assert {path.name for path in tmp_path.iterdir()} == {"study", "out"}
    assert all(record["output"].startswith("study/") for record in records(tmp_path / "out").values())


def test_a_name_with_dollars_is_drawn_as_it_is(tmp_path, correct):
    source = save_head(tmp_path / "a$b_$c.nii.gz")
    assert correct(source, tmp_path / "out.nii.gz") == 0
    assert (tmp_path / "out.png").exists()


def test_a_scan_that_is_a_link_to_nothing_says_so(tmp_path, correct, capsys):
    save_head(tmp_path / "study" / "a.nii.gz")
    (tmp_path / "study" / "b.nii.gz").symlink_to(tmp_path / "not fetched")
    assert correct(tmp_path / "study", tmp_path / "out", "--no-picture") == 1
    said = capsys.readouterr()
    assert "1 corrected, 0 done before, 1 failed" in said.out
    error = records(tmp_path / "out")["b.nii.gz"]["error"]
    assert "b.nii.gz: this link leads nowhere. Fetch what it stands for" in error
