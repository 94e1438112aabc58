"""The folder of a derived series: the same bytes for the same run, safe names, whole or not at all."""

from __future__ import annotations

import pytest
import torch
from dicom_cases import PATIENT, edit, make_series, snapshot, stored_volume, written

from mocodis_monai.data import dicom_derived
from mocodis_monai.data.dicom import read_dicom
from mocodis_monai.data.dicom_derived import write_derived
from mocodis_monai.errors import InputError


def test_the_same_run_gives_the_same_bytes_and_another_one_other_uids(tmp_path):
    make_series(tmp_path / "in", stored_volume())
    scan = read_dicom(tmp_path / "in")
    first = snapshot(write_derived(scan, scan.image, tmp_path / "first"))
    assert snapshot(write_derived(scan, scan.image, tmp_path / "again")) == first
    others = [
        write_derived(scan, scan.image * 0.9, tmp_path / "values"),
        write_derived(scan, scan.image, tmp_path / "description", description="MoCoDis uncertainty"),
        write_derived(scan, scan.image, tmp_path / "method", method="codes only"),
    ]
    series = {written(folder)[0].SeriesInstanceUID for folder in (tmp_path / "first", *others)}
    assert len(series) == 4


def test_names_of_files_come_from_no_field_of_the_header(tmp_path):
    evil = "../../../tmp/evil"
    make_series(tmp_path / "in", stored_volume(), **dict.fromkeys(("SeriesDescription", "PatientID", "StudyID"), evil))
    scan = read_dicom(tmp_path / "in")
    (tmp_path / "results").mkdir()
    write_derived(scan, scan.image, tmp_path / "results" / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in", "results"]
    assert [p.name for p in (tmp_path / "results").iterdir()] == ["out"]
    assert {p.name[:2] for p in (tmp_path / "results" / "out").iterdir()} == {"IM"}


def test_outputs_that_would_mix_or_vanish_are_refused(tmp_path):
    make_series(tmp_path / "in", stored_volume((8, 8, 2)))
    scan = read_dicom(tmp_path / "in")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a.txt").touch()
    (tmp_path / "empty").mkdir()
    for name, words in {
        "in": "in the folder of the input",
        "in/out": "in the folder of the input",
        "full": "exists already",
        "full/a.txt": "exists already",
        "missing/out": "does not exist",
    }.items():
        with pytest.raises(InputError, match=words):
            write_derived(scan, scan.image, tmp_path / name)
    with pytest.raises(ValueError, match="shape"):
        write_derived(scan, scan.image[:-1], tmp_path / "out")
    with pytest.raises(ValueError, match="values that are NaN or infinite"):
        write_derived(scan, scan.image * torch.nan, tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["empty", "full", "in"]
    write_derived(scan, scan.image, tmp_path / "empty")
    assert len(written(tmp_path / "empty")) == 2


def test_a_failure_on_the_way_leaves_nothing(tmp_path, monkeypatch):
    files = make_series(tmp_path / "in", stored_volume())
    scan = read_dicom(tmp_path / "in")
    write_file, seen = dicom_derived.write_file, []

    def full_disk(path, *arguments):
        assert not (tmp_path / "out").exists()
        seen.append(path)
        if len(seen) == 4:
            raise OSError(28, "No space left on device")
        write_file(path, *arguments)

    monkeypatch.setattr(dicom_derived, "write_file", full_disk)
    with pytest.raises(InputError, match="No space left"):
        write_derived(scan, scan.image, tmp_path / "out")
    assert len(seen) == 4 and [p.name for p in tmp_path.iterdir()] == ["in"]
    monkeypatch.undo()
    edit(files[3], SOPInstanceUID="1.2.3.4")
    with pytest.raises(InputError, match="changed since it was read"):
        write_derived(scan, scan.image, tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["in"]


def test_a_header_that_cannot_be_written_again_is_told_without_the_patient(tmp_path):
    [file] = make_series(tmp_path / "in", stored_volume((8, 8, 1)), SeriesNumber=71717)
    file.write_bytes(file.read_bytes().replace(b"71717 ", b"Doe^J "))
    scan = read_dicom(tmp_path / "in")
    with pytest.raises(InputError, match="cannot be written again") as caught:
        write_derived(scan, scan.image, tmp_path / "out")
    assert "Doe" not in str(caught.value) and PATIENT[0] not in str(caught.value)
    assert not (tmp_path / "out").exists()
