"""The gallery shows each slice as a radiologist looks at it, with an arrow along the phase-encode axis."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from mocodis_monai.gallery import _upright
from mocodis_monai.transforms import LoadSourced

UP, ACROSS = (0.04, 0.3), (0.3, 0.04)


@pytest.fixture
def ras_volume(tmp_path):
    """Tissue with one bright voxel at the patient's right, anterior, superior corner."""
    data = np.ones((8, 9, 10), np.float32)
    data[7, 8, 9] = 3
    path = tmp_path / "scan.nii"
    nib.save(nib.Nifti1Image(data, np.eye(4)), path)
    return path


@pytest.mark.parametrize("axis, last, shape", [(0, 7, (10, 9)), (1, 8, (10, 8)), (2, 9, (9, 8))])
def test_right_or_anterior_is_left_and_superior_or_anterior_is_up(ras_volume, axis, last, shape):
    source = {"kind": "slice", "path": str(ras_volume), "axis": axis, "index": last}
    image = LoadSourced("image")({"image": source})["image"]
    picture, arrow = _upright(image, phase_encode_axis=1)
    assert picture.shape == shape
    assert np.argwhere(picture == picture.max()).tolist() == [[0, 0]]
    assert arrow == UP  # the second axis of such a slice grows upward
    assert _upright(image, phase_encode_axis=0)[1] == ACROSS


@pytest.mark.parametrize("region", ["head", "knee"])
def test_a_phantom_stands_as_it_is(region):
    source = {"kind": "phantom", "region": region, "seed": 3, "size": (48, 40)}
    image = LoadSourced("image")({"image": source})["image"]
    picture, arrow = _upright(image, phase_encode_axis=0)
    np.testing.assert_array_equal(picture, image[0])
    assert arrow == UP
    assert _upright(image, phase_encode_axis=1)[1] == ACROSS
