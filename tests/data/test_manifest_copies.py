"""One scan is one person's: copies of it under other subjects would count as people of their own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mocodis_monai.data.manifest import SPLITS, Manifest, read_manifest, volumes_of
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


@pytest.mark.parametrize("other", ["../scans/s0.nii", "link/s0.nii", "linked.nii"])
def test_one_file_spelled_in_two_ways_is_one_person_on_one_side(tmp_path, other):
    folder = tmp_path / "scans"
    folder.mkdir()
    (folder / "s0.nii").write_bytes(b"0")
    (folder / "link").symlink_to(folder)
    (folder / "linked.nii").symlink_to("s0.nii")
    one = {"subject": "a", "path": "s0.nii"}
    with pytest.raises(InputError, match=r"written s0\.nii and .*\) is in the splits test and train"):
        read(folder, one, {"subject": "b", "path": other, "split": "train"})
    with pytest.raises(InputError, match="is of the two subjects a and b in the split test"):
        read(folder, one, {"subject": "b", "path": other})
    for content in ("moved", "still"):
        with pytest.raises(InputError, match="stands there twice for subject a"):
            read(folder, one | {"content": content}, {**one, "content": content, "path": other})
    assert len(read(folder, one, {**one, "path": other, "session": "two"}).scans) == 2


def test_volumes_come_once_and_are_named_alike_from_every_folder(tmp_path, monkeypatch):
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "deep" / "er")
    (tmp_path / "deep" / "s0.nii").write_bytes(b"0")
    one = {"subject": "a", "path": "../s0.nii", "split": "train"}
    read(tmp_path / "link", one, {**one, "session": "two"})
    monkeypatch.chdir(tmp_path)
    for manifest in ("link/m.json", "deep/er/m.json", tmp_path / "deep" / "er" / "m.json"):
        assert volumes_of(manifest, "train", progress=False) == [str(tmp_path / "deep" / "s0.nii")]
