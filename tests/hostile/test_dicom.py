"""Unfit and malicious DICOM through the command: one clear line, exit status 1, nothing written, no patient named."""

from __future__ import annotations

import gzip
import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file

sys.path.insert(0, str(Path(__file__).parents[1] / "data"))
from dicom_cases import PATIENT, edit, make_enhanced, make_series, needs_enhanced, stored_volume

from tests.correct.conftest import head, records, save_head, tree
from tests.hostile.test_nifti import contents

EVIL = "../../../evil"
STORED = head((40, 36, 4)).astype(np.int64)


def series(**changes):
    """A maker of a series in which something is wrong."""
    return lambda folder: make_series(folder, STORED, **changes)


def copy_of(name: str):
    def make(folder: Path) -> None:
        path = get_testdata_file(name, download=False)
        if path is None:
            pytest.skip(f"{name} is in pydicom-data, which is not installed")
        folder.mkdir()
        shutil.copy(path, folder / "a.dcm")

    return make


def spoilt(spoil):
    """A maker of a good series whose third file is then spoilt."""

    def make(folder: Path) -> None:
        spoil(make_series(folder, STORED)[2])

    return make


def half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1500])


def without_pixels(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-600])


# What is made in a folder, and words of the message.
UNFIT = {
    "CT": (copy_of("CT_small.dcm"), "the modality is CT"),
    "a radiotherapy plan": (copy_of("rtplan.dcm"), "the modality is RTPLAN"),
    "a report": (copy_of("reportsi.dcm"), "the modality is SR"),
    "RGB": (copy_of("SC_rgb_rle.dcm"), "the modality is OT"),
    "truncated": (copy_of("MR_truncated.dcm"), "cut short"),
    "deflated": (copy_of("image_dfl.dcm"), "deflated"),
    "an enhanced object without frames": (copy_of("emri_small.dcm"), "functional groups"),
    "the modality of a CT": (series(Modality="CT"), "the modality is CT"),
    "a phase image": (series(ImageType=["ORIGINAL", "PRIMARY", "P"]), ""),
    "a slice twice": (series(positions=[(0, 0, z) for z in (0, 3, 3, 6)]), ""),
    "a slice that is missing": (series(positions=[(0, 0, z) for z in (0, 3, 9, 12)]), ""),
    "a position of NaN": (series(ImagePositionPatient=None), "ImagePositionPatient"),
    "a position light years away": (series(positions=[(1e9, 0, z) for z in (0, 3, 6, 9)]), "ImagePositionPatient"),
    "pixels without size": (series(PixelSpacing=[0, 0]), "PixelSpacing"),
    "pixels of a kilometre": (series(PixelSpacing=[1e6, 1e6]), "PixelSpacing"),
    "axes of no length": (series(ImageOrientationPatient=[0] * 6), "ImageOrientationPatient"),
    "a slope of zero": (series(RescaleSlope=0, RescaleIntercept=0), "RescaleSlope"),
    "a UID that climbs": (series(SeriesInstanceUID=EVIL), ""),
    "more rows than pixels": (series(Rows=60000), ""),
    "half a file": (spoilt(half), ""),
    "half the pixels": (spoilt(without_pixels), ""),
    "an empty file": (spoilt(lambda path: path.write_bytes(b"")), "002.dcm lies among DICOM files and is none"),
    "text for a slice": (spoilt(lambda path: path.write_text("hello")), "002.dcm lies among DICOM files and is none"),
    "noise behind the magic": (
        spoilt(lambda path: path.write_bytes(bytes(128) + b"DICM" + np.random.default_rng(0).bytes(4000))),
        "",
    ),
    "a slice of another size": (spoilt(lambda path: edit(path, Columns=20, Rows=72)), ""),
    "a slice that is tilted": (spoilt(lambda path: edit(path, ImageOrientationPatient=[0, 1, 0, 0, 0, 1])), ""),
    "an image of one value": (lambda folder: make_series(folder, STORED * 0 + 7), "no image"),
}


@pytest.mark.parametrize("kind", UNFIT)
def test_an_unfit_series_is_refused(kind, tmp_path, correct, capsys):
    make, words = UNFIT[kind]
    make(tmp_path / "in")
    before = contents(tmp_path)
    assert correct(tmp_path / "in", tmp_path / "out") == 1
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith(f"error: {tmp_path / 'in'}") and said.err.count("\n") == 1
    assert words in said.err
    assert not any(secret in said.err for secret in (*PATIENT, "Doe", "4711", EVIL))
    assert contents(tmp_path) == before


