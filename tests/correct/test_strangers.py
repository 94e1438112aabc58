"""What lies where a result goes and was made by nobody's run of ours is never replaced, unless the user named it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from tests.correct.conftest import records, save_head, tree
from tests.correct.killed_run import draw
from tests.data.dicom_cases import make_series, stored_volume


@pytest.fixture(autouse=True)
def quick_pictures(monkeypatch):
    monkeypatch.setattr("mocodis_monai.report.comparison._draw", draw)


def text(path: Path) -> None:
    path.write_text("mine")


def image(path: Path) -> None:
    """A picture or volume that another program made."""
    if path.suffix == ".png":
        Figure().savefig(path)
    else:
        save_head(path)


def folder(path: Path) -> None:
    path.mkdir()
    (path / "notes.txt").write_text("mine")


def link(path: Path) -> None:
    path.symlink_to("not fetched")


@pytest.mark.parametrize(
    ("ending", "make"),
    [
        (".nii.gz", text),
        (".nii.gz", image),
        (".nii.gz", link),
        (".png", folder),
        (".png", image),
        ("_uncertainty.nii.gz", image),
    ],
)
def test_in_a_folder_the_scan_whose_result_it_would_replace_fails_and_the_others_go_on(
    study, tmp_path, correct, capsys, ending, make
):
    out = tmp_path / "out"
    out.mkdir()
    stranger = out / f"a_corrected{ending}"
    make(stranger)
    before = tree(out)
    for done in ("2 corrected, 0 done before", "0 corrected, 2 done before"):  # that it failed there makes it not ours
        assert correct(study, out, "--uncertainty") == 1
        said = capsys.readouterr().out
        assert f"failed: a.nii.gz: {stranger}: a result goes here" in said and f"{done}, 1 failed" in said
        assert "Move it, or choose another OUT." in said and "still lies there" not in said
        assert {name: sha for name, sha in tree(out).items() if name in before} == before
        assert records(out)["a.nii.gz"]["status"] == "failed" and stranger.is_symlink() == (make is link)
    stranger.rename(tmp_path / "moved")
    assert correct(study, out, "--uncertainty") == 0


def test_a_folder_or_file_where_a_series_goes_is_not_replaced_and_an_empty_folder_is(tmp_path, correct, capsys):
    out = tmp_path / "out"
    for name in ("a", "b", "c", "d"):
        make_series(tmp_path / "study" / name, stored_volume((40, 36, 4)))
    (out / "a_corrected").mkdir(parents=True)
    shutil.copytree(tmp_path / "study" / "b", out / "b_corrected")
    (out / "c_corrected").write_text("mine")
    before = tree(out)
    assert correct(tmp_path / "study", out, "--no-picture") == 1
    assert "2 corrected, 0 done before, 2 failed" in capsys.readouterr().out
    assert {name: sha for name, sha in tree(out).items() if name in before} == before
    assert {name for name, record in records(out).items() if record["status"] == "failed"} == {"b", "c"}


def test_what_no_record_names_is_replaced_if_it_is_ours(study, tmp_path, correct, capsys):
    """As after a run that was killed between its renames and its record."""
    out = tmp_path / "out"
    make_series(study / "series", stored_volume((40, 36, 4)))
    assert correct(study, out, "--uncertainty") == 0
    whole = tree(out)
    (out / "results.jsonl").unlink()
    assert correct(study, out, "--uncertainty", "--fidelity", 0.5) == 0
    assert correct(study, out, "--uncertainty") == 0
    assert capsys.readouterr().out.count("4 corrected, 0 done before, 0 failed") == 3
    assert tree(out) == whole


def test_what_a_record_names_is_replaced_whatever_was_done_to_it(study, tmp_path, correct):
    out = tmp_path / "out"
    assert correct(study, out) == 0
    text(out / "a_corrected.nii.gz")
    (out / "a_corrected.png").unlink()
    link(out / "a_corrected.png")
    assert correct(study, out) == 0
    assert json.loads((out / "results.jsonl").read_text().splitlines()[0])["status"] == "done"
    assert not (out / "a_corrected.png").is_symlink()


@pytest.mark.parametrize(("name", "option"), [("a.png", "--jobs=1"), ("a_uncertainty.nii.gz", "--uncertainty")])
@pytest.mark.parametrize("output", [None, text, image])
def test_beside_a_single_output_only_what_was_named_is_replaced(tmp_path, correct, capsys, name, option, output):
    source, out = save_head(tmp_path / "in" / "x.nii.gz"), tmp_path / "a.nii.gz"
    text(tmp_path / name)
    if output:
        output(out)
    before = tree(tmp_path)
    assert correct(source, out, option) == 1
    assert f"{name}: a result goes here" in capsys.readouterr().err
    assert tree(tmp_path) == before
    (tmp_path / name).unlink()
    for fidelity in (1, 0.5):  # those of an earlier run are
        assert correct(source, out, option, "--fidelity", fidelity) == 0
    out.unlink()
    assert correct(source, out, option) == 0


def test_a_picture_that_was_named_replaces_any(tmp_path, correct):
    source, picture = save_head(tmp_path / "in" / "x.nii.gz"), tmp_path / "a.png"
    text(picture)
    assert correct(source, tmp_path / "a.nii.gz", "--picture", picture) == 0
    assert picture.read_bytes()[:4] == b"\x89PNG"
