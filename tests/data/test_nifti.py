"""NIfTI in and out: what is refused, and that shape, affine and intensities survive what is accepted."""

from __future__ import annotations

import gzip
import tempfile
from pathlib import Path
from unittest.mock import Mock

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mocodis_monai.data.files import check_outputs, staged, stem
from mocodis_monai.data.folders import list_volumes
from mocodis_monai.data.nifti import read_volume, write_volume
from mocodis_monai.errors import InputError


def magnitude(shape=(6, 5, 4)) -> np.ndarray:
    return np.arange(1, np.prod(shape) + 1, dtype=np.float32).reshape(shape)


def save(path: Path, data: np.ndarray, affine=None, **header) -> Path:
    image = nib.Nifti1Image(data, np.eye(4) if affine is None else affine)
    for field, value in header.items():
        image.header[field] = value
    nib.save(image, path)
    return path


def truncated(path: Path) -> Path:
    rng = np.random.default_rng(0)
    save(path, rng.random((20, 20, 20), dtype=np.float32))
    path.write_bytes(path.read_bytes()[:4000])
    return path


def with_value(value: float) -> np.ndarray:
    data = magnitude()
    data[1, 2, 3] = value
    return data


def singular() -> np.ndarray:
    affine = np.eye(4)
    affine[:3, 1] = affine[:3, 0]
    return affine


def patched(path: Path, offset: int, raw: bytes) -> Path:
    """A good file with some header bytes exchanged, as no library would write them."""
    save(path, magnitude())
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[offset : offset + len(raw)] = raw
    path.write_bytes(gzip.compress(bytes(content)))
    return path


RGB = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
# How the bad file is made, and words that its message must hold.
BAD_INPUT = {
    "missing": (lambda p: p, "no such file"),
    "folder": (lambda p: p.mkdir() or p, "folder"),
    "empty": (lambda p: p.touch() or p, "not a NIfTI image"),
    "text": (lambda p: p.write_bytes(gzip.compress(b"hello" * 200)) and p, "not a NIfTI image"),
    "truncated": (truncated, "truncated"),
    "nan": (lambda p: save(p, with_value(np.nan)), "1 of 120 values are NaN or infinite"),
    "infinite": (lambda p: save(p, with_value(np.inf)), "NaN or infinite"),
    "zeros": (lambda p: save(p, np.zeros((6, 5, 4), np.float32)), "all values are zero"),
    "constant": (lambda p: save(p, np.full((6, 5, 4), 7, np.float32)), "all values are 7"),
    "4D": (lambda p: save(p, magnitude((6, 5, 4, 3))), "4D with 3 volumes"),
    "complex": (lambda p: save(p, magnitude().astype(np.complex64)), "complex"),
    "RGB": (lambda p: save(p, np.zeros((6, 5, 4), RGB)), "RGB"),
    "phase": (lambda p: save(p, magnitude() - 60), "phase image"),
    "zero-sized axis": (lambda p: patched(p, 44, bytes(2)), "no voxels"),  # dim[2], the y axis
    "1D": (lambda p: save(p, magnitude((6,))), "at least 2 axes"),
    "singular affine": (lambda p: save(p, magnitude(), singular()), "affine is singular"),
    "NaN affine": (lambda p: patched(p, 280, np.float32(np.nan).tobytes()), "not finite"),  # srow_x
    "zero spacing": (lambda p: patched(p, 280, bytes(12)), "voxel sizes"),
}


@pytest.mark.parametrize("kind", BAD_INPUT)
def test_bad_input_names_the_file_and_the_fault(kind, tmp_path):
    make, words = BAD_INPUT[kind]
    path = make(tmp_path / "scan.nii.gz")
    with pytest.raises(InputError, match=words) as caught:
        read_volume(path)
    assert str(path) in str(caught.value)


def test_other_formats_are_refused(tmp_path):
    nib.save(nib.MGHImage(magnitude(), np.eye(4)), tmp_path / "scan.mgz")
    with pytest.raises(InputError, match=r"does not end in \.nii or \.nii\.gz"):
        read_volume(tmp_path / "scan.mgz")


def test_ringing_below_zero_is_still_a_magnitude(tmp_path):
    volume = read_volume(save(tmp_path / "a.nii", with_value(-0.5)))
    assert volume.data.min() == -0.5


