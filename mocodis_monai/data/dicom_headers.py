"""What each image of a DICOM series says of itself, from single-frame and enhanced multi-frame objects.

One :class:`FrameHeader` per image, in plain numbers and words; nothing that names a patient is in it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydicom.dataset import Dataset
from pydicom.uid import MRImageStorage

from mocodis_monai.data.dicom_files import open_dataset
from mocodis_monai.data.dicom_kinds import check_frame_kind, check_object_kind
from mocodis_monai.errors import InputError, NotAScanError

__all__ = ["FrameHeader", "read_headers"]

# Far beyond any scanner: a header with such a length in mm is damaged.
_MAX_SPACING_MM, _MAX_POSITION_MM = 1e3, 1e5
# What may differ between images of one series at one place: what it means, and the attribute.
_VARIANTS = {
    "echo times": "EchoTime",
    "time points": "TemporalPositionIdentifier",
    "trigger times": "TriggerTime",
    "b-values": "DiffusionBValue",
    "acquisitions": "AcquisitionNumber",
    "image types": "ImageType",
}


class FrameHeader(NamedTuple):
    """One image: where its pixels lie, where it lies in the patient, and what its numbers mean."""

    path: Path
    frame: int  # index in a multi-frame object, from 0; 0 in a single-frame one
    sop_class: str
    sop_instance: str
    series: str
    series_number: str  # digits, for a message
    frame_of_reference: str
    shape: tuple[int, int]  # columns, rows: the image's x and y
    pixel_spacing_mm: tuple[float, float]  # along x and y
    orientation: tuple[float, ...]  # patient coordinates (LPS): unit vector along x, then along y
    position_mm: tuple[float, float, float]  # patient coordinates (LPS) of the first pixel's centre
    thickness_mm: float | None  # of the slice, or the distance between slices
    slope: float
    intercept: float
    phase_encoding: str  # "ROW", "COL" or anything else
    variants: tuple[str, ...]  # values of _VARIANTS, to be compared

    def differences(self, other: FrameHeader) -> list[str]:
        """What differs from another image at the same place: ``["echo times", ...]``."""
        return [name for name, a, b in zip(_VARIANTS, self.variants, other.variants) if a != b]


def read_headers(files: Iterable[Path]) -> list[FrameHeader]:
    """The images of the files of a series; to be used inside ``quiet``.

    Raises:
        NotAScanError: none of them is a magnitude MR image.
        InputError: some of them are none, or a header lacks or garbles something that is needed.
    """
    found = [header for path in files for header in _headers(path)]
    fit = [header for header in found if isinstance(header, FrameHeader)]
    for other in (header for header in found if isinstance(header, NotAScanError)):
        if fit:
            raise InputError(f"{other} {len(fit)} images of the series are fit: put them into a folder of their own.")
        raise other
    return fit


def _headers(path: Path) -> list[FrameHeader | NotAScanError]:
    """The images of one file, or why they are none."""
    dataset = open_dataset(path)
    try:
        check_object_kind(path, dataset)
        return [_header_or_reason(path, view) for view in _views(path, dataset)]
    except NotAScanError as other:
        return [other]
    except InputError:
        raise
    except Exception:  # values are parsed when they are asked for, and damaged ones raise almost anything
        raise InputError(f"{path}: the DICOM header holds values that cannot be read. Export it again.") from None


class _View(NamedTuple):
    """One image of a dataset: ``get`` finds an attribute in the place where this kind of object keeps it."""

    frame: int
    dataset: Dataset
    get: Callable[[str, str], Any]  # (functional group, keyword) -> value or None


def _views(path: Path, dataset: Dataset) -> Iterator[_View]:
    sop_class = dataset.get("SOPClassUID")
    if sop_class == MRImageStorage:
        yield _View(0, dataset, lambda _, keyword: dataset.get(keyword))
        return
    frames = dataset.get("PerFrameFunctionalGroupsSequence")
    if not frames:
        raise InputError(
            f"{path}: an enhanced MR object without per-frame functional groups, so its slices have no "
            "place. Export it from the archive again."
        )
    number = int(dataset.get("NumberOfFrames") or 0)
    if len(frames) != number:
        raise InputError(
            f"{path}: NumberOfFrames is {number}, but {len(frames)} frames are described. Export it again."
        )
    shared = dataset.get("SharedFunctionalGroupsSequence") or [Dataset()]
    for index, frame in enumerate(frames):
        yield _View(index, dataset, _group_getter(frame, shared[0]))


def _group_getter(frame: Dataset, shared: Dataset) -> Callable[[str, str], Any]:
    def get(group: str, keyword: str) -> Any:
        for item in (frame, shared):
            macro = item.get(group)
            if macro and macro[0].get(keyword) is not None:
                return macro[0].get(keyword)
        return None

    return get


def _header_or_reason(path: Path, view: _View) -> FrameHeader | NotAScanError:
    try:
        check_frame_kind(path, _image_type(view), view.get("MRImageFrameTypeSequence", "ComplexImageComponent"))
    except NotAScanError as other:
        return other
    return _header(path, view)


def _header(path: Path, view: _View) -> FrameHeader:
    dataset, get = view.dataset, view.get
    row_mm, column_mm = _numbers(path, "PixelSpacing", get("PixelMeasuresSequence", "PixelSpacing"), 2)
    if not (0 < row_mm < _MAX_SPACING_MM and 0 < column_mm < _MAX_SPACING_MM):
        raise InputError(f"{path}: PixelSpacing is {row_mm:g} by {column_mm:g} mm. Mend or export it again.")
    orientation = _numbers(
        path, "ImageOrientationPatient", get("PlaneOrientationSequence", "ImageOrientationPatient"), 6
    )
    x, y, z = _numbers(path, "ImagePositionPatient", get("PlanePositionSequence", "ImagePositionPatient"), 3)
    if max(abs(x), abs(y), abs(z)) > _MAX_POSITION_MM:
        raise InputError(f"{path}: ImagePositionPatient lies {max(x, y, z, key=abs):g} mm away. Export it again.")
    slope, intercept = _rescale(path, view)
    return FrameHeader(
        path=path,
        frame=view.frame,
        sop_class=str(dataset.SOPClassUID),
        sop_instance=_uid(path, dataset, "SOPInstanceUID"),
        series=_uid(path, dataset, "SeriesInstanceUID"),
        series_number=_series_number(dataset),
        frame_of_reference=str(dataset.get("FrameOfReferenceUID", "")),
        shape=(int(dataset.Columns), int(dataset.Rows)),
        pixel_spacing_mm=(column_mm, row_mm),
        orientation=_unit_axes(path, orientation),
        position_mm=(x, y, z),
        thickness_mm=_thickness(view),
        slope=slope,
        intercept=intercept,
        phase_encoding=str(get("MRFOVGeometrySequence", "InPlanePhaseEncodingDirection") or "").upper()[:3],
        variants=tuple(_variant(view, keyword) for keyword in _VARIANTS.values()),
    )


def _image_type(view: _View) -> Sequence[str]:
    """FrameType, or ImageType where frames have none."""
    value = view.get("MRImageFrameTypeSequence", "FrameType") or view.dataset.get("ImageType") or []
    return [value] if isinstance(value, str) else list(value)


def _numbers(path: Path, keyword: str, value: Any, count: int) -> tuple[float, ...]:
    if value is None or isinstance(value, str) or len(value) != count:
        raise InputError(
            f"{path}: {keyword} is missing or has not {count} numbers, so the image has no place in the "
            "patient. Export it from the archive again."
        )
    numbers = tuple(float(v) for v in value)
    if not all(map(math.isfinite, numbers)):
        raise InputError(f"{path}: {keyword} is not finite. Export it from the archive again.")
    return numbers


def _unit_axes(path: Path, orientation: tuple[float, ...]) -> tuple[float, ...]:
    along_x, along_y = orientation[:3], orientation[3:]
    lengths = [math.hypot(*along_x), math.hypot(*along_y)]
    if any(abs(length - 1) > 0.01 for length in lengths):
        raise InputError(f"{path}: ImageOrientationPatient holds no unit vectors. Export it again.")
    if abs(sum(a * b for a, b in zip(along_x, along_y))) > 0.01:
        raise InputError(f"{path}: the axes of ImageOrientationPatient are not at right angles. Export it again.")
    return (*(v / lengths[0] for v in along_x), *(v / lengths[1] for v in along_y))


def _rescale(path: Path, view: _View) -> tuple[float, float]:
    group = "PixelValueTransformationSequence"
    values = [view.get(group, "RescaleSlope"), view.get(group, "RescaleIntercept")]
    slope, intercept = (float(default if v is None else v) for v, default in zip(values, (1, 0)))
    if not (math.isfinite(slope) and math.isfinite(intercept)) or slope == 0:
        raise InputError(
            f"{path}: RescaleSlope {slope:g} and RescaleIntercept {intercept:g} give no intensities. Export it again."
        )
    return slope, intercept


def _thickness(view: _View) -> float | None:
    for keyword in ("SpacingBetweenSlices", "SliceThickness"):
        value = view.get("PixelMeasuresSequence", keyword)
        if value not in (None, "") and 0 < abs(float(value)) < _MAX_SPACING_MM:
            return abs(float(value))
    return None


def _variant(view: _View, keyword: str) -> str:
    """One of _VARIANTS, wherever it is kept."""
    if keyword == "ImageType":
        return str(_image_type(view))
    groups = {
        "EchoTime": ("MREchoSequence", "EffectiveEchoTime"),
        "TemporalPositionIdentifier": ("FrameContentSequence", "TemporalPositionIndex"),
        "TriggerTime": ("CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime"),
        "DiffusionBValue": ("MRDiffusionSequence", "DiffusionBValue"),
    }
    nested = view.get(*groups[keyword]) if keyword in groups else None
    return str(view.dataset.get(keyword, "") if nested is None else nested)


def _series_number(dataset: Dataset) -> str:
    number = str(dataset.get("SeriesNumber", ""))
    return number if number.isdigit() else "unknown"


def _uid(path: Path, dataset: Dataset, keyword: str) -> str:
    """It only names things here, so that a component with a leading zero, as in old scanners' UIDs, is no hindrance."""
    value = str(dataset.get(keyword, ""))
    if len(value) > 64 or not re.fullmatch(r"\d+(\.\d+)*", value):
        raise InputError(f"{path}: {keyword} is missing or malformed. Export it from the archive again.")
    return value
