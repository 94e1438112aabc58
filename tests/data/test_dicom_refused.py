"""What of DICOM is refused: each with a message that names the fault, and never the patient."""

from __future__ import annotations

import shutil

import numpy as np
import pydicom
import pytest
from dicom_cases import PATIENT, edit, make_enhanced, make_series, needs_enhanced, stored_volume
from pydicom.uid import CTImageStorage, SecondaryCaptureImageStorage, generate_uid

from mocodis_monai.data.dicom import read_dicom
from mocodis_monai.errors import InputError


def _drop(*indices):
    def build(folder):
        for index, file in enumerate(make_series(folder, stored_volume((8, 8, 9)))):
            if index in indices:
                file.unlink()

    return build


def _changed(**changes):
    return lambda folder: make_series(folder, stored_volume(), **changes)


def _one_changed(**changes):
    return lambda folder: edit(make_series(folder, stored_volume())[3], **changes)


def _two_series(folder):
    make_series(folder, stored_volume(), SeriesNumber=3)
    make_series(folder, stored_volume(), SeriesNumber=7, names=[f"b{z}" for z in range(6)])


def _copied_file(folder):
    shutil.copy(make_series(folder, stored_volume())[2], folder / "copy.dcm")


def _ge_phase(folder):
    """GE says in a private attribute, and not in ImageType, that an image is a phase image."""
    file = make_series(folder, stored_volume())[0]
    dataset = pydicom.dcmread(file)
    dataset.private_block(0x0043, "GEMS_PARM_01", create=True).add_new(0x2F, "SS", 1)
    dataset.save_as(file)


def _damaged(cut):
    def build(folder):
        file = make_series(folder, stored_volume())[2]
        file.write_bytes(cut(file.read_bytes()))

    return build


def _patched(old, new):
    """Bytes of a value exchanged, as no library would write them."""

    def patch(raw):
        assert old in raw and len(old) == len(new)
        return raw.replace(old, new)

    return _damaged(patch)


