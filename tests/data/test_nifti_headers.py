"""NIfTI headers: free text that is not carried over, and what is read off them."""

from __future__ import annotations

import gzip

import nibabel as nib
import numpy as np
import pytest

from mocodis_monai.data.nifti import read_geometry, read_volume, write_volume
from mocodis_monai.errors import InputError


def save(path, shape=(6, 5, 4), image_class=nib.Nifti1Image, **header):
    """A NIfTI file of random values with some fields of its header set."""
    image = image_class(np.random.default_rng(0).random(shape, dtype=np.float32), np.eye(4))
    for field, value in header.items():
        image.header[field] = value
    nib.save(image, path)
    return path


@pytest.mark.parametrize("image_class", [nib.Nifti1Image, nib.Nifti2Image])
def test_no_field_of_text_is_carried_over(tmp_path, image_class):
    fields = image_class.header_class().structarr.dtype.fields
    text = [name for name, (kind, *_) in fields.items() if kind.kind == "S" and kind.itemsize > 8]
    name = b"DOE JOHN"
    source = save(tmp_path / "a.nii", image_class=image_class, **dict.fromkeys(text, name))
    assert source.read_bytes().count(name) == len(text)
    volume = read_volume(source)
    written = write_volume(tmp_path / "b.nii", volume.data, like=volume)
    assert isinstance(nib.load(written), image_class) and name not in written.read_bytes()


@pytest.mark.parametrize("shape", [(6, 5), (6, 5, 1), (6, 5, 1, 1)])
def test_a_phase_encode_axis_of_one_voxel_is_unknown(tmp_path, shape):
    for phase, wanted in ((0, 0), (1, 1), (2, None)):
        path = save(tmp_path / "a.nii", shape, dim_info=(phase + 1) << 2)
        assert read_volume(path).phase_encode_axis == read_geometry(path).phase_encode_axis == wanted


def test_a_compressed_file_by_the_name_of_a_plain_one_is_told_to_be_renamed(tmp_path):
    save(tmp_path / "a.nii.gz").rename(tmp_path / "a.nii")
    with pytest.raises(InputError, match=r"a\.nii: it is gzip-compressed, .* Rename it to \.nii\.gz\."):
        read_volume(tmp_path / "a.nii")
    (tmp_path / "twice.nii.gz").write_bytes(gzip.compress((tmp_path / "a.nii").read_bytes()))
    with pytest.raises(InputError, match=r"twice\.nii\.gz: not a NIfTI image"):
        read_volume(tmp_path / "twice.nii.gz")
