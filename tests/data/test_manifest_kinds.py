"""What lies beside the scans of a folder and is none: left out of the manifest, and counted by kind."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from mocodis_monai.data.manifest_build import build_manifest, counted
from mocodis_monai.data.nifti import write_volume
from mocodis_monai.errors import InputError

SHAPE = (6, 5, 4)


def save(path: Path, values: np.ndarray) -> Path:
    path.parent.mkdir(exist_ok=True)
    nib.save(nib.Nifti1Image(values, np.eye(4)), path)
    return path


def mask(number: int) -> np.ndarray:
    values = np.zeros(SHAPE, np.uint8)
    values[number : number + 2] = 1
    return values


def test_masks_and_results_beside_the_scans_are_left_out(tmp_path):
    folder, rng = tmp_path / "scans", np.random.default_rng(0)
    scans = [save(folder / f"p{number}_t1.nii.gz", rng.random(SHAPE, np.float32)) for number in range(5)]
    save(folder / "p0_mask.nii.gz", mask(1))
    save(folder / "p1_phase.nii.gz", rng.uniform(-3, 3, SHAPE).astype(np.float32))
    save(folder / "p2_bold.nii.gz", rng.random((*SHAPE, 3), np.float32))
    write_volume(folder / "p0_t1_corrected.nii.gz", rng.random(SHAPE), like=scans[0])
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    built = build_manifest(folder, tmp_path / "own.json")
    assert built.left_out == {"mask or labels": 1, "corrected already": 1, "phase image": 1, "several volumes": 1}
    assert {scan.path.resolve() for scan in built.manifest.scans} == {path.resolve() for path in scans}
    assert counted(built)[-1] == (
        "4 other NIfTI files are left out: 1 corrected already, 1 mask or labels, 1 phase image, 1 several volumes."
    )
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_subject_with_masks_alone_has_no_split(tmp_path):
    folder, rng = tmp_path / "scans", np.random.default_rng(0)
    for number in range(3):
        save(folder / f"p{number}_t1.nii.gz", rng.random(SHAPE, np.float32))
    save(folder / "template_mask.nii.gz", mask(1))
    built = build_manifest(folder, tmp_path / "own.json", validation=0.3, test=0.3)
    assert sorted(scan.split for scan in built.manifest.scans) == ["test", "train", "validation"]


def test_a_folder_of_masks_alone_is_refused(tmp_path):
    for number in range(3):
        save(tmp_path / "scans" / f"p{number}_mask.nii.gz", mask(number))
    with pytest.raises(InputError, match=r"none of 3 files is a scan.*mask"):
        build_manifest(tmp_path / "scans", tmp_path / "own.json")
    assert not (tmp_path / "own.json").exists()
