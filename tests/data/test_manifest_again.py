"""A manifest that is built again with another pattern: refused, not left as it was without a word."""

from __future__ import annotations

import json

import pytest
from small_scans import scans

from mocodis_monai.data.manifest_build import build_manifest, counted
from mocodis_monai.errors import InputError

PEOPLE = [f"{visit}_p{number}_T1" for visit in ("v1", "v2", "v3") for number in range(3)]


def test_a_pattern_that_tells_known_files_other_subjects_is_refused_and_nothing_is_written(tmp_path):
    folder, out = scans(tmp_path / "scans", *PEOPLE), tmp_path / "own.json"
    build_manifest(folder, out)  # takes the visits for people
    before = out.read_bytes()
    message = r"own\.json: v1_p0_T1\.nii\.gz is of subject 'v1' there, of 'p0' by --subject 'p.*Remove it.*by hand"
    with pytest.raises(InputError, match=message):
        build_manifest(folder, out, subject=r"p\d")
    with pytest.raises(InputError, match="finds no subject in this name"):
        build_manifest(folder, out, subject="q")
    assert out.read_bytes() == before and len(list(tmp_path.iterdir())) == 2
    out.unlink()
    assert {scan.subject for scan in build_manifest(folder, out, subject=r"p\d").manifest.scans} == {"p0", "p1", "p2"}


def test_subjects_corrected_by_hand_stay_without_a_pattern_and_with_one_that_agrees(tmp_path):
    folder, out = scans(tmp_path / "scans", *PEOPLE), tmp_path / "own.json"
    build_manifest(folder, out, validation=0, test=0)
    content = json.loads(out.read_text())
    for entry in content["files"]:
        entry["subject"] = entry["path"][3:5]
    out.write_text(json.dumps(content))
    scans(folder, "p9_T1")
    for pattern in (None, r"p\d"):
        built = build_manifest(folder, out, validation=0, test=0, subject=pattern)
        assert {scan.subject for scan in built.manifest.scans} == {"p0", "p1", "p2", "p9"}
    assert counted(built)[-1] == (
        "4 subjects were in the manifest before and keep their split; shares and seed are for new ones only."
    )


def test_files_that_are_renamed_keep_subject_and_split_and_new_scans_of_theirs_follow(tmp_path):
    folder, out = scans(tmp_path / "scans", *(f"p{number}_T1" for number in range(9))), tmp_path / "own.json"
    before = {scan.sha256: scan[:3] for scan in build_manifest(folder, out).manifest.scans}
    for number in range(8):
        (folder / f"p{number}_T1.nii.gz").rename(folder / f"anon{9 - number}_T1.nii.gz")
    (folder / "p8_T1.nii.gz").rename(tmp_path / "p8_T1.nii.gz")
    scans(folder, "anon9_T2")
    built = build_manifest(folder, out, seed=5)
    subjects = {scan.path.name: scan.subject for scan in built.manifest.scans}
    assert all(before[scan.sha256] == scan[:3] for scan in built.manifest.scans if "T1" in scan.name)
    assert subjects["anon9_T2.nii.gz"] == subjects["anon9_T1.nii.gz"] == "p0"
    assert len(built.renamed) == 8 and built.renamed["p0_T1.nii.gz"] == "anon9_T1.nii.gz" and built.num_away == 1
    (said,) = (line for line in counted(built) if "another name" in line)
    assert said.startswith("8 files") and "such as p0_T1.nii.gz, now anon9_T1.nii.gz" in said
    (tmp_path / "p8_T1.nii.gz").rename(folder / "anon1_T1.nii.gz")  # from `away`
    built = build_manifest(folder, out, seed=5)
    assert built.renamed == {"p8_T1.nii.gz": "anon1_T1.nii.gz"} and built.num_away == 0
    assert all(before[scan.sha256] == scan[:3] for scan in built.manifest.scans if "T1" in scan.name)


def test_a_copy_of_a_file_that_is_still_there_is_no_renamed_one(tmp_path):
    folder, out = scans(tmp_path / "scans", *PEOPLE), tmp_path / "own.json"
    build_manifest(folder, out)
    (folder / "x_T1.nii.gz").write_bytes((folder / "v1_p0_T1.nii.gz").read_bytes())
    with pytest.raises(InputError, match="hold the same"):
        build_manifest(folder, out)


def test_files_that_take_each_others_names_are_known_by_their_content(tmp_path):
    folder, out = scans(tmp_path / "scans", *(f"p{number}_T1" for number in range(9))), tmp_path / "own.json"
    before = {scan.sha256: scan[:3] for scan in build_manifest(folder, out).manifest.scans}
    (folder / "p0_T1.nii.gz").unlink()
    for number in range(1, 9):
        (folder / f"p{number}_T1.nii.gz").rename(folder / f"p{number - 1}_T1.nii.gz")
    built = build_manifest(folder, out)
    assert len(built.renamed) == 8 and built.num_away == 0
    assert all(before[scan.sha256] == scan[:3] for scan in built.manifest.scans)


def test_a_pattern_is_held_against_the_name_that_told_the_subject(tmp_path):
    folder, out = scans(tmp_path / "scans", *(f"p{number}_T1" for number in range(6))), tmp_path / "own.json"
    build_manifest(folder, out, subject=r"[a-z]+\d+")
    (folder / "p0_T1.nii.gz").rename(folder / "anon9_T1.nii.gz")
    for _ in range(3):
        built = build_manifest(folder, out, subject=r"[a-z]+\d+")
        assert {scan.subject for scan in built.manifest.scans} == {f"p{number}" for number in range(6)}


def test_a_new_scan_of_a_known_person_stays_hers_whatever_is_renamed_to_her_name(tmp_path):
    folder, out = scans(tmp_path / "scans", *(f"p{number}_T1" for number in range(6))), tmp_path / "own.json"
    build_manifest(folder, out)
    (folder / "p0_T1.nii.gz").rename(folder / "p5_old.nii.gz")
    scans(folder, "p5_T2")
    subjects = {scan.path.name: scan.subject for scan in build_manifest(folder, out).manifest.scans}
    assert (subjects["p5_T2.nii.gz"], subjects["p5_old.nii.gz"]) == ("p5", "p0")


def test_an_entry_stays_where_its_copy_is_deleted(tmp_path):
    folder, out = scans(tmp_path / "scans", *(f"p{number}_ses-1_T1" for number in range(6))), tmp_path / "own.json"
    (folder / "p0_ses-2_T1.nii.gz").write_bytes((folder / "p0_ses-1_T1.nii.gz").read_bytes())
    build_manifest(folder, out)
    (folder / "p0_ses-1_T1.nii.gz").unlink()
    built = build_manifest(folder, out)
    assert {scan.session for scan in built.manifest.scans if scan.subject == "p0"} == {"ses-2"}
    assert not built.renamed and built.num_away == 1


def test_a_manifest_that_could_not_be_read_again_is_not_written(tmp_path):
    folder, out = scans(tmp_path / "scans", *(f"p{number}_moved_a" for number in range(6))), tmp_path / "own.json"
    (folder / "p0_moved_b.nii.gz").symlink_to(folder / "p0_moved_a.nii.gz")
    with pytest.raises(InputError, match=r"own\.json: .*stands there twice for subject p0"):
        build_manifest(folder, out)
    assert not out.exists()
