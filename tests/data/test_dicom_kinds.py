"""What of DICOM is sound and of another kind, and what is a fault: the former does not fail a run."""

from __future__ import annotations

import pickle

import numpy as np
import pydicom
import pytest
from dicom_cases import edit, make_enhanced, make_series, needs_enhanced, stored_volume
from pydicom.uid import CTImageStorage, MRSpectroscopyStorage

from mocodis_monai.data.dicom import read_dicom
from mocodis_monai.data.dicom_series import series_of
from mocodis_monai.errors import InputError, NotAScanError

MAPS = ("ADC", "FA", "TTP", "RELCBF", "RELCCBV", "RELMTT", "CBF", "PBP", "T1_MAP", "T2* MAP", "R2_STAR_MAP", "TENSOR")
PROJECTIONS = ("MNIP", "MIP", "CSA MIP", "MIP_SAG", "MIN_IP", "MAX IP", "PROJECTION IMAGE")
ECHOES = [[0, 0, 3 * (z // 2)] for z in range(6)]


def kind_of(folder) -> str:
    """Of a sound series of another kind; empty for a fault."""
    with pytest.raises(InputError) as caught:
        read_dicom(folder)
    return caught.value.kind if isinstance(caught.value, NotAScanError) else ""


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        *((word, "map of a quantity") for word in MAPS),
        *((word, "projection") for word in PROJECTIONS),
        ("LOCALIZER", "localizer"),
        ("PHASE_MAP", "phase image"),
        ("MOSAIC", "mosaic of all slices"),
    ],
)
def test_words_of_the_image_type_say_the_kind(word, kind, tmp_path):
    make_series(tmp_path, stored_volume((6, 6, 2)), ImageType=["DERIVED", "PRIMARY", "M", word, "ND"])
    assert kind_of(tmp_path) == kind


@pytest.mark.parametrize("word", ["M_FFE", "T2_STAR", "DIFFUSION", "NORM", "MPR", "MIPS", "MAPPED", "SWI", "IR", "W"])
def test_other_words_are_no_reason(word, tmp_path):
    make_series(tmp_path, stored_volume((6, 6, 2)), ImageType=["ORIGINAL", "PRIMARY", word])
    assert read_dicom(tmp_path).image.shape == (6, 6, 2)


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"Modality": "CT", "SOPClassUID": CTImageStorage}, "modality CT"),
        ({"Modality": None}, ""),
        ({"Modality": "Doe^Jane"}, ""),
        ({"SOPClassUID": MRSpectroscopyStorage}, "MR Spectroscopy Storage"),
        ({"SOPClassUID": "no UID"}, ""),
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}, "colour"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "colour"),
        ({"PhotometricInterpretation": "MONOCHROME1"}, ""),
        ({"RescaleSlope": 2, "RescaleIntercept": -4096}, "phase image"),
        ({"positions": ECHOES, "EchoTime": (5, 80) * 3}, "several volumes"),
        ({"positions": ECHOES, "TemporalPositionIdentifier": (1, 2) * 3}, "several volumes"),
        ({"positions": ECHOES}, ""),
        ({"positions": [*ECHOES[:5], [0, 0, 9]], "EchoTime": (5, 80) * 3}, ""),  # a slice has one echo alone
        ({"BitsAllocated": 32}, ""),
        ({"ImagePositionPatient": None}, ""),
    ],
)
def test_what_is_another_kind_and_what_is_a_fault(changes, kind, tmp_path):
    make_series(tmp_path, stored_volume(), **changes)
    assert kind_of(tmp_path) == kind


@pytest.mark.parametrize(
    ("orientation", "kind"), [([0, 1, 0, 0, 0, -1], "localizer"), ([1, 0, 0, 0, 0.9396926, 0.3420201], "")]
)
def test_planes_at_right_angles_are_a_localizer_and_tilted_stacks_are_a_fault(orientation, kind, tmp_path):
    files = make_series(tmp_path, stored_volume((8, 8, 6)))
    for file in files[3:]:
        edit(file, ImageOrientationPatient=orientation)
    assert kind_of(tmp_path) == kind


@pytest.mark.parametrize("part", [[0, 1], [4, 5]])
def test_magnitude_images_among_others_are_not_passed_over(part, tmp_path):
    files = make_series(tmp_path, stored_volume())
    for index in part:
        edit(files[index], ImageType=["ORIGINAL", "PRIMARY", "P"])
    with pytest.raises(InputError, match=r"a phase image.* 4 images of the series are fit") as caught:
        read_dicom(tmp_path)
    assert not isinstance(caught.value, NotAScanError)


@needs_enhanced
@pytest.mark.parametrize(("count", "kind"), [(6, "phase image"), (2, "")])
def test_frames_of_another_kind(count, kind, tmp_path):
    dataset = make_enhanced(tmp_path / "a.dcm", stored_volume())
    for frame in dataset.PerFrameFunctionalGroupsSequence[:count]:
        frame.MRImageFrameTypeSequence[0].ComplexImageComponent = "PHASE"
    dataset.save_as(tmp_path / "a.dcm")
    assert kind_of(tmp_path / "a.dcm") == kind


def test_damage_among_others_stays_a_fault(tmp_path):
    files = make_series(tmp_path, stored_volume(), ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    files[3].write_bytes(files[3].read_bytes()[:700])
    assert kind_of(tmp_path) == ""


def test_the_refusal_goes_from_process_to_process():
    error = pickle.loads(pickle.dumps(NotAScanError("a.nii: a mask.", "mask")))
    assert (str(error), error.kind) == ("a.nii: a mask.", "mask") and isinstance(error, InputError)


def test_series_know_where_their_slices_lie(tmp_path):
    stored = stored_volume((6, 6, 4))
    files = make_series(tmp_path / "a", stored)
    (tmp_path / "b").mkdir()
    for number, file in enumerate(files[2:]):
        file.rename(tmp_path / "b" / f"{number}")
    a, b = (next(iter(series_of(tmp_path / name).values())) for name in "ab")
    assert a.uid == b.uid == pydicom.dcmread(files[0]).SeriesInstanceUID
    assert (len(a.places), len(b.places)) == (2, 2) and a.is_part(b) and b.is_part(a) and not a.is_part(a)
    other = next(iter(series_of(make_series(tmp_path / "c", np.copy(stored))[0].parent).values()))
    assert other.places == a.places | b.places and not other.is_part(a)
