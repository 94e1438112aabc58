"""The manifests name the very files that are installed, and keep Colin27 out of training."""

import hashlib
import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from mocodis_monai.data import packaged
from mocodis_monai.data.manifest import read_manifest, unpaired
from mocodis_monai.data.manifest_build import BuiltManifest, counted

FOLDER = Path(__file__).parents[2] / "data_manifests"
MANIFESTS = {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}


def root_of(name):
    if name == "colin27":
        return Path("/")
    spec = find_spec("nilearn")
    return Path(spec.submodule_search_locations[0]) if spec else None


@pytest.mark.parametrize("name", ["icbm152", "colin27"])
def test_installed_files_have_the_sha256_of_the_manifest(name):
    root = root_of(name)
    for file in MANIFESTS[name]["files"]:
        if root is None or not (root / file["path"]).is_file():
            pytest.skip(f"{file['path']} is not installed: {MANIFESTS[name]['install']}")
        assert hashlib.sha256((root / file["path"]).read_bytes()).hexdigest() == file["sha256"]


def test_colin27_is_in_no_training_manifest():
    for manifest in MANIFESTS.values():
        splits = {{**manifest, **file}["split"] for file in manifest["files"]}
        named = json.dumps(manifest).lower()
        assert splits <= {"train", "validation", "test"}
        assert splits == {"test"} or not ("colin" in named or "ch2" in named)


def test_no_file_is_in_two_manifests_and_the_patients_are_ready_to_train_and_test_on():
    everything = [file["sha256"] for manifest in MANIFESTS.values() for file in manifest["files"]]
    assert len(set(everything)) == len(everything)
    scans = read_manifest(FOLDER / "patients.json").scans  # refuses a subject in two splits
    assert {scan.split for scan in scans} == {"train", "validation", "test"}
    assert all(scan.path.parent == FOLDER and scan.content == "still" for scan in scans)


def test_packaged_paths_are_those_of_the_manifests():
    if root_of("icbm152") is not None:
        (listed,) = (file for file in MANIFESTS["icbm152"]["files"] if file["content"] == "t1")
        assert packaged.icbm152_t1_path() == root_of("icbm152") / listed["path"]
    colin27 = MANIFESTS["colin27"]["files"][0]["path"]
    assert Path("/", colin27) == packaged.COLIN27_PATH


def test_absent_packages_say_how_to_install_them(monkeypatch, tmp_path):
    monkeypatch.setattr(packaged, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match=r'pip install -e "\.\[data\]"'):
        packaged.icbm152_t1_path()
    monkeypatch.setattr(packaged, "COLIN27_PATH", tmp_path / "ch2.nii.gz")
    with pytest.raises(FileNotFoundError, match="apt-get install mricron-data"):
        packaged.colin27_path()


def test_still_scans_that_fit_no_moved_one_are_named_where_they_are_tested(tmp_path):
    for split, wanted in (("test", 1), ("train", 0)):  # training takes every still scan
        files = [
            {"subject": "a", "content": "still", "contrast": "T1w", "path": "a/still.nii"},
            {"subject": "a", "content": "moved", "contrast": "T2w", "path": "a/moved.nii"},
            {"subject": "a", "content": "moved", "session": "two", "contrast": "T1w", "path": "a/later.nii"},
            {"subject": "b", "content": "still", "path": "b/still.nii"},
            {"subject": "b", "content": "moved", "path": "b/moved.nii"},
        ]
        (tmp_path / "m.json").write_text(json.dumps({"name": "m", "split": split, "files": files}))
        manifest = read_manifest(tmp_path / "m.json")
        said = [line for line in counted(BuiltManifest(manifest, 0, 0, 0)) if "not measured" in line]
        assert said == unpaired(manifest.scans) and len(said) == wanted
        if said:
            assert "subject a: a/still.nii is not measured; it differs from a/moved.nii in contrast ('T1w', 'T2w'), " \
                "from a/later.nii in session ('', 'two')." in said[0]  # fmt: skip
