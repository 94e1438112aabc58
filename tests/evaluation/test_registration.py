"""The rigid registration of a still scan to a moved one, and the gain between them."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from pair_of_heads import AFFINE, CARRIED_MM, SHAPE, TURNED, positions
from scipy.ndimage import map_coordinates

from mocodis_monai.data.nifti import read_volume
from mocodis_monai.errors import InputError
from mocodis_monai.evaluation import Grid, cells_of
from mocodis_monai.evaluation.registration import _gain, registered_to


def test_registration_finds_the_pose_and_the_gain(pair):
    moved, still = (read_volume(path) for path in pair)
    registered = registered_to(moved, still).data
    assert registered.shape == moved.data.shape and registered.dtype == np.float32
    tissue = moved.data > 50
    error = np.abs(registered - moved.data)[tissue].mean() / moved.data[tissue].mean()
    # What two samplings of one continuous head differ by; a shift of one voxel costs more than twice as much.
    shifted = np.abs(np.roll(moved.data, 1, 0) - moved.data)[tissue].mean() / moved.data[tissue].mean()
    assert error < 0.03 < 0.07 < shifted
    index = np.einsum("ij,jxyz->ixyz", np.linalg.inv(still.affine)[:3, :3], positions(AFFINE, SHAPE))
    index += np.linalg.inv(still.affine)[:3, 3].reshape(3, 1, 1, 1)
    unregistered = map_coordinates(still.data, index, order=1) / 1.7
    assert error < 0.3 * np.abs(unregistered - moved.data)[tissue].mean() / moved.data[tissue].mean()


def test_what_the_registration_did_is_said(pair):
    moved, still = (read_volume(path) for path in pair)
    alignment = registered_to(moved, still).alignment
    centre = (positions(AFFINE, SHAPE) * moved.data).sum((1, 2, 3)) / moved.data.sum()
    carried = TURNED.inv().apply(centre - CARRIED_MM) - centre
    assert alignment.rotation_deg == pytest.approx(np.rad2deg(TURNED.magnitude()), abs=0.3)
    assert alignment.translation_mm == pytest.approx(np.linalg.norm(carried), abs=0.3)
    assert alignment.overlap > 0.97 and alignment.correlation > 0.97


def test_the_gain_is_that_of_what_both_scans_show():
    still = np.linspace(50, 100, 4000, dtype=np.float32).reshape(20, 20, 10)
    moved = 3 * still
    moved[:12] = 0  # a smaller field of view
    assert _gain(moved, still) == pytest.approx(3)


def test_motion_does_not_dim_the_target():
    cells = cells_of(Grid(("head", "abdomen"), ("sudden", "breathing_rigid"), (3.5,), num_subjects=4))
    cases = [case for cell, cases in cells if cell.severity == "severe" for case in cases]
    gains = [_gain(1.7 * case.moved.numpy(), case.target.numpy()) for case in cases]
    assert np.mean(gains) == pytest.approx(1.7, rel=0.01)
    pairs = [(1.7 * case.moved.double(), case.target.double()) for case in cases]
    tissue = [target > 0.1 * target.quantile(0.995) for _, target in pairs]
    dimmed = [(m[t] * s[t]).sum() / s[t].square().sum() for (m, s), t in zip(pairs, tissue, strict=True)]
    assert np.mean(dimmed) < 0.97 * 1.7  # what a least-squares factor would make of it


def test_too_few_slices_are_refused_by_name(pair, tmp_path):
    volume = nib.load(pair[0])
    thin = tmp_path / "thin.nii.gz"
    nib.save(nib.Nifti1Image(np.asarray(volume.dataobj)[..., 15:19], AFFINE), thin)
    with pytest.raises(InputError, match=r"thin\.nii\.gz.*at least 8"):
        registered_to(read_volume(thin), read_volume(pair[1]))
