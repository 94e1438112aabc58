"""The derived series: the source's geometry and scale, new identity, nothing stale, whole or not at all."""

from __future__ import annotations

import logging
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
import torch
from dicom_cases import (
    make_enhanced,
    make_series,
    needs_dciodvfy,
    needs_enhanced,
    snapshot,
    stored_volume,
    validator_errors,
    written,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.uid import ExplicitVRLittleEndian

from mocodis_monai import __version__
from mocodis_monai.data.dicom import read_dicom
from mocodis_monai.data.dicom_derived import write_derived
from mocodis_monai.data.dicom_files import quiet

KEPT = (
    "PatientName",
    "PatientID",
    "StudyInstanceUID",
    "FrameOfReferenceUID",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SliceThickness",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "RescaleSlope",
    "RescaleIntercept",
    "WindowCenter",
    "WindowWidth",
    "InstanceNumber",
    "AcquisitionNumber",
    "EchoTime",
)


@st.composite
def scaled_series(draw):
    bits, signed = draw(st.sampled_from([(8, 0), (12, 0), (16, 0), (12, 1), (16, 1)]))
    depth = draw(st.integers(1, 4))
    return {
        "stored": stored_volume((6, 5, depth), high=2 ** (bits - signed) - 1),
        "bits": bits,
        "signed": signed,
        "names": [f"{name}.dcm" for name in draw(st.permutations(range(depth)))],
        "RescaleSlope": tuple(draw(st.floats(0.01, 100)) for _ in range(depth)),
        "RescaleIntercept": tuple(draw(st.floats(0, 1000)) for _ in range(depth)),
    }


@settings(max_examples=25, deadline=None)
@given(scaled_series(), st.floats(-0.3, 1.3))
def test_values_come_back_to_half_a_step_and_clipped_at_the_bit_depth(arguments, factor):
    with tempfile.TemporaryDirectory() as folder:
        make_series(Path(folder) / "in", **arguments)
        before = snapshot(Path(folder) / "in")
        scan = read_dicom(Path(folder) / "in")
        wanted = scan.image * factor
        again = stored_values_of(write_derived(scan, wanted, Path(folder) / "out"), scan)
        assert snapshot(Path(folder) / "in") == before
    bits, signed = arguments["bits"], arguments["signed"]
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    for z, frame in enumerate(scan.frames):
        steps = (wanted[:, :, z].double() - frame.intercept) / frame.slope
        error = again[:, :, z] - steps.clamp(low, high).numpy()
        assert np.abs(error).max() <= 0.5 + 1e-3  # float32 of 16 bit values is good to 1 / 256 of a step


def stored_values_of(folder: Path, scan) -> np.ndarray:
    """Stored values (x, y, z) as pydicom reads them, by the files' names, each checked to lie where the scan's do."""
    datasets = written(folder)
    for dataset, frame in zip(datasets, scan.frames):
        np.testing.assert_allclose([float(v) for v in dataset.ImagePositionPatient], frame.position_mm)
    return np.stack([dataset.pixel_array.T for dataset in datasets], axis=-1).astype(float)


def test_an_unchanged_image_comes_back_bit_for_bit(tmp_path):
    stored = stored_volume()
    make_series(tmp_path / "in", stored, RescaleSlope="0.37", RescaleIntercept="11.5")
    scan = read_dicom(tmp_path / "in")
    write_derived(scan, scan.image, tmp_path / "out")
    again = read_dicom(tmp_path / "out")
    assert torch.equal(again.image, scan.image)
    assert np.array_equal(again.affine, scan.affine)
    assert again.spacing_mm == scan.spacing_mm


def test_the_header_is_that_of_a_derived_series(tmp_path):
    sources = make_series(tmp_path / "in", stored_volume(), SeriesNumber=7, WindowCenter="600", WindowWidth="1600")
    scan = read_dicom(tmp_path / "in")
    write_derived(scan, scan.image, tmp_path / "out", method="retrospective motion correction, fidelity 1")
    before, after = [pydicom.dcmread(file) for file in sources], written(tmp_path / "out")
    assert [file.name for file in sorted((tmp_path / "out").iterdir())] == [f"IM{z:06d}.dcm" for z in range(1, 7)]
    assert len({d.SeriesInstanceUID for d in after}) == 1
    used = {uid for d in before for uid in (d.SOPInstanceUID, d.SeriesInstanceUID)}
    new = {uid for d in after for uid in (d.SOPInstanceUID, d.SeriesInstanceUID)}
    assert len(new) == 7 and not new & used and all(uid.is_valid for uid in new)
    for source, derived in zip(before, after):
        for keyword in KEPT:
            assert derived.get(keyword) == source.get(keyword), keyword
        assert derived.ImageType == ["DERIVED", "SECONDARY", *source.ImageType[2:]]
        assert derived.SeriesDescription == "t1 sag MoCoDis corrected"
        assert f"MoCoDis {__version__}: retrospective motion correction, fidelity 1" in derived.DerivationDescription
        assert derived.SeriesNumber != source.SeriesNumber
        [image], [series] = derived.SourceImageSequence, derived.ReferencedSeriesSequence
        assert image.ReferencedSOPInstanceUID == source.SOPInstanceUID
        assert image.PurposeOfReferenceCodeSequence[0].CodeValue == "121322"  # source image for processing
        assert series.SeriesInstanceUID == source.SeriesInstanceUID
        assert series.ReferencedInstanceSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID
        assert derived.ContributingEquipmentSequence[-1].SoftwareVersions == __version__
        assert derived.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
        assert derived.file_meta.MediaStorageSOPInstanceUID == derived.SOPInstanceUID


def test_what_would_be_untrue_of_other_pixels_is_gone(tmp_path):
    [source] = make_series(tmp_path / "in", stored_volume((8, 8, 1)), InstanceCreationDate="20200101")
    dataset = pydicom.dcmread(source)
    for keyword in ("SmallestImagePixelValue", "LargestImagePixelValue"):
        dataset.add_new(keyword, "US", 5)
    dataset.IconImageSequence = [pydicom.Dataset()]
    dataset.add_new(0x60000010, "US", 8)  # rows of an overlay
    dataset.add_new(0x60003000, "OW", bytes(8))
    dataset.private_block(0x0029, "SOMEONE", create=True).add_new(1, "LO", "statistics of the source")
    dataset.preamble = b"MZ" + bytes(126)  # as of a program
    dataset.save_as(source)
    scan = read_dicom(source)
    write_derived(scan, scan.image, tmp_path / "out")
    [derived] = written(tmp_path / "out")
    for keyword in ("SmallestImagePixelValue", "LargestImagePixelValue", "IconImageSequence", "InstanceCreationDate"):
        assert keyword not in derived
    assert not [tag for tag in derived.keys() if tag.group in (0x6000, 0x0029)]  # noqa: SIM118
    assert derived.preamble == bytes(128)


def test_padding_stays_where_it_was(tmp_path):
    stored = stored_volume((6, 6, 3), low=1)
    stored[:2] = 0
    make_series(tmp_path / "in", stored, PixelPaddingValue=0)
    scan = read_dicom(tmp_path / "in")
    write_derived(scan, scan.image + 10, tmp_path / "out")
    after = np.stack([d.pixel_array.T for d in written(tmp_path / "out")], axis=-1)
    np.testing.assert_array_equal(after, np.where(stored == 0, 0, np.minimum(stored + 10, 4095)))


def test_only_values_too_bright_for_the_bit_depth_are_told(tmp_path, caplog):
    make_series(tmp_path / "in", stored_volume())
    scan = read_dicom(tmp_path / "in")
    write_derived(scan, scan.image - 100, tmp_path / "dark")
    assert not caplog.records
    write_derived(scan, scan.image + 4095, tmp_path / "bright")
    assert "clipped" in caplog.text and str(tmp_path) not in caplog.text


@needs_enhanced
def test_an_enhanced_object_gives_one_enhanced_object(tmp_path):
    source = make_enhanced(tmp_path / "in.dcm", stored_volume())
    scan = read_dicom(tmp_path / "in.dcm")
    write_derived(scan, scan.image, tmp_path / "out")
    again = read_dicom(tmp_path / "out")
    assert torch.equal(again.image, scan.image) and np.array_equal(again.affine, scan.affine)
    [derived] = written(tmp_path / "out")
    assert derived.SOPClassUID == source.SOPClassUID and derived.SOPInstanceUID != source.SOPInstanceUID
    np.testing.assert_array_equal(derived.pixel_array, source.pixel_array)
    assert derived.ImageType[:2] == ["DERIVED", "PRIMARY"]  # enhanced objects may not say SECONDARY
    for index, frame in enumerate(derived.PerFrameFunctionalGroupsSequence):
        [derivation] = frame.DerivationImageSequence
        assert derivation.SourceImageSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID
        assert derivation.SourceImageSequence[0].ReferencedFrameNumber == index + 1
        assert __version__ in derivation.DerivationDescription
        assert frame.MRImageFrameTypeSequence[0].FrameType[0] == "DERIVED"
    [study] = derived.SourceImageEvidenceSequence
    assert study.ReferencedSeriesSequence[0].SeriesInstanceUID == source.SeriesInstanceUID


@needs_enhanced
def test_frames_in_any_order_come_back_in_their_own(tmp_path):
    dataset = make_enhanced(tmp_path / "in.dcm", stored_volume())
    straight = read_dicom(tmp_path / "in.dcm")
    order = [3, 0, 5, 1, 4, 2]
    frames, pixels = list(dataset.PerFrameFunctionalGroupsSequence), dataset.pixel_array[order]
    dataset.PerFrameFunctionalGroupsSequence = pydicom.Sequence([frames[i] for i in order])
    dataset.PixelData = pixels.tobytes()
    dataset.save_as(tmp_path / "shuffled.dcm")
    scan = read_dicom(tmp_path / "shuffled.dcm")
    assert torch.equal(scan.image, straight.image) and np.array_equal(scan.affine, straight.affine)
    write_derived(scan, scan.image, tmp_path / "out")
    np.testing.assert_array_equal(written(tmp_path / "out")[0].pixel_array, pixels)


@needs_dciodvfy
def test_the_validator_finds_no_error_that_the_source_has_not(tmp_path):
    [source, *_] = make_series(tmp_path / "in", stored_volume())
    scan = read_dicom(tmp_path / "in")
    write_derived(scan, scan.image, tmp_path / "out")
    assert not validator_errors(tmp_path / "out" / "IM000001.dcm") - validator_errors(source)


@needs_dciodvfy
@needs_enhanced
def test_the_validator_finds_no_new_error_in_an_enhanced_object(tmp_path):
    make_enhanced(tmp_path / "in.dcm", stored_volume())
    scan = read_dicom(tmp_path / "in.dcm")
    write_derived(scan, scan.image, tmp_path / "out")
    assert not validator_errors(tmp_path / "out" / "IM000001.dcm") - validator_errors(tmp_path / "in.dcm")


def test_the_patient_is_kept_to_the_byte_and_never_spoken_of(tmp_path, caplog, capfd):
    name = "Yamada^Tarou=山田^太郎"
    files = make_series(
        tmp_path / "in",
        stored_volume(),
        SpecificCharacterSet=["", "ISO 2022 IR 87"],
        PatientName=name,
        PatientID="4711 " * 20,  # longer than an ID may be: pydicom warns of it
        PatientBirthDate="secret",  # no date
    )
    raw = pydicom.dcmread(files[0]).get_item("PatientName").value
    caplog.clear()
    with warnings.catch_warnings(record=True) as caught, caplog.at_level("DEBUG"):
        warnings.simplefilter("always")
        scan = read_dicom(tmp_path / "in")
        write_derived(scan, scan.image, tmp_path / "out")
    derived = pydicom.dcmread(tmp_path / "out" / "IM000001.dcm")
    assert derived.get_item("PatientName").value == raw and str(derived.PatientName) == name
    assert not caught and not caplog.records and capfd.readouterr() == ("", "")


@pytest.mark.parametrize("charset", ["ISO_IR 192", "ISO_IR 13", "ISO_IR 100", "nonsense", None])
def test_a_name_in_another_character_set_than_it_claims_keeps_its_bytes(tmp_path, charset):
    name, latin = "M_LLER^H_NS", b"M\xfcLLER^H\xe4NS "
    [file] = make_series(tmp_path / "in", stored_volume((8, 8, 1)), PatientName=name, SpecificCharacterSet=charset)
    file.write_bytes(file.read_bytes().replace(b"M_LLER^H_NS ", latin))
    scan = read_dicom(tmp_path / "in")
    [derived] = written(write_derived(scan, scan.image, tmp_path / "out"))
    assert derived.get_item("PatientName").value.strip() == latin.strip()
    assert str(derived.SeriesDescription) == "t1 sag MoCoDis corrected"


def test_a_description_with_a_backslash_is_one_text(tmp_path):
    make_series(tmp_path / "in", stored_volume((8, 8, 1)), SeriesDescription=["t1", "tra"])
    scan = read_dicom(tmp_path / "in")
    [derived] = written(write_derived(scan, scan.image, tmp_path / "out"))
    assert derived.SeriesDescription == "t1 tra MoCoDis corrected"


def test_a_uid_with_a_leading_zero_as_old_scanners_give_is_no_hindrance(tmp_path):
    uid = "1.2.840.113619.2.05.762.8"
    make_series(tmp_path / "in", stored_volume((8, 8, 3)), SeriesInstanceUID=uid)
    scan = read_dicom(tmp_path / "in")
    derived = written(write_derived(scan, scan.image, tmp_path / "out"))
    assert {str(image.ReferencedSeriesSequence[0].SeriesInstanceUID) for image in derived} == {uid}


def test_while_any_thread_reads_nothing_is_spoken_and_then_all_is_as_before():
    """As with ``--jobs 2``: the first thread to be done must not let the other one's patient be named."""
    logger, checks = logging.getLogger("pydicom"), pydicom.config.settings
    before = logger.level, checks.reading_validation_mode, warnings.filters[:]
    first, second = quiet(), quiet()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    try:
        with warnings.catch_warnings(record=True) as caught:  # a record of what the filters let through
            warnings.warn("Doe^John", UserWarning, stacklevel=1)
        assert not caught and not logger.isEnabledFor(logging.CRITICAL)
        assert checks.reading_validation_mode == pydicom.config.IGNORE
    finally:
        second.__exit__(None, None, None)
    assert (logger.level, checks.reading_validation_mode, warnings.filters[:]) == before


def test_a_long_description_keeps_its_suffix_within_64_characters(tmp_path):
    make_series(tmp_path / "in", stored_volume((8, 8, 1)), SeriesDescription="d" * 64)
    scan = read_dicom(tmp_path / "in")
    [derived] = written(write_derived(scan, scan.image, tmp_path / "out"))
    assert len(derived.SeriesDescription) == 64 and derived.SeriesDescription.endswith(" MoCoDis corrected")
