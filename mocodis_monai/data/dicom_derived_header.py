"""The header of a derived object: what is kept of the source, what is new, what would be untrue and goes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pydicom
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence as DicomSequence
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.tag import BaseTag, Tag
from pydicom.uid import EnhancedMRImageStorage, ExplicitVRBigEndian, ExplicitVRLittleEndian, generate_uid

from mocodis_monai import __version__
from mocodis_monai.data.dicom_headers import FrameHeader
from mocodis_monai.data.dicom_kinds import MULTI_FRAME

__all__ = ["EQUIPMENT", "DerivedSeries", "derive_header", "write_file"]

EQUIPMENT = "MoCoDis"
"""By this name in ContributingEquipmentSequence a derived series is known as ours."""

# Statistics, thumbnails, signatures and dates of the source's making: untrue of other pixels.
_STALE = (
    "SmallestImagePixelValue",
    "LargestImagePixelValue",
    "SmallestPixelValueInSeries",
    "LargestPixelValueInSeries",
    "SmallestImagePixelValueInPlane",
    "LargestImagePixelValueInPlane",
    "IconImageSequence",
    "HistogramSequence",
    "DigitalSignaturesSequence",
    "MACParametersSequence",
    "DerivationCodeSequence",
    "SeriesDescriptionCodeSequence",
    "SourceImageSequence",
    "ReferencedSeriesSequence",
    "InstanceCreationDate",
    "InstanceCreationTime",
    "InstanceCreatorUID",
    "SeriesDate",
    "SeriesTime",
    "DataSetTrailingPadding",
    "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths",
)
# Of an enhanced object: attributes that the standard forbids where the image type says DERIVED.
_ORIGINAL_ONLY = (
    "PulseSequenceName",
    "MRAcquisitionType",
    "EchoPulseSequence",
    "MultipleSpinEcho",
    "MultiPlanarExcitation",
    "PhaseContrast",
    "VelocityEncodingAcquisitionSequence",
    "TimeOfFlightContrast",
    "ArterialSpinLabelingContrast",
    "SteadyStatePulseSequence",
    "EchoPlanarPulseSequence",
    "SaturationRecovery",
    "SpectrallySelectedSuppression",
    "OversamplingPhase",
    "GeometryOfKSpaceTraversal",
    "RectilinearPhaseEncodeReordering",
    "SegmentedKSpaceTraversal",
    "CoverageOfKSpace",
    "NumberOfKSpaceTrajectories",
    "BulkMotionCompensationTechnique",
)
# Value representations whose bytes mean something else in another character set (PS3.5 6.1.2.2), and what stands in a
# decoded text for bytes that mean nothing in its own.
_TEXTS, _LOST = {"LO", "LT", "PN", "SH", "ST", "UC", "UT"}, "\ufffd"
_SERIES_DESCRIPTION = Tag("SeriesDescription")
# Overlays and curves were drawn on the source; they may be text.
_DRAWN_GROUPS = {0x5000, 0x6000}
_LO_LENGTH, _ST_LENGTH, _MAX_IS = 64, 1024, 2**31 - 1
# Added to the number of the source's series, so that both are told apart in a list.
_SERIES_NUMBER_STEP = 1000

# DICOM's own codes for kinds of derivation (CID 7203, which may be extended) have none for it.
_MOTION_CORRECTION = Code("MOTION", "99MOCODIS", "Retrospective motion correction")


class DerivedSeries(NamedTuple):
    """What all objects of one derived series share."""

    uid: str
    description: str  # suffix of SeriesDescription
    derivation: str  # DerivationDescription


def derive_header(dataset: FileDataset, frames: Sequence[FrameHeader], series: DerivedSeries) -> None:
    """Turn the header of a source object with its ``frames`` into that of the derived one, in place, pixels aside.

    Raises almost anything on malformed values, like all reading of a header.
    """
    texts = _raw_texts(dataset)
    _remove_stale(dataset)
    source = _reference(dataset)
    dataset.SOPInstanceUID = generate_uid(entropy_srcs=[series.uid, str(dataset.SOPInstanceUID)])
    reference = _series_reference(dataset, source)
    dataset.SeriesInstanceUID = series.uid
    dataset.SeriesNumber = _series_number(dataset)
    dataset.SeriesDescription = _with_suffix(_text(dataset, "SeriesDescription"), series.description)
    dataset.ImageType = _derived_type(dataset.get("ImageType"), dataset.SOPClassUID in MULTI_FRAME)
    dataset.ReferencedSeriesSequence = DicomSequence([reference])
    equipment = list(dataset.get("ContributingEquipmentSequence") or [])
    dataset.ContributingEquipmentSequence = DicomSequence([*equipment, _equipment()])
    if dataset.SOPClassUID in MULTI_FRAME:
        _derive_frames(dataset, source, series, [frame.frame for frame in frames])
    else:
        dataset.DerivationDescription = series.derivation[:_ST_LENGTH]
        dataset.SourceImageSequence = DicomSequence([_with_purpose(source)])
    _put_back(dataset, texts)


def write_file(path: Path, dataset: FileDataset, pixels: bytes) -> None:
    """Write the object with ``pixels``, uncompressed, as Explicit VR Little Endian."""
    if "PixelData" in dataset:
        del dataset.PixelData
    if len(pixels) % 2:
        pixels += b"\0"
    dataset.add_new("PixelData", "OB" if dataset.BitsAllocated == 8 else "OW", pixels)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = dataset.SOPClassUID, dataset.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta = meta
    dataset.preamble = bytes(128)  # the source's may be anything, a program too
    if int(pydicom.__version__.split(".")[0]) >= 3:
        dcmwrite(path, dataset, enforce_file_format=True)
    else:
        dataset.is_little_endian, dataset.is_implicit_VR = True, False
        dcmwrite(path, dataset, write_like_original=False)


def _raw_texts(dataset: Dataset) -> dict[BaseTag, RawDataElement]:
    """The texts of a header, those of its sequences left out, as the bytes that they were read as."""
    texts: dict[BaseTag, RawDataElement] = {}
    for tag in dataset.keys():  # noqa: SIM118
        item, kind = dataset.get_item(tag), dictionary_VR(tag) if dictionary_has_tag(tag) else None
        if isinstance(item, RawDataElement) and kind in _TEXTS:
            texts[tag] = item._replace(VR=kind)
    return texts


def _put_back(dataset: Dataset, texts: Mapping[BaseTag, RawDataElement]) -> None:
    """Keep the bytes of texts that do not fit the character set that they claim: decoded they would lose letters.

    Not of the description of the series, which gets a suffix, nor of texts inside sequences.
    """
    for tag, raw in texts.items():
        if tag in dataset and tag != _SERIES_DESCRIPTION and _LOST in str(dataset[tag].value):
            dataset[tag] = raw


def _text(dataset: Dataset, keyword: str) -> str:
    """A value as one text; a backslash separates several."""
    value = dataset.get(keyword) or ""
    return " ".join(map(str, value)) if isinstance(value, MultiValue) else str(value)


def _remove_stale(dataset: FileDataset) -> None:
    dataset.remove_private_tags()
    stale = [*_STALE, *(_ORIGINAL_ONLY if dataset.SOPClassUID == EnhancedMRImageStorage else ())]
    if dataset.file_meta.get("TransferSyntaxUID") == ExplicitVRBigEndian:
        stale.append("VOILUTSequence")  # a table of words, which would have to be swapped; the window stays
    for keyword in stale:
        if keyword in dataset:
            delattr(dataset, keyword)
    for tag in [tag for tag in dataset.keys() if tag.group & 0xFF00 in _DRAWN_GROUPS]:  # noqa: SIM118
        del dataset[tag]


def _derived_type(image_type: str | Sequence[str] | None, multi_frame: bool) -> list[str]:
    """Enhanced objects know no SECONDARY: the standard (PS3.3 C.8.16.1.2) allows them PRIMARY only."""
    values = [image_type] if isinstance(image_type, str) else list(image_type or [])
    return ["DERIVED", "PRIMARY" if multi_frame else "SECONDARY", *(values[2:] or ["OTHER"])]


def _derive_frames(dataset: FileDataset, source: Dataset, series: DerivedSeries, frames: Sequence[int]) -> None:
    """Functional groups of an enhanced object: each frame is derived from the same frame of the source."""
    dataset.ContentQualification = "RESEARCH"
    evidence = Dataset()
    evidence.StudyInstanceUID = dataset.StudyInstanceUID
    evidence.ReferencedSeriesSequence = DicomSequence([_evidence(dataset.ReferencedSeriesSequence[0])])
    dataset.SourceImageEvidenceSequence = DicomSequence([evidence])
    shared = dataset.get("SharedFunctionalGroupsSequence") or []
    for group in [*shared, *dataset.PerFrameFunctionalGroupsSequence]:
        if "DerivationImageSequence" in group:
            del group.DerivationImageSequence
        for item in group.get("MRImageFrameTypeSequence") or []:
            item.FrameType = _derived_type(item.get("FrameType"), multi_frame=True)
    for index in frames:
        referenced = _with_purpose(source)
        referenced.ReferencedFrameNumber = index + 1
        derivation = Dataset()
        derivation.DerivationDescription = series.derivation[:_ST_LENGTH]
        derivation.DerivationCodeSequence = DicomSequence([_code(_MOTION_CORRECTION)])
        derivation.SourceImageSequence = DicomSequence([referenced])
        dataset.PerFrameFunctionalGroupsSequence[index].DerivationImageSequence = DicomSequence([derivation])


def _reference(dataset: Dataset) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = dataset.SOPClassUID, dataset.SOPInstanceUID
    return item


def _with_purpose(source: Dataset) -> Dataset:
    item = Dataset()
    item.update(source)
    purpose = codes.cid7202.SourceImageForImageProcessingOperation
    item.PurposeOfReferenceCodeSequence = DicomSequence([_code(purpose)])
    return item


def _series_reference(dataset: Dataset, source: Dataset) -> Dataset:
    """The source's series with the one object that this one is made from."""
    item = Dataset()
    item.SeriesInstanceUID = dataset.SeriesInstanceUID
    item.ReferencedInstanceSequence = DicomSequence([source])
    return item


def _evidence(series: Dataset) -> Dataset:
    """The same in the words of the evidence sequence."""
    item = Dataset()
    item.SeriesInstanceUID = series.SeriesInstanceUID
    item.ReferencedSOPSequence = DicomSequence(list(series.ReferencedInstanceSequence))
    return item


def _equipment() -> Dataset:
    item = Dataset()
    item.PurposeOfReferenceCodeSequence = DicomSequence([_code(codes.cid7005.ProcessingEquipment)])
    item.Manufacturer = "MoCoDis contributors"
    item.ManufacturerModelName = EQUIPMENT
    item.SoftwareVersions = __version__
    item.ContributionDescription = "Retrospective motion correction, research use only"
    return item


def _code(code: Code) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code.value, code.scheme_designator, code.meaning
    return item


def _series_number(dataset: Dataset) -> int:
    number = dataset.get("SeriesNumber")
    fits = number is not None and 0 <= int(number) <= _MAX_IS - _SERIES_NUMBER_STEP
    return _SERIES_NUMBER_STEP + (int(number) if fits else 0)


def _with_suffix(text: str, suffix: str) -> str:
    room = _LO_LENGTH - len(suffix) - 1
    return f"{text[:room]} {suffix}".strip()