@needs_enhanced
def test_a_frame_count_that_would_fill_the_memory_is_refused_first(tmp_path, correct, capsys):
    (tmp_path / "in").mkdir()
    make_enhanced(tmp_path / "in" / "a.dcm", STORED)
    assert correct(tmp_path / "in", tmp_path / "out", "--max-gb", "0.00001") == 1
    assert "--max-gb" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_pixels_that_would_fill_the_memory_are_refused_first(tmp_path, correct, capsys):
    make_series(tmp_path / "in", STORED, Rows=60000, Columns=60000)  # 58 GB as float32
    assert correct(tmp_path / "in", tmp_path / "out") == 1
    assert "GB are allowed" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_fields_that_climb_out_of_the_folder_name_no_file(tmp_path, correct, capsys):
    changes = dict.fromkeys(("SeriesDescription", "PatientID", "StudyID", "ProtocolName"), EVIL)
    for number in (1, 2):  # two series in one folder: they are told apart by what is in the header
        names = [f"{number}{z}.dcm" for z in range(4)]
        make_series(tmp_path / "home" / "in", STORED, names=names, SeriesNumber=number, **changes)
    assert correct(tmp_path / "home" / "in", tmp_path / "home" / "out", "--uncertainty") == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["home"]
    assert sorted(p.name for p in (tmp_path / "home").iterdir()) == ["in", "out"]
    assert not any("evil" in name for name in tree(tmp_path / "home" / "out"))
    said = capsys.readouterr()
    assert "evil" not in said.out + said.err


def test_a_study_of_everything_is_corrected_as_far_as_it_can_be(tmp_path, correct, capsys):
    study = tmp_path / "study"
    make_series(study / "t1", STORED)
    for number in (5, 6):
        make_series(study / "flat", STORED + number, names=[f"{number}{z}" for z in range(4)], SeriesNumber=number)
    make_series(study / "gap", STORED, positions=[(0, 0, z) for z in (0, 3, 9, 12)])
    spoilt(half)(study / "half")
    copy_of("CT_small.dcm")(study / "ct")
    save_head(study / "t1" / "converted.nii.gz")
    (study / "DICOMDIR").write_bytes(bytes(128) + b"DICM")
    before = contents(study)
    assert correct(study, tmp_path / "out", "--report", tmp_path / "r.html", "--jobs", 2) == 1
    assert contents(study) == before
    said = capsys.readouterr()
    failed = {name: found["error"] for name, found in records(tmp_path / "out").items() if found["status"] == "failed"}
    assert set(failed) == {"gap", "half"}, failed
    assert "4 corrected, 0 done before, 2 failed\n1 not a scan, why is in results.jsonl: 1 x modality CT" in said.out
    everything = said.out + said.err + re.sub('"data:.*?"', "", (tmp_path / "r.html").read_text())
    everything += (tmp_path / "out" / "results.jsonl").read_text()
    everything = re.sub("[0-9a-f]{8,}", "", everything)  # checksums, which may hold any number
    assert not any(secret in everything for secret in (*PATIENT, "Doe", "4711"))
    found = records(tmp_path / "out")
    good = [record for record in found.values() if record["status"] == "done" and "nii" not in record["output"]]
    for record in good:
        files = sorted((tmp_path / "out" / record["output"]).iterdir())
        assert len(files) == 4
        assert "DERIVED" in pydicom.dcmread(files[0]).ImageType
    assert correct(study, tmp_path / "out") == 1
    assert "0 corrected, 4 done before, 2 failed" in capsys.readouterr().out


def test_what_was_corrected_already_is_not_corrected_once_more(tmp_path, correct, capsys):
    make_series(tmp_path / "study" / "t1", STORED)
    assert correct(tmp_path / "study" / "t1", tmp_path / "first") == 0
    (tmp_path / "study" / "t1c").mkdir()
    for number, file in enumerate(sorted((tmp_path / "first").iterdir())):  # an archive names files as it likes
        shutil.copy(file, tmp_path / "study" / "t1c" / f"{number}")
    assert correct(tmp_path / "study", tmp_path / "out") == 0
    assert "1 corrected, 0 done before, 0 failed\n1 not a scan" in capsys.readouterr().out
    assert correct(tmp_path / "study" / "t1c", tmp_path / "again") == 1
    assert f"{tmp_path / 'study' / 't1c'}: MoCoDis has corrected this already" in capsys.readouterr().err


def test_one_series_gives_one_folder_that_holds_nothing_else(tmp_path, correct, capsys):
    make_series(tmp_path / "in", STORED, InPlanePhaseEncodingDirection="ROW")
    before = contents(tmp_path / "in")
    for fidelity, word in ((1, ""), (1, "by an earlier run"), (0.5, "")):  # other settings replace the series
        assert correct(tmp_path / "in", tmp_path / "out", "--uncertainty", "--fidelity", fidelity) == 0
        assert word in capsys.readouterr().out
        assert [p.name for p in sorted((tmp_path / "out").iterdir())] == [f"IM{z:06d}.dcm" for z in range(1, 5)]
    wanted = {"in", "out", "out.png", "out_uncertainty.nii.gz", "results.jsonl", ".results.jsonl.lock"}
    assert {p.name for p in tmp_path.iterdir()} == wanted
    assert contents(tmp_path / "in") == before
    (record,) = map(json.loads, (tmp_path / "results.jsonl").open())
    assert (record["phase_encode_axis"], record["slice_axis"]) == (0, 2)


