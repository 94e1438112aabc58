"""The picture: upright, in proportion, and only where the volumes fit together."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from monai.data import MetaTensor
from monai.transforms import Orientationd
from skimage.io import imread

from mocodis_monai.errors import InputError
from mocodis_monai.report import SaveComparisond, save_comparison
from mocodis_monai.report import comparison as report
from mocodis_monai.transforms import LoadVolumed


@pytest.fixture
def volume() -> np.ndarray:
    return np.random.default_rng(0).random((24, 20, 16), dtype=np.float32)


def saturated(path) -> int:
    """Pixels with a colour: in this picture only the difference, its bar and the letters have one."""
    image = imread(path)[..., :3].astype(int)
    return int(((image.max(-1) - image.min(-1)) > 60).sum())


def test_no_change_gives_no_colour_and_a_change_does(volume, tmp_path):
    same = save_comparison(tmp_path / "same.png", volume, volume, (1, 1, 1))
    other = save_comparison(tmp_path / "other.png", volume, volume[::-1], (1, 1, 1))
    assert saturated(other) > 5 * saturated(same)


def test_the_target_and_the_views_each_take_room(volume, tmp_path):
    three = imread(save_comparison(tmp_path / "a.png", volume, volume, (1, 1, 1)))
    four = imread(save_comparison(tmp_path / "b.png", volume, volume, (1, 1, 1), target=volume))
    one = imread(save_comparison(tmp_path / "c.png", volume[..., :1], volume[..., :1], (1, 1, 5)))
    assert four.shape[1] > three.shape[1]
    assert one.shape[0] < three.shape[0] / 2


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_single_slice_is_seen_from_the_front_whatever_its_axis(axis):
    shape = [9, 9, 9]
    shape[axis] = 1
    assert [view.axis for view in report._views(shape, (1, 1, 1))] == [axis]


def test_a_thin_stack_is_not_shown_from_the_side():
    assert [view.name for view in report._views((200, 200, 3), (1, 1, 4))] == ["axial"]


def test_right_is_left_and_front_is_up_whatever_the_orientation():
    # One bright voxel at the patient's right, anterior, superior corner of an RAS volume.
    ras = np.zeros((8, 9, 10), np.float32)
    ras[:, 8, :], ras[7, 8, :] = 1, 2
    ras[7, 8, 9] = 3
    affine = np.diag([1.0, 2.0, 3.0, 1.0])
    turned = np.flip(ras, 0).transpose(2, 0, 1)
    turned_affine = np.eye(4)
    turned_affine[:3, :3] = np.array([[0, -1, 0], [0, 0, 2], [3, 0, 0]])
    (a,), spacing_a = report._upright([ras], (1, 2, 3), affine)
    (b,), spacing_b = report._upright([turned], (3, 1, 2), turned_affine)
    np.testing.assert_array_equal(a, b)
    assert spacing_a == spacing_b == [1, 2, 3]
    axial, coronal, _ = report._views(a.shape, spacing_a)
    assert report._slice(a, axial)[0, 0] == 2  # top left: anterior, right
    assert report._slice(a, axial)[0, -1] == 1  # top right: anterior, left
    assert report._slice(ras.transpose(0, 2, 1), coronal).shape == (9, 8)


def test_views_are_in_proportion_to_millimetres():
    axial = report._views((10, 20, 30), (2, 1, 1))[0]
    assert (axial.height_mm, axial.width_mm) == (20, 20)


def test_unfit_arguments_are_named_and_leave_nothing(volume, tmp_path):
    with pytest.raises(InputError, match="must end in"):
        save_comparison(tmp_path / "a.jpg", volume, volume, (1, 1, 1))
    with pytest.raises(InputError, match="does not exist"):
        save_comparison(tmp_path / "no" / "a.png", volume, volume, (1, 1, 1))
    with pytest.raises(ValueError, match="one shape"):
        save_comparison(tmp_path / "a.png", volume, volume[1:], (1, 1, 1))
    assert not list(tmp_path.iterdir())


def test_the_transform_writes_beside_the_name_of_the_source(volume, tmp_path):
    meta = {"filename_or_obj": "study/scan.nii.gz", "spacing_mm": np.array([1.0, 1.0, 1.0])}
    image = MetaTensor(volume[None], affine=np.eye(4), meta=meta)
    data = {"image": image, "pred": image * 0.9}
    assert SaveComparisond(output_dir=tmp_path / "new")(data).keys() == data.keys()
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["scan_corrected.png"]
    with pytest.raises(ValueError, match=r"keys: got .*; allowed are two"):
        SaveComparisond(keys="image")


def test_turned_axes_give_the_same_picture(volume, tmp_path):
    source = tmp_path / "scan.nii"
    nib.save(nib.Nifti1Image(volume, np.diag([1, 1, 3, 1])), source)
    loaded = LoadVolumed("image")({"image": source})
    pair = {"image": loaded["image"], "pred": loaded["image"] * 0.9}
    turned = Orientationd(("image", "pred"), axcodes="SAR", labels=None)(pair)
    pictures = []
    for name, data in (("as read", pair), ("turned", turned)):
        SaveComparisond(output_dir=tmp_path / name)(data)
        pictures.append(imread(tmp_path / name / "scan_corrected.png"))
    assert np.array_equal(*pictures)