@st.composite
def geometries(draw):
    shape = tuple(draw(st.integers(1, 7)) for _ in range(3))
    shape = (max(shape[0], 2), *shape[1:])
    spacing = [draw(st.floats(0.2, 8)) for _ in range(3)]
    order = draw(st.permutations(range(3)))
    signs = [draw(st.sampled_from([-1, 1])) for _ in range(3)]
    affine = np.eye(4)
    affine[:3, :3] = (np.eye(3)[order] * signs) @ np.diag(spacing)
    affine[:3, 3] = [draw(st.floats(-200, 200)) for _ in range(3)]
    layout = draw(st.sampled_from([shape, shape[:2], (*shape, 1)]))
    return layout, affine, draw(st.sampled_from([".nii", ".nii.gz"]))


@settings(max_examples=25, deadline=None)
@given(geometries())
def test_shape_affine_and_values_survive_the_round_trip(geometry):
    shape, affine, extension = geometry
    with tempfile.TemporaryDirectory() as folder:
        source = save(Path(folder) / f"in{extension}", magnitude(shape), affine)
        original = source.read_bytes()
        volume = read_volume(source)
        out = write_volume(Path(folder) / f"out{extension}", volume.data, like=volume)
        before, after = nib.load(source), nib.load(out)
        assert volume.data.shape == (*shape, 1)[:3]
        np.testing.assert_allclose(volume.spacing_mm, np.linalg.norm(affine[:3, :3], axis=0), rtol=1e-6)
        assert after.shape == shape
        assert after.get_data_dtype() == np.float32
        np.testing.assert_array_equal(after.affine, before.affine)
        np.testing.assert_array_equal(after.get_fdata(), before.get_fdata())
        assert source.read_bytes() == original


@pytest.mark.parametrize("dtype", [">i2", "<i2", ">f4", ">f8", "u1", "<u2", "<i4"])
def test_any_byte_order_and_type_gives_native_float32(dtype, tmp_path):
    header = nib.Nifti1Header(endianness=">" if dtype[0] == ">" else "<")
    header.set_data_dtype(dtype)
    nib.save(nib.Nifti1Image(magnitude().astype(dtype), np.eye(4), header), tmp_path / "a.nii")
    data = read_volume(tmp_path / "a.nii").data
    assert data.dtype == np.dtype("=f4")
    np.testing.assert_array_equal(data, magnitude())


def test_slope_and_intercept_are_applied_and_not_written_again(tmp_path):
    image = nib.Nifti1Image(magnitude().astype(np.int16), np.eye(4))
    image.header.set_slope_inter(0.5, 10)
    nib.save(image, tmp_path / "a.nii")
    raw = bytearray((tmp_path / "a.nii").read_bytes())
    raw[112:120] = np.array([0.5, 10], "<f4").tobytes()  # scl_slope, scl_inter
    raw[352:] = magnitude().astype("<i2").tobytes(order="F")
    (tmp_path / "a.nii").write_bytes(raw)
    volume = read_volume(tmp_path / "a.nii")
    np.testing.assert_array_equal(volume.data, magnitude() * 0.5 + 10)
    out = nib.load(write_volume(tmp_path / "b.nii", volume.data, like=volume))
    assert out.dataobj.slope == 1 and out.dataobj.inter == 0
    np.testing.assert_array_equal(out.get_fdata(), volume.data)


def test_codes_and_units_are_kept_and_free_text_is_not(tmp_path):
    image = nib.Nifti1Image(magnitude(), np.diag([1, 2, 3, 1]))
    image.set_sform(image.affine, code=4)
    image.set_qform(np.diag([1, 2, 3, 1]), code=1)
    image.header.set_xyzt_units("mm", "sec")
    for field in ("descrip", "aux_file", "intent_name", "db_name"):
        image.header[field] = b"DOE JOHN"
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"DOE JOHN"))
    nib.save(image, tmp_path / "a.nii")
    volume = read_volume(tmp_path / "a.nii")
    out = nib.load(write_volume(tmp_path / "b.nii", volume.data, like=volume))
    assert (out.header["sform_code"], out.header["qform_code"]) == (4, 1)
    assert out.header.get_xyzt_units() == ("mm", "sec")
    assert b"JOHN" not in (tmp_path / "b.nii").read_bytes()


def test_nifti2_stays_nifti2(tmp_path):
    nib.save(nib.Nifti2Image(magnitude(), np.eye(4)), tmp_path / "a.nii")
    volume = read_volume(tmp_path / "a.nii")
    assert isinstance(nib.load(write_volume(tmp_path / "b.nii", volume.data, volume)), nib.Nifti2Image)


def test_spacing_is_in_mm_whatever_the_unit_of_the_file(tmp_path):
    volume = read_volume(save(tmp_path / "a.nii", magnitude(), np.diag([1e-3, 2e-3, 3e-3, 1]), xyzt_units=1))
    np.testing.assert_allclose(volume.spacing_mm, (1, 2, 3), rtol=1e-6)