@pytest.mark.parametrize("option", ["--picture", "--report"])
def test_nothing_else_is_put_into_a_corrected_series(tmp_path, correct, capsys, option):
    make_series(tmp_path / "in", STORED)
    assert correct(tmp_path / "in", tmp_path / "out") == 0
    before = contents(tmp_path)
    inside = tmp_path / "out" / ("p.png" if option == "--picture" else "r.html")
    assert correct(tmp_path / "in", tmp_path / "out", option, inside) == 1
    assert "is to hold the corrected DICOM series alone" in capsys.readouterr().err
    assert contents(tmp_path) == before


def test_what_a_file_manager_leaves_does_not_undo_a_corrected_series(tmp_path, correct, capsys):
    for k in range(2):
        make_series(tmp_path / "study" / f"s{k}", STORED)
    assert correct(tmp_path / "study", tmp_path / "out") == 0
    for name in (".DS_Store", "Thumbs.db"):
        (tmp_path / "out" / "s1_corrected" / name).write_text("litter")
    assert correct(tmp_path / "study", tmp_path / "out") == 0
    assert "0 corrected, 2 done before" in capsys.readouterr().out
    assert correct(tmp_path / "study", tmp_path / "out", "--fidelity", 0.5) == 0  # and it can be replaced


def test_a_series_that_is_left_alone_in_its_folder_keeps_its_place(tmp_path, correct, capsys):
    for k in range(2):
        make_series(tmp_path / "study" / f"s{k}", STORED)
    assert correct(tmp_path / "study", tmp_path / "out") == 0
    shutil.rmtree(tmp_path / "study" / "s0")
    for file in (tmp_path / "study" / "s1").iterdir():
        file.rename(tmp_path / "study" / file.name)
    assert correct(tmp_path / "study", tmp_path / "out") == 0
    assert "1 corrected" in capsys.readouterr().out
    kept = {p.name for p in (tmp_path / "out").iterdir() if p.is_dir()}
    assert kept == {"s0_corrected", "s1_corrected", "study_corrected"}


def test_many_series_do_not_go_into_one_that_was_corrected(tmp_path, correct, capsys):
    make_series(tmp_path / "one", STORED)
    assert correct(tmp_path / "one", tmp_path / "out") == 0
    for k in range(2):
        make_series(tmp_path / "study" / f"s{k}", STORED)
    before = contents(tmp_path / "out")
    assert correct(tmp_path / "study", tmp_path / "out") == 1
    assert "holds the corrected series of an earlier run" in capsys.readouterr().err
    assert contents(tmp_path / "out") == before


@pytest.mark.parametrize("output", [".", ".."])
def test_the_current_folder_is_no_name_for_a_series(tmp_path, correct, capsys, monkeypatch, output):
    make_series(tmp_path / "in", STORED)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert correct(tmp_path / "in", output) == 1
    assert "Give the name of a folder to make" in capsys.readouterr().err


@pytest.mark.parametrize("taken", ["file.txt", "folder/file.txt", "series.nii.gz"])
def test_an_output_that_is_taken_or_misnamed_is_refused(tmp_path, correct, capsys, taken):
    make_series(tmp_path / "in", STORED)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file.txt").write_text("mine")
    (tmp_path / "file.txt").write_text("mine")
    before = contents(tmp_path)
    assert correct(tmp_path / "in", tmp_path / taken.split("/")[0]) == 1
    assert capsys.readouterr().err.startswith("error: ")
    assert contents(tmp_path) == before


@needs_enhanced
def test_a_file_is_a_scan_too(tmp_path, correct):
    make_enhanced(tmp_path / "scan.dcm", stored_volume((40, 36, 4)))
    for fidelity in (1, 0.5):  # the second replaces the first
        assert correct(tmp_path / "scan.dcm", tmp_path / "out", "--fidelity", fidelity) == 0
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["IM000001.dcm"]


@pytest.mark.parametrize(("name", "message"), [("a.dcm", "damaged one"), ("a.txt", "no DICOM file, and the name")])
def test_a_file_that_is_no_scan_is_named_before_its_output(tmp_path, correct, capsys, name, message):
    (tmp_path / name).write_bytes(bytes(300))
    assert correct(tmp_path / name, tmp_path / "out") == 1
    said = capsys.readouterr().err
    assert message in said and name in said


def test_gzip_of_dicom_is_no_dicom(tmp_path, correct, capsys):
    (path,) = make_series(tmp_path / "in", STORED[..., :1])
    (tmp_path / "scan.dcm.gz").write_bytes(gzip.compress(path.read_bytes()))
    assert correct(tmp_path / "scan.dcm.gz", tmp_path / "out") == 1
    assert "scan.dcm.gz: no DICOM file, and the name" in capsys.readouterr().err and not (tmp_path / "out").exists()
