"""Which DICOM objects are magnitude MR images: what is refused, and the word for it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.uid import UID, EnhancedMRImageStorage, LegacyConvertedEnhancedMRImageStorage, MRImageStorage

from mocodis_monai.data.dicom_files import shown
from mocodis_monai.errors import InputError, NotAScanError

__all__ = ["MULTI_FRAME", "check_frame_kind", "check_object_kind"]

MULTI_FRAME = {EnhancedMRImageStorage, LegacyConvertedEnhancedMRImageStorage}
"""The kinds of objects (SOP classes) that hold many images."""
_CLASSES = {MRImageStorage, *MULTI_FRAME}
# Words of ImageType, FrameType and ComplexImageComponent that say what the image is; an underscore counts as a space.
_OTHER_KINDS = {
    "a localizer": ("LOCALIZER|SCOUT", "Give the series of the examination itself."),
    "a mosaic of all slices": ("MOSAIC", "Convert it with dcm2niix and give the NIfTI file."),
    "a projection": (
        r"PROJECTION IMAGE|(.* )?(MIP|MNIP|(MAX|MIN) ?IP)( .*)?|MAXIMUM|MINIMUM",
        "Give the series that it was made from.",
    ),
    "a phase image": ("P|PHASE( MAP| SUBTRACT)?|VELOCITY( MAP)?", "Give the magnitude series."),
    "a real part": ("R|REAL", "Give the magnitude series."),
    "an imaginary part": ("I|IMAGINARY", "Give the magnitude series."),
    # Diffusion, perfusion with its parts, temperature, and all that is called a map: T1 MAP, R2* MAP, B0 MAP.
    "a map of a quantity": (
        "E?ADC|FA|TENSOR|(REL|R)?(CBF|C?CBV|MTT)|TTP|TMAX|PBP|GBP|NEI|KTRANS|KEP|TEMPERATURE|.* MAP",
        "Give the images that it was made from.",
    ),
}
_COLOURS = ("RGB", "YBR", "PALETTE")
_NEEDED = (
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
)
# GE keeps it here instead of in ImageType: private block GEMS_PARM_01.
_GE_CREATOR, _GE_COMPONENT = "GEMS_PARM_01", 0x2F
_GE_KINDS = {1: "PHASE", 2: "REAL", 3: "IMAGINARY"}


def check_object_kind(path: Path, dataset: Dataset) -> None:
    """Refuse what is not a grey-scale MR image with whole numbers of 8 or 16 bit.

    Raises:
        NotAScanError: another modality or kind of object, colour.
        InputError: what cannot be read, floating point, an empty size.
    """
    modality, sop_class = shown(dataset.get("Modality")), dataset.get("SOPClassUID")
    if modality != "MR":
        message = f"{path}: the modality is {modality}; only MR images are corrected."
        if modality in ("missing", "unreadable"):
            raise InputError(message)
        raise NotAScanError(message, f"modality {modality}")
    if sop_class not in _CLASSES:
        named = isinstance(sop_class, UID) and sop_class.is_valid
        name = sop_class.name if named else "missing or unreadable"
        message = (
            f"{path}: the kind of object (SOP class) is {name}; MR Image and Enhanced MR Image are corrected. "
            "Give the series of the images themselves."
        )
        raise NotAScanError(message, name) if named else InputError(message)
    _check_pixels(path, dataset)
    if int(dataset.get("InConcatenationTotalNumber") or 1) > 1:
        raise InputError(f"{path}: one part of a concatenation. Export it as one multi-frame object.")
    ge = dataset.get_private_item(0x0043, _GE_COMPONENT, _GE_CREATOR).value if _has_ge_component(dataset) else None
    if ge in _GE_KINDS:
        check_frame_kind(path, [], _GE_KINDS[ge])


def check_frame_kind(path: Path, image_type: Iterable[str], complex_component: str | None) -> None:
    """Refuse phase, real and imaginary images, maps, localizers, mosaics and projections.

    Raises:
        NotAScanError: ``image_type`` (ImageType, FrameType) or ``complex_component`` holds such a word.
    """
    # The first two values are ORIGINAL or DERIVED and PRIMARY or SECONDARY; none of the words is among those.
    words = {str(word).strip().upper() for word in (*image_type, complex_component or "")}
    for kind, (pattern, remedy) in _OTHER_KINDS.items():
        found = sorted(word for word in words if re.fullmatch(pattern, word.replace("_", " ")))
        if found:
            raise NotAScanError(f"{path}: {kind} ({shown(found)} in its image type). {remedy}", kind.partition(" ")[2])


def _check_pixels(path: Path, dataset: Dataset) -> None:
    for keyword in _NEEDED:
        if dataset.get(keyword) is None:
            raise InputError(f"{path}: {keyword} is missing: the header is cut short or damaged. Export it again.")
    samples, photometric = dataset.SamplesPerPixel, dataset.PhotometricInterpretation
    if samples != 1 or photometric != "MONOCHROME2":
        message = (
            f"{path}: {shown(samples)} samples per pixel, {shown(photometric)}: a colour or inverted image. "
            "Give a grey-scale one (MONOCHROME2)."
        )
        raise NotAScanError(message, "colour") if str(photometric).startswith(_COLOURS) else InputError(message)
    allocated, stored, high = dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit
    signed = dataset.PixelRepresentation
    if allocated not in (8, 16) or not 1 <= stored <= allocated or high != stored - 1:
        raise InputError(
            f"{path}: {shown(allocated)} bits allocated, {shown(stored)} stored, high bit {shown(high)}; "
            "8 or 16 bit whole numbers are read. Export it from the archive again."
        )
    if signed not in (0, 1):
        raise InputError(f"{path}: PixelRepresentation is {shown(signed)}, not 0 or 1. Export it again.")
    if "ModalityLUTSequence" in dataset:
        raise InputError(f"{path}: intensities through a table (Modality LUT) are not read. Export without it.")
    frames = int(dataset.get("NumberOfFrames") or 1)
    shape = (dataset.Columns, dataset.Rows, frames)
    if min(shape) < 1:
        raise InputError(f"{path}: {shape[0]} columns, {shape[1]} rows, {frames} frames: no image. Export it again.")
    if frames > 1 and dataset.SOPClassUID == MRImageStorage:
        raise InputError(f"{path}: {frames} frames in a single-frame MR Image object. Export it as Enhanced MR.")


def _has_ge_component(dataset: Dataset) -> bool:
    try:
        dataset.get_private_item(0x0043, _GE_COMPONENT, _GE_CREATOR)
    except KeyError:
        return False
    return True