# How the bad series is made, and words that its message must hold.
BAD_SERIES = {
    "missing folder": (lambda folder: None, "no such file"),
    "empty folder": (lambda folder: folder.mkdir(), "no DICOM file"),
    "missing slice": (_drop(4), "1 slice is missing between 003.dcm and 005.dcm"),
    "missing slices": (_drop(3, 4), "2 slices are missing"),
    "uneven slices": (_changed(positions=[[0, 0, z] for z in (0, 3, 6, 9, 13.3, 16.3)]), "uneven slices: 4.300 mm"),
    "sheared stack": (_changed(positions=[[0.5 * z, 0, 3 * z] for z in range(6)]), "sideways"),
    "same place": (_one_changed(ImagePositionPatient=[0, 0, 6]), "same place"),
    "echoes": (
        _changed(positions=[[0, 0, 3 * (z // 2)] for z in range(6)], EchoTime=(5, 80) * 3),
        "differ in echo times",
    ),
    "two series": (_two_series, "2 series .series numbers 3, 7."),
    "a file twice": (_copied_file, "the same image"),
    "tilted slice": (_one_changed(ImageOrientationPatient=[1, 0, 0, 0, 0.995004, 0.0998334]), "different orientations"),
    "other size": (_one_changed(Rows=12, Columns=10), "12 x 10 and 10 x 12 pixels"),
    "other spacing": (_one_changed(PixelSpacing=[2, 2]), "different pixel spacings"),
    "other frame of reference": (_one_changed(FrameOfReferenceUID=generate_uid()), "frames of reference"),
    "CT": (_changed(Modality="CT", SOPClassUID=CTImageStorage), "modality is CT"),
    "secondary capture": (_changed(SOPClassUID=SecondaryCaptureImageStorage), "SOP class"),
    "RGB": (_changed(SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0), "3 samples per pixel"),
    "inverted": (_changed(PhotometricInterpretation="MONOCHROME1"), "MONOCHROME1"),
    "32 bit": (_changed(BitsAllocated=32), "32 bits allocated"),
    "high bit": (_changed(HighBit=15), "high bit 15"),
    "lookup table": (_changed(ModalityLUTSequence=[pydicom.Dataset()]), "Modality LUT"),
    "frames": (_changed(NumberOfFrames=2), "2 frames in a single-frame"),
    "no rows": (_changed(Rows=0), "0 rows"),
    "concatenation": (_changed(InConcatenationTotalNumber=3), "concatenation"),
    "phase": (_changed(ImageType=["ORIGINAL", "PRIMARY", "P", "ND"]), "a phase image"),
    "phase map": (_changed(ImageType=["ORIGINAL", "PRIMARY", "PHASE MAP", "P", "FFE"]), "a phase image"),
    "phase image of GE": (_ge_phase, "a phase image"),
    "real part": (_changed(ImageType=["ORIGINAL", "PRIMARY", "R", "IR"]), "a real part"),
    "localizer": (_changed(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), "a localizer"),
    "mosaic": (_changed(ImageType=["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]), "a mosaic"),
    "ADC map": (_changed(ImageType=["DERIVED", "PRIMARY", "DIFFUSION", "ADC"]), "a map of a quantity"),
    "projection": (_changed(ImageType=["DERIVED", "SECONDARY", "PROJECTION IMAGE"]), "a projection"),
    "negative values": (_changed(RescaleSlope=2, RescaleIntercept=-4096), "as in a phase image"),
    "slope 0": (_changed(RescaleSlope=0, RescaleIntercept=1), "RescaleSlope 0"),
    "huge slope": (_changed(RescaleSlope="1e308", RescaleIntercept=0), "beyond float32"),
    "no position": (_changed(ImagePositionPatient=None), "ImagePositionPatient is missing"),
    "no orientation": (_changed(ImageOrientationPatient=None), "ImageOrientationPatient is missing"),
    "short orientation": (_changed(ImageOrientationPatient=[1, 0, 0]), "has not 6 numbers"),
    "oblique axes": (_changed(ImageOrientationPatient=[1, 0, 0, 0.6, 0.8, 0]), "right angles"),
    "zero orientation": (_changed(ImageOrientationPatient=[0] * 6), "no unit vectors"),
    "zero spacing": (_changed(PixelSpacing=[0, 1]), "PixelSpacing is 0 by 1 mm"),
    "huge spacing": (_changed(PixelSpacing=["1e30", 1]), "PixelSpacing is 1e"),
    "far away": (_changed(ImagePositionPatient=["1e300", 0, 0]), "away"),
    "no series UID": (_changed(SeriesInstanceUID=""), "SeriesInstanceUID is missing"),
    "text for a number": (_patched(b"1.5\\1.0 ", b"1.x\\y.0 "), "cannot be read"),
    "NaN spacing": (_patched(b"1.5\\1.0 ", b"nan\\1.0 "), "PixelSpacing is not finite"),
    "constant": (lambda folder: make_series(folder, np.full((6, 6, 3), 9)), "all values are 9"),
    "cut header": (_damaged(lambda raw: raw[:700]), "is missing: the header is cut short"),
    "cut pixels": (_damaged(lambda raw: raw[:-300]), "cut short"),
    "no magic": (_damaged(lambda raw: b"x" * 4000), "lies among DICOM files"),
    "empty file": (_damaged(lambda raw: b""), "lies among DICOM files"),
}


@pytest.mark.parametrize("kind", BAD_SERIES)
def test_bad_series_name_the_fault_and_never_the_patient(kind, tmp_path, caplog, capfd):
    build, words = BAD_SERIES[kind]
    folder = tmp_path / "series"
    build(folder)
    with caplog.at_level("DEBUG"), pytest.raises(InputError, match=words) as caught:
        read_dicom(folder)
    message = str(caught.value)
    assert str(folder) in message and "\n" not in message
    spoken = [message, caplog.text, *capfd.readouterr(), str(caught.value.__cause__)]
    assert not any(secret in text for secret in PATIENT for text in spoken)
    assert not caplog.records  # not even the path, which may hold a name


def _frames(dataset):
    return dataset.PerFrameFunctionalGroupsSequence


BAD_ENHANCED = {
    "same place": (
        lambda d: _frames(d)[1].PlanePositionSequence[0].update(_frames(d)[0].PlanePositionSequence[0]),
        "frame 1 and frame 2 lie at the same place",
    ),
    "no place": (lambda d: _frames(d)[3].PlanePositionSequence.pop(), "ImagePositionPatient is missing"),
    "fewer descriptions": (lambda d: _frames(d).pop(), "5 frames are described"),
    "no descriptions": (lambda d: d.__delattr__("PerFrameFunctionalGroupsSequence"), "without per-frame"),
    "a phase frame": (
        lambda d: setattr(_frames(d)[2].MRImageFrameTypeSequence[0], "ComplexImageComponent", "PHASE"),
        "a phase image",
    ),
    "slope 0": (
        lambda d: setattr(_frames(d)[2].PixelValueTransformationSequence[0], "RescaleSlope", 0),
        "RescaleSlope 0",
    ),
}


@needs_enhanced
@pytest.mark.parametrize("kind", BAD_ENHANCED)
def test_bad_enhanced_objects_name_the_fault(kind, tmp_path):
    change, words = BAD_ENHANCED[kind]
    dataset = make_enhanced(tmp_path / "a.dcm", stored_volume())
    change(dataset)
    dataset.save_as(tmp_path / "a.dcm")
    with pytest.raises(InputError, match=words):
        read_dicom(tmp_path / "a.dcm")
