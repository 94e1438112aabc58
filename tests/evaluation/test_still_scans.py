"""Slices of still scans with simulated motion."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from mocodis_monai.data.phantom import make_phantom
from mocodis_monai.evaluation import cells_of_still_scans
from mocodis_monai.evaluation.still_scans import StillScan


@pytest.mark.parametrize("thickness_mm", [1.0, 5.0])
def test_a_scan_of_one_slice_gives_that_one_however_thin_it_is(tmp_path, thickness_mm):
    values = make_phantom("head", 1, (64, 64)).image[0].numpy().astype(np.float32)[..., None]
    nib.save(nib.Nifti1Image(values, np.diag([3.0, 3.0, thickness_mm, 1.0])), tmp_path / "slice.nii.gz")
    cell, cases = next(cells_of_still_scans([StillScan("head", "one", tmp_path / "slice.nii.gz", "slice.nii.gz")]))
    assert cell.severity == "none"
    assert [(case.name, case.moved.shape) for case in cases] == [("one slice.nii.gz slice 0 none none", (64, 64, 1))]
