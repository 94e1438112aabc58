"""The one rule of what BIDS names say."""

from __future__ import annotations

from pathlib import Path

import pytest

from mocodis_monai.data.bids import folders_beside, is_scan_name, other_suffix


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("anat/sub-01_T1w.nii.gz", ""),
        ("ses-a/anat/sub-01_ses-a_acq-motion_run-2_FLAIR.nii", ""),
        ("anat/sub-01_part-mag_T2starw.nii.gz", ""),
        ("anat/sub-01_part-phase_T2starw.nii.gz", "part-phase"),
        ("anat/sub-01_T1map.nii.gz", "T1map"),
        ("anat/sub-01_label-GM_mask.nii.gz", "mask"),
        ("anat/sub-01_desc-aseg_dseg.nii.gz", "dseg"),
        ("func/sub-01_task-rest_bold.nii.gz", "bold"),
        ("dwi/sub-01_dwi.nii.gz", "dwi"),
        ("fmap/sub-01_magnitude1.nii.gz", "magnitude1"),
        ("t1.nii.gz", ""),  # no BIDS name: judged by what is in it
        ("mask/sub-011_mask.nii.gz", ""),  # nor is this: it would lie in the folder of its subject
    ],
)
def test_a_name_in_the_folder_of_its_subject_says_what_it_is(name, other, tmp_path, monkeypatch):
    assert other_suffix(tmp_path / "sub-01" / name) == other
    monkeypatch.chdir(tmp_path)
    assert other_suffix(Path("sub-01", name)) == other


def test_a_name_alone_says_whether_it_is_a_scan():
    assert is_scan_name(Path("sub-1_PDw.nii"))
    assert not is_scan_name(Path("sub-1_part-real_PDw.nii")) and not is_scan_name(Path("sub-1_T1w_mask.nii"))


def test_only_beside_subjects_the_folders_of_a_tree_are_apart():
    names = ["a/sub-1", "a/derivatives", "a/sourcedata", "a/sourcedata/x", "a/code", "b/derivatives", "b", "a"]
    assert folders_beside(map(Path, names)) == {Path("a/derivatives"), Path("a/sourcedata")}
    assert folders_beside([Path("sub-1"), Path("derivatives")]) == {Path("derivatives")}