def test_the_same_volume_gives_the_same_bytes(tmp_path):
    volume = read_volume(save(tmp_path / "a.nii.gz", magnitude()))
    first = write_volume(tmp_path / "b.nii.gz", volume.data, volume).read_bytes()
    assert write_volume(tmp_path / "b.nii.gz", volume.data, volume).read_bytes() == first


def test_writing_refuses_what_would_destroy_or_mislead(tmp_path):
    volume = read_volume(save(tmp_path / "a.nii.gz", magnitude()))
    (tmp_path / "link.nii.gz").symlink_to(tmp_path / "a.nii.gz")
    for name, words in {
        "a.nii.gz": "overwrite the input",
        "link.nii.gz": "overwrite the input",
        "missing/b.nii.gz": "does not exist",
        "b.png": "must end in",
    }.items():
        with pytest.raises(InputError, match=words):
            write_volume(tmp_path / name, volume.data, volume)
    with pytest.raises(ValueError, match="shape"):
        write_volume(tmp_path / "b.nii", volume.data[:-1], volume)
    with pytest.raises(ValueError, match="values that are NaN or infinite"):
        write_volume(tmp_path / "b.nii", with_value(np.nan), volume)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.nii.gz", "link.nii.gz"]


def test_check_outputs_finds_a_name_given_twice(tmp_path):
    with pytest.raises(InputError, match="two outputs"):
        check_outputs([tmp_path / "a.nii", tmp_path / "." / "a.nii"])


def test_a_failure_while_staged_leaves_the_old_file_and_nothing_else(tmp_path):
    (tmp_path / "a.nii").write_text("old")
    with pytest.raises(RuntimeError), staged(tmp_path / "a.nii", tmp_path / "b.png") as temporaries:
        temporaries[0].write_text("new")
        raise RuntimeError
    assert [p.name for p in tmp_path.iterdir()] == ["a.nii"]
    assert (tmp_path / "a.nii").read_text() == "old"


@pytest.mark.parametrize("no_links", [None, OSError(1, "no links"), NotImplementedError("no links")])
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_was_there_is_there_again_if_a_later_rename_fails(tmp_path, monkeypatch, kind, no_links):
    old, other = tmp_path / "a", tmp_path / "b"
    place = old if kind == "file" else old / "slice"
    place.parent.mkdir(exist_ok=True)
    place.write_text("old")
    rename = Path.replace

    def refuse(self, target):
        if target == other:
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", refuse)
    if no_links:
        monkeypatch.setattr("os.link", Mock(side_effect=no_links))
    with pytest.raises(InputError, match="No space left"), staged(old, other) as (first, second):
        if kind == "folder":
            first.mkdir()
        (first if kind == "file" else first / "slice").write_text("new")
        second.write_text("new")
    assert place.read_text() == "old" and [path.name for path in tmp_path.iterdir()] == ["a"]


def test_an_output_that_was_not_written_takes_back_the_others(tmp_path):
    with (
        pytest.raises(InputError, match="cannot be written"),
        staged(tmp_path / "a", tmp_path / "b") as temporaries,
    ):
        temporaries[0].write_text("new")
    assert not list(tmp_path.iterdir())


def test_list_volumes_is_sorted_and_takes_only_volumes(tmp_path):
    for name in ("b.nii.gz", "a.nii", "c.txt", ".hidden.nii"):
        (tmp_path / name).write_text("")
    assert list_volumes(tmp_path) == [{"image": str(tmp_path / n)} for n in ("a.nii", "b.nii.gz")]


def test_list_volumes_refuses_one_folder_for_inputs_and_outputs(tmp_path):
    nib.save(nib.Nifti1Image(np.ones((2, 2, 2), np.float32), np.eye(4)), tmp_path / "a.nii")
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(InputError, match="inputs and outputs in one folder"):
        list_volumes(tmp_path, tmp_path / "link")
    assert len(list_volumes(tmp_path, tmp_path / "out")) == 1


def test_list_volumes_refuses_missing_empty_and_ambiguous_folders(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        list_volumes(tmp_path / "missing")
    with pytest.raises(InputError, match=r"no \.nii"):
        list_volumes(tmp_path)
    (tmp_path / "a.nii").write_text("")
    (tmp_path / "a.nii.gz").write_text("")
    with pytest.raises(InputError, match="same output"):
        list_volumes(tmp_path)


def test_stem():
    assert [stem(n) for n in ("d/a.b.nii.gz", "a.nii", "a.b.png")] == ["a.b", "a", "a.b"]
