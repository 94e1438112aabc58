"""DICOM on real MR files: those that come with pydicom and pydicom-data, in every transfer syntax among them."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pydicom
import pydicom.data
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mocodis_monai.data.dicom import is_dicom, read_dicom
from mocodis_monai.data.dicom_derived import write_derived
from mocodis_monai.errors import InputError

# The same image of one scan in several transfer syntaxes.
SAME_IMAGE = {
    "MR_small_implicit.dcm": None,
    "MR_small_bigendian.dcm": None,
    "MR_small_padded.dcm": None,
    "MR_small_RLE.dcm": None,
    "MR_small_jp2klossless.dcm": "openjpeg",
    "MR_small_jpeg_ls_lossless.dcm": "libjpeg",
}
REFUSED = {
    "CT_small.dcm": "the modality is CT",
    "MR_truncated.dcm": "cut short",
    "emri_small.dcm": "without per-frame functional groups",
    "SC_rgb_rle.dcm": "the modality is OT",
    "image_dfl.dcm": "deflated",
    "rtplan.dcm": "the modality is RTPLAN",
    "reportsi.dcm": "the modality is SR",
}
DAMAGED = ["MR_small.dcm", "MR_small_implicit.dcm", "MR_small_bigendian.dcm", "MR_small_RLE.dcm"]


def real(name: str) -> Path:
    """A file that comes with pydicom, or with pydicom-data; found without pydicom 2's need of setuptools."""
    folders = [Path(pydicom.data.__file__).parent / "test_files"]
    store = importlib.util.find_spec("data_store")
    if store is not None:
        folders += [Path(folder) / "data" for folder in store.submodule_search_locations]
    for folder in folders:
        if (folder / name).exists():
            return folder / name
    pytest.skip(f"{name} is in pydicom-data, which is not installed")


@pytest.mark.parametrize("name", SAME_IMAGE)
def test_every_transfer_syntax_gives_the_same_image(name):
    if SAME_IMAGE[name]:
        pytest.importorskip(SAME_IMAGE[name])
    scan, plain = read_dicom(real(name)), read_dicom(real("MR_small.dcm"))
    assert torch.equal(scan.image, plain.image)
    np.testing.assert_array_equal(scan.affine, plain.affine)


@pytest.mark.parametrize("name", REFUSED)
def test_other_objects_are_refused_with_the_reason(name):
    path = real(name)
    with pytest.raises(InputError, match=REFUSED[name]) as caught:
        read_dicom(path)
    assert str(path) in str(caught.value)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_damaged_bytes_are_read_or_refused_and_nothing_else(data):
    raw = bytearray(real(data.draw(st.sampled_from(DAMAGED))).read_bytes())
    for _ in range(data.draw(st.integers(1, 5))):
        raw[data.draw(st.integers(132, min(2000, len(raw) - 1)))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del raw[data.draw(st.integers(140, len(raw))) :]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "damaged.dcm"
        file.write_bytes(raw)
        try:
            scan = read_dicom(file)
            written = write_derived(scan, scan.image, Path(folder) / "out")
        except InputError:
            assert [p.name for p in Path(folder).iterdir()] == ["damaged.dcm"]
        else:
            assert torch.equal(read_dicom(written).image, scan.image)


def test_a_compression_without_decoder_says_what_to_install():
    code = (
        "import sys; sys.modules.update(dict.fromkeys(('gdcm', 'pylibjpeg', 'libjpeg', 'jpeg_ls')))\n"
        "from mocodis_monai.data.dicom import read_dicom; read_dicom(sys.argv[1])"
    )
    command = [sys.executable, "-c", code, str(real("MR_small_jpeg_ls_lossless.dcm"))]
    result = subprocess.run(command, capture_output=True, text=True)
    assert "JPEG-LS" in result.stderr and 'pip install -e ".[dicom]"' in result.stderr


@pytest.mark.parametrize("name", ["MR_small.dcm", "MR_small_bigendian.dcm", "MR_small_RLE.dcm", "MR2_UNCR.dcm"])
def test_an_unchanged_image_is_written_back_bit_for_bit(name, tmp_path):
    scan = read_dicom(real(name))
    write_derived(scan, scan.image, tmp_path / "out")
    before, after = pydicom.dcmread(real(name)), pydicom.dcmread(tmp_path / "out" / "IM000001.dcm")
    np.testing.assert_array_equal(after.pixel_array, before.pixel_array)
    assert is_dicom(tmp_path / "out")
    assert torch.equal(read_dicom(tmp_path / "out").image, scan.image)
