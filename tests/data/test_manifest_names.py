"""Still or moved, and the contrast, by the name of a scan."""

from __future__ import annotations

import json

import pytest

from mocodis_monai.data.manifest import read_manifest
from mocodis_monai.data.manifest_build import BuiltManifest, counted
from mocodis_monai.data.manifest_names import content_of

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
