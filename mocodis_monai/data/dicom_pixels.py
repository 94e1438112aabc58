"""Stored pixel values of DICOM images: decoded, to intensities, and back at the original bit depth."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from pydicom.dataset import FileDataset

from mocodis_monai.errors import InputError

__all__ = ["padding_mask", "stored_range", "stored_values", "to_intensities", "to_stored"]


class StoredRange(NamedTuple):
    """What the pixels of an object can hold, ends included."""

    low: int
    high: int


def stored_values(path: Path, dataset: FileDataset) -> np.ndarray:
    """Decoded whole numbers ``(frames, rows, columns)``; bits above BitsStored (old overlays) cut off.

    Raises:
        InputError: no pixel data, too little of it, or a compression that nothing installed decodes.
    """
    if "PixelData" not in dataset:
        raise InputError(f"{path}: no pixel data in this file. Export it from the archive again.")
    shape = (int(dataset.get("NumberOfFrames") or 1), dataset.Rows, dataset.Columns)
    try:
        values = dataset.pixel_array.reshape(shape)
    except Exception as error:  # decoders raise almost anything on damaged data
        raise InputError(_undecoded(path, dataset, error)) from None
    unused = dataset.BitsAllocated - dataset.BitsStored
    kind = "int" if dataset.PixelRepresentation else "uint"
    values = values.astype(f"{kind}{dataset.BitsAllocated}")
    # Shifted up and down again, so that the sign bit of a signed value is that of BitsStored.
    return (values << unused) >> unused


def padding_mask(dataset: FileDataset, stored: np.ndarray) -> np.ndarray:
    """Where the pixels are padding outside the image, by PixelPaddingValue and its range limit; like ``stored``."""
    value = dataset.get("PixelPaddingValue")
    if value is None:
        return np.zeros(stored.shape, dtype=bool)
    limit = dataset.get("PixelPaddingRangeLimit")
    low, high = sorted(_as_pixel(dataset, v) for v in (value, value if limit is None else limit))
    return (stored >= low) & (stored <= high)


def to_intensities(stored: np.ndarray, slope: float, intercept: float, padding: np.ndarray) -> np.ndarray:
    """``stored * slope + intercept`` as float32; padding is 0."""
    return np.where(padding, 0.0, stored * float(slope) + float(intercept)).astype(np.float32)


def to_stored(intensities: np.ndarray, slope: float, intercept: float) -> np.ndarray:
    """The nearest whole numbers, int64, of any size; the inverse of :func:`to_intensities`."""
    scaled = np.rint((np.asarray(intensities, dtype=np.float64) - intercept) / slope)
    return np.clip(scaled, -(2**62), 2**62).astype(np.int64)


def stored_range(dataset: FileDataset) -> StoredRange:
    """By BitsStored and PixelRepresentation."""
    values = 2 ** int(dataset.BitsStored)
    low = -(values // 2) if dataset.PixelRepresentation else 0
    return StoredRange(low, low + values - 1)


def _as_pixel(dataset: FileDataset, value: int | bytes) -> int:
    """A pixel value of the header: raw bytes in an implicit VR, and often unsigned though the pixels are signed."""
    number = int.from_bytes(value, "little") if isinstance(value, bytes) else int(value)
    values = 2 ** int(dataset.BitsAllocated)
    number %= values
    return number - values if dataset.PixelRepresentation and number >= values // 2 else number


def _undecoded(path: Path, dataset: FileDataset, error: Exception) -> str:
    syntax = dataset.file_meta.TransferSyntaxUID
    if not syntax.is_compressed:
        return f"{path}: the pixel data is cut short or damaged. Export the file from the archive again."
    reason = "nothing installed decodes it" if _is_missing_decoder(error) else "it is damaged, or not decoded here"
    return (
        f"{path}: compressed pixel data ({syntax.name}): {reason}. "
        'Install the decoders with pip install -e ".[dicom]", or export it uncompressed.'
    )


def _is_missing_decoder(error: Exception) -> bool:
    # pydicom 2 and 3: NotImplementedError or RuntimeError, naming the plug-ins that are missing.
    text = str(error).lower()
    return isinstance(error, NotImplementedError) or "missing" in text or "plugins" in text
