"""DICOM series through the command: what a derived one says was done, and series that lie in several folders."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest

from mocodis_monai import __version__
from tests.correct.conftest import head, records
from tests.data.dicom_cases import make_enhanced, make_series, needs_dciodvfy, needs_enhanced, validator_errors

STORED = head((40, 36, 4)).astype(np.int64)


def first(folder: Path) -> pydicom.FileDataset:
    return pydicom.dcmread(folder / "IM000001.dcm")


def test_a_derived_series_says_what_was_done(tmp_path, correct):
    make_series(tmp_path / "in", STORED)
    options = ("--no-picture", "--fidelity", 0.5, "--guidance", 0.25)
    assert correct(tmp_path / "in", tmp_path / "out", *options) == 0
    made, record = first(tmp_path / "out"), records(tmp_path)["in"]
    assert made.SeriesDescription == "t1 sag MoCoDis corrected"
    assert made.DerivationDescription == (
        f"MoCoDis {__version__}: retrospective motion correction, slice by slice: corrected (estimated motion "
        f"{record['motion_score_mm']:.2f} mm, gate 1.00), fidelity 0.5, guidance 0.25. Research use only."
    )


def test_a_series_that_was_left_alone_says_so(tmp_path, correct, network, monkeypatch):
    make_series(tmp_path / "in", STORED, SeriesDescription="d" * 64)
    network.guidance = 0.125
    monkeypatch.setattr("mocodis_monai.networks.motion_corrector.no_harm_gate", lambda score: score * 0)
    assert correct(tmp_path / "in", tmp_path / "out", "--no-picture") == 0
    made = first(tmp_path / "out")
    assert made.SeriesDescription.endswith("d MoCoDis left alone") and len(made.SeriesDescription) == 64
    assert "left alone (estimated motion " in made.DerivationDescription
    assert made.DerivationDescription.endswith("gate 0.00), fidelity 1, guidance 0.125. Research use only.")
    np.testing.assert_array_equal(made.pixel_array, pydicom.dcmread(tmp_path / "in" / "000.dcm").pixel_array)


@needs_enhanced
@needs_dciodvfy
def test_an_enhanced_object_says_it_of_each_frame_and_is_valid(tmp_path, correct):
    make_enhanced(tmp_path / "in.dcm", STORED)
    assert correct(tmp_path / "in.dcm", tmp_path / "out", "--no-picture") == 0
    made = first(tmp_path / "out")
    for frame in made.PerFrameFunctionalGroupsSequence:
        assert ": corrected (estimated motion" in frame.DerivationImageSequence[0].DerivationDescription
    assert not validator_errors(tmp_path / "out" / "IM000001.dcm") - validator_errors(tmp_path / "in.dcm")


def apart(files: list[Path], part: slice, folder: Path, keep: bool = False) -> None:
    """Move (or copy) some files of a series into a folder of their own."""
    folder.mkdir(parents=True)
    for file in files[part]:
        (shutil.copy if keep else shutil.move)(file, folder / file.name)


@pytest.mark.parametrize("part", [slice(0, None, 2), slice(3, None)], ids=["every other", "the last"])
def test_a_series_in_two_folders_fails_and_both_are_named(part, tmp_path, correct, capsys):
    study = tmp_path / "study"
    apart(make_series(study / "cd" / "a", STORED), part, study / "cd" / "b")
    make_series(study / "t2", STORED)
    assert correct(study, tmp_path / "out", "--no-picture") == 1
    assert "1 corrected, 0 done before, 2 failed" in capsys.readouterr().out
    found = records(tmp_path / "out")
    for one, other in ("ab", "ba"):
        error = found[f"cd/{one}"]["error"]
        assert error.startswith(f"{study}/cd/{one}: slices of one series lie here")
        assert f"in {study}/cd/{other}. Put them together" in error
    for file in (study / "cd" / "b").iterdir():  # as it says
        file.rename(study / "cd" / "a" / file.name)
    assert correct(study, tmp_path / "out", "--no-picture") == 0


def test_a_part_among_other_series_is_found_too(tmp_path, correct):
    study = tmp_path / "study"
    apart(make_series(study / "a", STORED), slice(2, None), study / "b")
    make_series(study / "b", STORED, names=[f"other{z}.dcm" for z in range(4)], SeriesNumber=77)
    assert correct(study, tmp_path / "out", "--no-picture") == 1
    status = {name.partition("-77-")[0]: record["status"] for name, record in records(tmp_path / "out").items()}
    assert sorted(status.values()) == ["done", "failed", "failed"] and status["b/series"] == "done"


def test_copies_and_sorted_echoes_are_whole(tmp_path, correct):
    study = tmp_path / "study"
    apart(make_series(study / "a", STORED), slice(None), study / "copy", keep=True)
    positions = [(0, 0, 3 * (z // 2)) for z in range(8)]
    echoes = make_series(study / "echo1", STORED.repeat(2, axis=2), positions=positions, EchoTime=(5, 80) * 4)
    apart(echoes, slice(1, None, 2), study / "echo2")
    assert correct(study, tmp_path / "out", "--no-picture") == 0
    assert {record["status"] for record in records(tmp_path / "out").values()} == {"done"}
    assert len(records(tmp_path / "out")) == 4
