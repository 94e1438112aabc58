"""One scan is one person's: copies of it under other subjects would count as people of their own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mocodis_monai.data.manifest import SPLITS, Manifest, read_manifest
from mocodis_monai.errors import InputError


def read(folder: Path, *files: dict[str, str]) -> Manifest:
    listed = [{"content": "still", "split": "test", **file} for file in files]
    (folder / "m.json").write_text(json.dumps({"name": "m", "files": listed}))
    return read_manifest(folder / "m.json")


@pytest.mark.parametrize("split", SPLITS)
def test_the_same_content_of_two_subjects_of_one_split_is_refused(tmp_path, split):
    one = {"subject": "a", "path": "a.nii", "sha256": "0", "split": split}
    message = rf"a\.nii of a and b\.nii of b hold the same, and are of the two subjects a and b in the split {split}"
    with pytest.raises(InputError, match=message):
        read(tmp_path, one, {**one, "subject": "b", "path": "b.nii"})


def test_a_subject_may_list_a_still_scan_again_for_another_session(tmp_path):
    one = {"subject": "a", "path": "a.nii", "sha256": "0", "session": "one"}
    assert len(read(tmp_path, one, {**one, "session": "two"}, {**one, "path": "copy.nii"}).scans) == 3
