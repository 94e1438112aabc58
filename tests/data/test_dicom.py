"""Reading DICOM: geometry and intensities against the standard's formulas and ITK."""

from __future__ import annotations

import tempfile
from pathlib import Path

import itk
import numpy as np
import pydicom
from dicom_cases import edit, make_enhanced, make_series, needs_enhanced, stored_volume
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from mocodis_monai.data.dicom import is_dicom, read_dicom

LPS_TO_RAS = np.diag([-1, -1, 1, 1])


@st.composite
def series(draw):
    """Arguments of ``make_series``: any orientation, spacing, direction, order on disk, and scaling per slice."""
    depth = draw(st.integers(1, 6))
    shape = (draw(st.integers(2, 7)), draw(st.integers(2, 7)), depth)
    bits, signed = draw(st.sampled_from([(8, 0), (12, 0), (16, 0), (12, 1), (16, 1)]))
    rotation = Rotation.from_rotvec([draw(st.floats(-2, 2)) for _ in range(3)]).as_matrix()
    step = draw(st.floats(0.3, 12)) * draw(st.sampled_from([-1, 1]))
    origin = np.array([draw(st.floats(-300, 300)) for _ in range(3)])
    numbers = st.floats(0.25, 4)
    return {
        "stored": stored_volume(shape, high=2 ** (bits - signed) - 1, seed=draw(st.integers(0, 99))),
        "orientation": rotation[:, :2].T.ravel(),
        "pixel_spacing": (draw(st.floats(0.2, 5)), draw(st.floats(0.2, 5))),
        "positions": [origin + rotation[:, 2] * step * z for z in range(depth)],
        "names": [f"{name}.dcm" for name in draw(st.permutations(range(depth)))],
        "bits": bits,
        "signed": signed,
        "RescaleSlope": tuple(draw(numbers) for _ in range(depth)),
        "RescaleIntercept": tuple(draw(numbers) for _ in range(depth)),
    }


@settings(max_examples=40, deadline=None)
@given(series())
def test_each_pixel_lies_where_the_standard_says_with_its_value(arguments):
    with tempfile.TemporaryDirectory() as folder:
        files = make_series(Path(folder), **arguments)
        scan = read_dicom(folder)
        assert scan.image.shape == arguments["stored"].shape
        np.testing.assert_allclose(scan.spacing_mm[:2], arguments["pixel_spacing"][::-1])
        np.testing.assert_allclose(np.linalg.norm(scan.affine[:3, :3], axis=0), scan.spacing_mm, rtol=1e-6)
        assert np.linalg.det(scan.affine[:3, :3]) > 0
        for file in files:
            _check_plane(scan, pydicom.dcmread(file))


def _check_plane(scan, dataset):
    """PS3.3 C.7.6.2.1.1: the patient coordinates of pixel (column i, row j), for all of them."""
    i, j = np.meshgrid(np.arange(dataset.Columns), np.arange(dataset.Rows), indexing="ij")
    along_row, along_column = np.reshape([float(v) for v in dataset.ImageOrientationPatient], (2, 3))
    row_mm, column_mm = (float(v) for v in dataset.PixelSpacing)
    places = np.array([float(v) for v in dataset.ImagePositionPatient])
    places = places + i[..., None] * column_mm * along_row + j[..., None] * row_mm * along_column
    x, y, z = _voxels(scan, places)
    np.testing.assert_array_equal(x, i)
    np.testing.assert_array_equal(y, j)
    expected = dataset.pixel_array.T * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept)
    np.testing.assert_allclose(scan.image.numpy()[x, y, z], expected, rtol=1e-6)


def _voxels(scan, places):
    """Indices of the voxels at patient coordinates ``places`` (..., 3), which must be centres of voxels."""
    homogeneous = np.concatenate([places, np.ones((*places.shape[:-1], 1))], axis=-1)
    found = homogeneous @ (np.linalg.inv(scan.affine) @ LPS_TO_RAS).T
    nearest = np.rint(found).astype(int)
    np.testing.assert_allclose(found, nearest, atol=1e-3)  # decimal strings of 10 digits, positions to 300 mm
    return np.moveaxis(nearest[..., :3], -1, 0)


