"""What a study holds besides scans is recorded and summed up, and is no failure; what cannot be read is one."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from mocodis_monai import cli
from mocodis_monai.correct.ledger import NOT_A_SCAN
from tests.correct.conftest import head, records, save_head, tree
from tests.data.dicom_cases import make_series

STORED = head((40, 36, 4)).astype(np.int64)


def save(path: Path, data: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(data, np.diag([-1, 1, 4, 1])), path)
    return path


def bids(folder: Path) -> Path:
    """One scan, and whatever a tree holds besides."""
    person = folder / "sub-01"
    for name in ("anat/sub-01_T1w", "anat/sub-01_T1map", "anat/sub-01_part-phase_T1w", "fmap/sub-01_magnitude1"):
        save_head(person / f"{name}.nii.gz")
    series = np.repeat(head()[..., None], 2, axis=3)
    for name in ("func/sub-01_task-rest_bold", "dwi/sub-01_dwi"):
        save(person / f"{name}.nii.gz", series)
    for name in ("anat/sub-01_desc-brain_mask", "anat/sub-01_dseg"):
        save(person / f"{name}.nii.gz", (head() > 300).astype(np.uint8))
    save_head(folder / "derivatives" / "prep" / "sub-01" / "anat" / "sub-01_T1w.nii.gz")
    make_series(folder / "sourcedata" / "sub-01", STORED)
    return folder


def test_of_a_bids_tree_its_scans_are_corrected_and_the_rest_is_no_failure(tmp_path, correct, capsys):
    page = tmp_path / "report.html"
    assert correct(bids(tmp_path / "study"), tmp_path / "out", "--report", page) == 0
    said = capsys.readouterr().out
    assert "1 corrected, 0 done before, 0 failed\n9 not a scan, why is in results.jsonl: " in said
    for kind in ("in derivatives", "in sourcedata", "BIDS part-phase", "BIDS bold", "BIDS dseg", "BIDS T1map"):
        assert f"1 x {kind}" in said and f"1 x {kind}" in page.read_text()
    assert "sub-01_task-rest_bold" not in said  # no line of its own
    found = records(tmp_path / "out")
    others = {name: record for name, record in found.items() if record["status"] == NOT_A_SCAN}
    assert len(found) == 10 and len(others) == 9
    assert all(record.keys() == {"scan", "status", "output", "kind", "reason"} for record in others.values())
    assert others["sub-01/dwi/sub-01_dwi.nii.gz"]["reason"].endswith("give it by its own name.")
    assert "lies in sourcedata of a BIDS tree" in others["sourcedata/sub-01"]["reason"]
    assert [path for path in tree(tmp_path / "out") if path.endswith(".nii.gz")] == [
        found["sub-01/anat/sub-01_T1w.nii.gz"]["output"]
    ]
    assert page.read_text().count("<tr>") == 2 and "Motion correction of 1 scan, 0 failed" in page.read_text()
    assert page.read_text().count("<li>") == 9


def test_a_file_by_its_own_name_is_judged_by_what_is_in_it(tmp_path, correct, capsys):
    anat, out = bids(tmp_path / "study") / "sub-01" / "anat", tmp_path / "out.nii.gz"
    assert correct(anat / "sub-01_T1map.nii.gz", out, "--no-picture") == 0
    out.unlink()
    before = tree(tmp_path)
    assert correct(anat / "sub-01_dseg.nii.gz", out) == 1
    assert "sub-01_dseg.nii.gz: 2 values, whole numbers in even patches: a mask" in capsys.readouterr().err
    assert tree(tmp_path) == before


def test_a_part_of_a_tree_has_the_rule_of_the_tree(tmp_path, correct):
    assert correct(bids(tmp_path / "study") / "sub-01" / "anat", tmp_path / "out", "--no-picture") == 0
    status = {name: record["status"] for name, record in records(tmp_path / "out").items()}
    assert sorted(status.values()) == ["done", *["not a scan"] * 4] and status["sub-01_T1w.nii.gz"] == "done"


def test_other_kinds_do_not_hide_a_failure(study, tmp_path, correct, capsys):
    save(study / "labels.nii.gz", (head() // 400).astype(np.float32))  # as FSL writes its masks
    save(study / "series.nii.gz", np.repeat(head()[..., None], 3, axis=3))
    save(study / "phase.nii.gz", head() - 500)
    (study / "bad.nii").write_text("no image")
    assert correct(study, tmp_path / "out", "--no-picture") == 1
    said = capsys.readouterr().out
    assert "3 corrected, 0 done before, 1 failed\n3 not a scan" in said
    assert "1 x mask or labels" in said and "1 x several volumes" in said and "1 x phase image" in said
    (study / "bad.nii").unlink()
    assert correct(study, tmp_path / "out", "--no-picture") == 0
    assert "0 corrected, 3 done before, 0 failed\n3 not a scan" in capsys.readouterr().out


def test_a_dicom_study_with_localizer_phase_maps_and_reports_is_corrected(tmp_path, correct, capsys):
    study = tmp_path / "study"
    make_series(study / "t1", STORED)
    for name, word in (("loc", "LOCALIZER"), ("swi phase", "P"), ("adc", "ADC"), ("mnip", "MNIP"), ("ttp", "TTP")):
        make_series(study / name, STORED, ImageType=["DERIVED", "PRIMARY", word])
    make_series(study / "ct", STORED, Modality="CT")
    assert correct(study, tmp_path / "out", "--no-picture") == 0
    said = capsys.readouterr().out
    assert "1 corrected, 0 done before, 0 failed\n6 not a scan, why is in results.jsonl: 2 x map of a quantity" in said
    assert correct(study / "adc", tmp_path / "alone") == 1
    assert "a map of a quantity (ADC in its image type). Give the images" in capsys.readouterr().err
    assert not (tmp_path / "alone").exists()


def test_what_mocodis_wrote_is_not_corrected_again(tmp_path, correct, capsys):
    source = save_head(tmp_path / "study" / "t1.nii.gz")
    assert correct(source, tmp_path / "study" / "c.nii.gz", "--uncertainty") == 0
    (tmp_path / "study" / "results.jsonl").unlink()
    assert b": corrected, research" in nib.load(tmp_path / "study" / "c.nii.gz").header["descrip"].item()
    assert b": uncertainty, research" in nib.load(tmp_path / "study" / "c_uncertainty.nii.gz").header["descrip"].item()
    assert correct(tmp_path / "study", tmp_path / "out", "--no-picture") == 0
    assert "1 corrected, 0 done before, 0 failed\n2 not a scan" in capsys.readouterr().out
    assert correct(tmp_path / "study" / "c.nii.gz", tmp_path / "d.nii.gz") == 1
    assert "c.nii.gz: MoCoDis has corrected this already. Give the image" in capsys.readouterr().err


def test_simulated_motion_is_corrected_also_in_what_was_corrected(tmp_path, correct, monkeypatch):
    source = save_head(tmp_path / "t1.nii.gz")
    assert correct(source, tmp_path / "c.nii.gz", "--no-picture") == 0
    for name in ("t1", "c"):
        moved, still = tmp_path / f"{name}-moved.nii.gz", tmp_path / f"{name}-still.nii.gz"
        arguments = [tmp_path / f"{name}.nii.gz", moved, "--family", "drift", "--displacement-mm", 2, "--target", still]
        monkeypatch.setattr(sys, "argv", ["mocodis", "simulate", *map(str, arguments)])
        with pytest.raises(SystemExit):
            cli.main()
            raise SystemExit(0)
        for path in (moved, still):
            assert correct(path, tmp_path / "again.nii.gz", "--no-picture") == 0


def test_an_earlier_result_of_what_is_no_scan_is_told(tmp_path, correct):
    source = save_head(tmp_path / "study" / "a.nii.gz")
    assert correct(tmp_path / "study", tmp_path / "out", "--no-picture") == 0
    save(source, (head() > 300).astype(np.uint8))
    assert correct(tmp_path / "study", tmp_path / "out", "--no-picture") == 0
    reason = records(tmp_path / "out")["a.nii.gz"]["reason"]
    assert "a mask or a map of labels" in reason and reason.endswith("The result of an earlier run still lies there.")


def test_names_do_not_steer_the_terminal(tmp_path, correct, capsys):
    evil = "\x1b[2J\x07evil"
    study = tmp_path / f"study{evil}"
    save_head(study / f"a{evil}.nii")
    save_head(study / "sub-1" / f"sub-1_{evil}.nii")
    (study / f"b{evil}.nii").write_text("no image")
    assert correct(study, tmp_path / f"out{evil}", "--report", tmp_path / f"r{evil}.html") == 1
    said = capsys.readouterr()
    assert "1 corrected, 0 done before, 1 failed\n1 not a scan" in said.out and "1 x BIDS ?[2J?evil" in said.out
    assert "failed: " in said.out and "a?[2J?evil.nii" in said.out
    shutil.copy(study / f"a{evil}.nii", tmp_path / "a.nii")
    assert correct(tmp_path / "a.nii", tmp_path / f"{evil}.nii") == 0
    said_of_one = capsys.readouterr()
    assert not any(c in text for text in (*said, *said_of_one) for c in "\x1b\x07")
