"""Write a corrected volume as a new derived DICOM series: same patient and study, new UIDs, sources named.

The same scan, values and description give the same bytes and UIDs, so a run that was cut short and
repeated makes the same series. No moment of creation is written for that reason.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydicom.dataset import FileDataset
from pydicom.uid import generate_uid

from mocodis_monai import __version__
from mocodis_monai.data.dicom_derived_header import EQUIPMENT, DerivedSeries, derive_header, write_file
from mocodis_monai.data.dicom_files import open_dataset, quiet
from mocodis_monai.data.dicom_headers import FrameHeader
from mocodis_monai.data.dicom_pixels import padding_mask, stored_range, stored_values, to_stored
from mocodis_monai.data.files import check_writable, is_litter, staged
from mocodis_monai.errors import InputError

if TYPE_CHECKING:
    import torch

    from mocodis_monai.data.dicom import DicomScan

__all__ = ["check_output_dir", "is_our_dicom", "is_our_series", "write_derived"]

_logger = logging.getLogger(__name__)


def write_derived(
    scan: DicomScan,
    intensities: torch.Tensor | np.ndarray,
    output_dir: str | Path,
    description: str = "MoCoDis corrected",
    method: str = "retrospective motion correction, slice by slice",
) -> Path:
    """Write ``intensities`` as a derived series like ``scan``; the folder appears whole or not at all.

    Stored values are the nearest that slope, intercept and bit depth of the source allow; padding stays.
    Overlays, private attributes, thumbnails, pixel statistics and signatures of the source are left out.

    Args:
        scan: what :func:`mocodis_monai.data.dicom.read_dicom` read; its files are read again.
        intensities: ``(x, y, z)``, CPU tensor or array, in the intensities of ``scan.image``.
        output_dir: folder to make, in an existing one; files in it are named ``IM000001.dcm`` and so on.
        description: added to SeriesDescription; name each derived series of one scan differently.
        method: for DerivationDescription, after the name and version of this software.

    Returns:
        ``output_dir``.

    Raises:
        InputError: the folder exists, lies in the source's, or cannot be written; the source has changed.
        ValueError: ``intensities`` has another shape than the scan, or is not finite.
    """
    output_dir = Path(output_dir)
    check_output_dir(output_dir, scan.path)
    values = np.ascontiguousarray(intensities, dtype=np.float32)
    if values.shape != tuple(scan.image.shape):
        wanted = tuple(scan.image.shape)
        raise ValueError(f"intensities: got shape {values.shape}; allowed is the scan's, {wanted}. Give all voxels.")
    if not np.isfinite(values).all():
        count = int((~np.isfinite(values)).sum())
        raise ValueError(f"intensities: got {count} values that are NaN or infinite. Replace them, for example by 0.")
    series = _series(scan, values, description, method)
    places = sorted(range(len(scan.frames)), key=lambda z: (str(scan.frames[z].path), z))
    clipped = 0
    with staged(output_dir) as (folder,), quiet():
        folder.mkdir()
        for path, members in groupby(places, key=lambda z: scan.frames[z].path):
            slices = list(members)
            dataset = _source(path, scan.frames[slices[0]])
            frames = [scan.frames[z] for z in slices]
            pixels, lost = _pixels(path, dataset, frames, values[:, :, slices])
            clipped += lost
            _write(folder / f"IM{slices[0] + 1:06d}.dcm", dataset, pixels, frames, series)
    if clipped:
        _logger.warning(
            "%d of %d values are brighter than the bit depth of the source holds and were clipped",
            clipped,
            values.size,
        )
    return output_dir


def check_output_dir(output_dir: str | Path, source: str | Path) -> None:
    """Refuse, before any work is done, a folder that cannot be made or would mix with something.

    Raises:
        InputError: its parent is missing or cannot be written to, it holds something, or it is or lies in the source
            folder.
    """
    output_dir, source = Path(output_dir), Path(source)
    if not output_dir.parent.is_dir():
        raise InputError(f"{output_dir}: the folder {output_dir.parent} does not exist. Make it first.")
    target, origin = output_dir.resolve(), source.resolve()
    if target == origin or (origin.is_dir() and origin in target.parents):
        raise InputError(f"{output_dir}: this lies in the folder of the input. Give the output another folder.")
    if os.path.lexists(output_dir) and not (output_dir.is_dir() and not any(output_dir.iterdir())):
        raise InputError(f"{output_dir}: this exists already. Give a folder that does not exist, or an empty one.")
    check_writable(output_dir.parent)


def is_our_series(folder: Path) -> bool:
    """Whether a folder holds a series that :func:`write_derived` made, and nothing else but litter."""
    files = sorted(file for file in folder.iterdir() if not is_litter(file))
    if not files or any(re.fullmatch(r"IM\d{6,}\.dcm", file.name) is None for file in files):
        return False
    return is_our_dicom(files[0])


def is_our_dicom(file: Path) -> bool:
    """Whether a DICOM file, by whatever name, is one that :func:`write_derived` made."""
    try:
        with quiet():
            equipment = open_dataset(file).get("ContributingEquipmentSequence") or []
            return any(item.get("ManufacturerModelName") == EQUIPMENT for item in equipment)
    except Exception:  # a damaged header raises almost anything, and was not written by us
        return False


def _series(scan: DicomScan, values: np.ndarray, description: str, method: str) -> DerivedSeries:
    derivation = f"MoCoDis {__version__}: {method}. Research use only."
    sources = [f"{frame.sop_instance}/{frame.frame}" for frame in scan.frames]
    entropy = [*sources, description, derivation, hashlib.sha256(values.data).hexdigest()]
    return DerivedSeries(generate_uid(entropy_srcs=entropy), description, derivation)


def _source(path: Path, frame: FrameHeader) -> FileDataset:
    dataset = open_dataset(path, pixels=True)
    if dataset.get("SOPInstanceUID") != frame.sop_instance:
        raise InputError(f"{path}: the file has changed since it was read. Run again.")
    return dataset


def _pixels(path: Path, dataset: FileDataset, frames: list[FrameHeader], values: np.ndarray) -> tuple[bytes, int]:
    """Little-endian pixel data of an object in its own order of frames, and how many bright values were clipped."""
    limits = stored_range(dataset)
    kind = "i" if dataset.PixelRepresentation else "u"
    columns, rows, _ = values.shape
    stored = np.empty((len(frames), rows, columns), dtype=f"<{kind}{dataset.BitsAllocated // 8}")
    clipped = 0
    for z, frame in enumerate(frames):
        plane = to_stored(values[:, :, z].T, frame.slope, frame.intercept)
        clipped += int((plane > limits.high).sum() if frame.slope > 0 else (plane < limits.low).sum())
        stored[frame.frame] = np.clip(plane, *limits)
    if "PixelPaddingValue" in dataset:
        before = stored_values(path, dataset)
        padding = padding_mask(dataset, before)
        stored[padding] = before[padding]
    return stored.tobytes(), clipped


def _write(file: Path, dataset: FileDataset, pixels: bytes, frames: list[FrameHeader], series: DerivedSeries) -> None:
    source = frames[0].path
    try:
        derive_header(dataset, frames, series)
        write_file(file, dataset, pixels)
    except (InputError, OSError):
        raise
    except Exception:  # malformed values of the source, met when they are parsed or encoded anew
        raise InputError(f"{source}: the header holds values that cannot be written again. Export it again.") from None
