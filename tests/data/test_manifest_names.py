"""Still or moved, and the contrast, by the name of a scan."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from small_scans import scans

from mocodis_monai.data.manifest import read_manifest
from mocodis_monai.data.manifest_build import BuiltManifest, build_manifest, counted
from mocodis_monai.data.manifest_names import content_of, subject_of

DENIED = [
    *("no_motion", "no-motion", "No_Motion", "without_motion", "not_moved", "non.moving", "no_motion2", "nomotion"),
    *("motion_corrected", "motion-corrected", "motion_correction", "motion-free", "motion_free", "motionfree"),
    *("no_headmotion", "headmotion1_corrected", "still", "still2"),
]


@pytest.mark.parametrize("words", DENIED)
def test_motion_that_a_name_denies_is_none_and_is_no_part_of_the_contrast(words):
    for rest in (f"T1_{words}", f"{words}_T1"):
        assert content_of(rest) == {"content": "still", "contrast": "T1"}
    found = content_of(f"ses-a_acq-{words}_T1w")  # a key of BIDS
    assert (found["content"], found["session"], found["contrast"]) == ("still", "ses-a", "T1w")


@pytest.mark.parametrize("words", ["motion", "moved", "headmotion1", "moving2", "motion_uncorrected", "piano_motion"])
def test_motion_that_a_name_does_not_deny_is_there(words):
    for rest in (f"T1_{words}", f"{words}_T1", f"acq-{words}_T1w", f"no_T1_{words}"):
        assert content_of(rest)["content"] == "moved"
    assert content_of("T1_motion_no_fat") == {"content": "moved", "contrast": "T1_no_fat"}
    assert content_of("emotion_T1_unmoved") == {"content": "still", "contrast": "emotion_T1_unmoved"}


@pytest.mark.parametrize("contents", [("moved", "moved"), ("moved", "still"), ("still", "still")])
def test_moved_scans_without_a_still_one_are_warned_of(contents, tmp_path):
    files = [{"subject": str(n), "content": content, "path": f"{n}.nii"} for n, content in enumerate(contents)]
    (tmp_path / "m.json").write_text(json.dumps({"name": "m", "split": "train", "files": files}))
    said = counted(BuiltManifest(read_manifest(tmp_path / "m.json"), 0, 0, {}))
    warned = [line for line in said if "all 2 scans are moved ones and none is still" in line]
    assert len(warned) == ("still" not in contents)


SUBJECTS = {
    **dict.fromkeys(["p0-moved", "p0-moved_T1", "p0.motion", "p0moved", "moved-p0_T1"], ("p0", "moved")),
    **dict.fromkeys(["p0-still", "p0_T1", "p0-no-motion", "p0-motion_corrected", "p0-motion-free_T1"], ("p0", "still")),
    "p0-moved-T1": ("p0", "moved"),
    **dict.fromkeys(["p0-T1-no_motion", "p0-T1-motion_corrected", "p0-T1-motion_free"], ("p0", "still")),
    "p01-T2-FLAIR": ("p01", "still"),
    "a-moved-b": ("a-b", "moved"),
    "IXI002-Guys-T1": ("IXI002-Guys", "still"),
    "IXI002-Guys-FLAIR_moved": ("IXI002-Guys", "moved"),
    # As ever.
    "sub-moved_T1w": ("sub-moved", "still"),
    "sub-motion01_acq-motion_T1w": ("sub-motion01", "moved"),
    "sub-T1_T2w": ("sub-T1", "still"),
    "emotion-1_T1": ("emotion-1", "still"),
    "motion01_T1": ("motion01", "still"),
    "s1.2-a_motion": ("s1.2-a", "moved"),
    "T1_moved": ("T1", "moved"),
    "moved": ("moved", "moved"),
}


@pytest.mark.parametrize("name", SUBJECTS)
def test_words_of_content_and_contrast_are_no_part_of_the_subject(name):
    subject, rest = subject_of(Path(f"{name}.nii.gz"), None)
    found = content_of(rest)
    assert (subject, found["content"]) == SUBJECTS[name]
    if subject.startswith(("p0", "IXI")) and "T1" in name:
        assert found["contrast"] == "T1"


def test_scans_named_without_an_underscore_are_pairs_of_one_person(tmp_path):
    folder = scans(tmp_path / "s", *(f"p{k}-{word}" for k in range(6) for word in ("moved", "still")))
    found = build_manifest(folder, tmp_path / "m.json").manifest.scans
    assert {(s.subject, s.content) for s in found} == {(f"p{k}", word) for k in range(6) for word in ("moved", "still")}


def test_who_is_called_by_a_contrast_already_keeps_name_and_side_and_two_names_are_warned_of(tmp_path):
    out, folder = tmp_path / "m.json", scans(tmp_path / "s", *(f"p{k}-T1" for k in range(6)))
    build_manifest(folder, out, subject=".+")
    before = {s.subject: s.split for s in read_manifest(out).scans}
    assert "p0-T1" in before
    scans(folder, "p0-T2", "p1-T1_moved")
    built = build_manifest(folder, out)
    assert {s.subject: s.split for s in built.manifest.scans} == before
    assert not any("one person" in line for line in counted(built))
    out.unlink()
    said = counted(build_manifest(folder, out, subject=".+"))
    assert any("the subjects p0-T1 and p0-T2 look like one person" in line and "--subject" in line for line in said)