@settings(max_examples=8, deadline=None)
@given(series())
def test_itk_sees_the_same_volume(arguments):
    with tempfile.TemporaryDirectory() as folder:
        make_series(Path(folder), **{**arguments, "RescaleSlope": 1.5, "RescaleIntercept": 2})
        _check_against_itk(folder, read_dicom(folder))


@needs_enhanced
def test_itk_sees_the_same_volume_in_an_enhanced_object(tmp_path):
    make_enhanced(tmp_path / "a.dcm", stored_volume())
    scan = read_dicom(tmp_path / "a.dcm")
    assert scan.phase_encode_axis == 0  # ROW in its header
    _check_against_itk(tmp_path / "a.dcm", scan)


def _check_against_itk(path, scan):
    names = [str(path)]
    if Path(path).is_dir():
        finder = itk.GDCMSeriesFileNames.New(Directory=str(path))
        names = list(finder.GetInputFileNames())
    image = itk.imread(names if len(names) > 1 else names[0], itk.F)
    values = itk.array_view_from_image(image)  # (z, y, x)
    assert sorted(values.shape) == sorted(scan.image.shape)
    corners = np.array(list(np.ndindex(2, 2, 2))) * (np.array(values.shape[::-1]) - 1)
    for index in corners.tolist():
        place = np.array(image.TransformIndexToPhysicalPoint(index))
        x, y, z = _voxels(scan, place)
        np.testing.assert_allclose(scan.image[x, y, z], values[tuple(index[::-1])], rtol=1e-6)


def test_phase_encode_axis_comes_from_the_header(tmp_path):
    for direction, axis in {"ROW": 0, "COL": 1, "OTHER": None, None: None}.items():
        folder = tmp_path / str(direction)
        make_series(folder, stored_volume(), InPlanePhaseEncodingDirection=direction)
        assert read_dicom(folder).phase_encode_axis == axis
    assert read_dicom(folder).slice_axis == 2


def test_a_single_slice_takes_its_thickness(tmp_path):
    make_series(tmp_path / "one", stored_volume((8, 8, 1)), SliceThickness=4.5)
    scan = read_dicom(tmp_path / "one")
    assert scan.image.shape == (8, 8, 1) and scan.spacing_mm == (1.0, 1.5, 4.5)
    assert np.array_equal(read_dicom(tmp_path / "one" / "000.dcm").affine, scan.affine)


def test_padding_is_no_signal_and_overlay_bits_are_cut_off(tmp_path):
    stored = stored_volume((6, 6, 2), low=1)
    stored[0, 0, 0] = 0
    make_series(tmp_path / "padded", stored, RescaleIntercept=5, PixelPaddingValue=0)
    assert read_dicom(tmp_path / "padded").image[0, 0, 0] == 0
    [file, *_] = make_series(tmp_path / "overlay", stored)
    before = read_dicom(tmp_path / "overlay").image.clone()
    raw = np.frombuffer(pydicom.dcmread(file).PixelData, "<u2") | 0xF000  # the four bits above BitsStored 12
    edit(file, PixelData=raw.tobytes())
    assert np.array_equal(read_dicom(tmp_path / "overlay").image, before)


def test_what_is_not_dicom_by_name_is_left_out(tmp_path):
    make_series(tmp_path, stored_volume())
    shape = read_dicom(tmp_path).image.shape
    for name in ("notes.txt", ".hidden", "DICOMDIR", "preview.png", "README"):
        (tmp_path / name).write_text("nothing")
    make_series(tmp_path / "subfolder", stored_volume())
    assert read_dicom(tmp_path).image.shape == shape


def test_is_dicom(tmp_path):
    files = make_series(tmp_path / "series", stored_volume((4, 4, 2)))
    (tmp_path / "text.dcm").write_text("nothing")
    assert is_dicom(files[0]) and is_dicom(tmp_path / "series")
    for other in (tmp_path, tmp_path / "text.dcm", tmp_path / "missing"):
        assert not is_dicom(other)
