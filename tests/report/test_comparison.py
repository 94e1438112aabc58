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


BODY, BAR = 0.3, 1.0


def runs(mask: np.ndarray) -> list[np.ndarray]:
    """Places where ``mask`` is true, cut where it is not."""
    places = np.flatnonzero(mask)
    return np.split(places, np.flatnonzero(np.diff(places) > 1) + 1)


def panels(path) -> list[np.ndarray]:
    """Where the volume before is bright (bool), one array for each view from top to bottom, cut out of a picture."""
    picture = imread(path)[..., :3].astype(int)
    bright = (picture == 255).all(-1)
    shown = bright | (abs(picture - round(255 * BODY / BAR)) <= 1).all(-1)
    cut = []
    for rows in runs(shown.mean(1) > 0.3):
        columns = runs(shown[rows].mean(0) > 0.5)[0]  # the volume before is the first of each row
        cut.append(bright[np.ix_(rows, columns)])
    return cut


@pytest.mark.parametrize("shape", [(1, 9, 9), (9, 1, 9), (9, 9, 1), (200, 200, 3)])
def test_a_single_slice_and_a_thin_stack_are_seen_from_the_front_alone(shape, tmp_path):
    even = np.ones(shape, np.float32)
    (panel,) = panels(save_comparison(tmp_path / "a.png", even, even, (1, 1, 1)))
    assert panel.shape[0] == pytest.approx(panel.shape[1], rel=0.03)  # a pixel or two of 300


@pytest.mark.parametrize("axes", ["RAS", "LPS", "SAR", "PIR"])
def test_right_is_left_front_is_up_and_millimetres_are_kept_whatever_the_orientation(axes, tmp_path):
    # Three bars along the edges of the body: of each the middle slice across it shows the end.
    ras = np.full((20, 20, 20), BODY, np.float32)
    ras[14:, 14:, :] = ras[14:, :, 14:] = ras[:, 14:, 14:] = BAR  # right anterior, right superior, anterior superior
    as_ras = nib.Nifti1Image(ras, np.diag([1.0, 1.25, 1.5, 1.0]))
    turn = nib.orientations.ornt_transform(nib.io_orientation(as_ras.affine), nib.orientations.axcodes2ornt(axes))
    scan = as_ras.as_reoriented(turn)
    data, spacing_mm = np.asarray(scan.dataobj), scan.header.get_zooms()
    axial, coronal, sagittal = panels(
        save_comparison(tmp_path / "a.png", data, data, spacing_mm, affine=scan.affine)
    )
    for panel, ratio in ((axial, 1.25), (coronal, 1.5), (sagittal, 1.5 / 1.25)):
        height, width = panel.shape
        assert height / width == pytest.approx(ratio, rel=0.03)
        corner = panel[: round(0.3 * height), : round(0.3 * width)]  # top left, 6 of 20 voxels along each side
        assert corner.mean() > 0.9  # a letter covers some of it
        assert corner.sum() > 0.95 * panel.sum()


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
