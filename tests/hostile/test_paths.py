"""Names and places that could lose something: links, clashes, names that are not UTF-8, folders that refuse."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from mocodis_monai.data.folders import folders_in
from mocodis_monai.errors import InputError
from tests.batch.conftest import records, save_head, tree


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


@pytest.mark.parametrize("names", [("a.nii", "a.nii.gz", "a.nii.nii"), ("a_corrected.nii", "x/../a.nii")])
def test_two_scans_never_get_one_output(names, tmp_path, correct, capsys):
    study = tmp_path / "study"
    (study / "x").mkdir(parents=True)
    for seed, name in enumerate(names):
        save_head(study / name, seed)
    status = correct(study, tmp_path / "out", "--no-picture")
    if status == 0:
        assert len({record["output"] for record in records(tmp_path / "out").values()}) == len(names)
    else:
        assert "would get one name" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_linked_folders_are_followed_once_and_never_round_in_a_circle(tmp_path):
    study, elsewhere = tmp_path / "study", tmp_path / "elsewhere"
    save_head(study / "a.nii.gz")
    save_head(elsewhere / "deep" / "b.nii.gz")
    (elsewhere / "deep" / "back").symlink_to(study)
    for name in ("one", "two"):
        (study / name).symlink_to(elsewhere)
    (study / "up").symlink_to(tmp_path)
    (study / "self").symlink_to(study)
    (tmp_path / "out").mkdir()
    (study / "outputs").symlink_to(tmp_path / "out")
    found = [folder.relative_to(study).as_posix() for folder, _ in folders_in(study, tmp_path / "out")]
    assert found == [".", "one", "one/deep"]


def test_scans_behind_links_are_corrected_and_a_link_to_nothing_is_said(tmp_path, correct, capsys):
    study = tmp_path / "study"
    study.mkdir()
    save_head(tmp_path / "store" / "b.nii.gz")
    (study / "linked").symlink_to(tmp_path / "store")
    (study / "gone.nii.gz").symlink_to(tmp_path / "nowhere.nii.gz")
    (study / "circle.nii.gz").symlink_to(study / "circle.nii.gz")
    os.mkfifo(study / "pipe.nii.gz")
    assert correct(study, tmp_path / "out", "--no-picture") == 1
    found = {name: record["status"] for name, record in records(tmp_path / "out").items()}
    assert found == {"linked/b.nii.gz": "done", "gone.nii.gz": "failed", "circle.nii.gz": "failed"}
    assert "gone.nii.gz: cannot be read" in capsys.readouterr().out


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


@pytest.mark.parametrize("option", ["--max-gb", "--fidelity", "--guidance"])
@pytest.mark.parametrize("value", ["nan", "inf"])
def test_numbers_must_be_numbers(option, value, tmp_path, correct):
    source = save_head(tmp_path / "a.nii.gz")
    assert correct(source, tmp_path / "b.nii.gz", option, value) == 2
    assert not (tmp_path / "b.nii.gz").exists()
