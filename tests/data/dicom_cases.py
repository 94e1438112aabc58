"""DICOM series for tests, made of real headers: pydicom's MR_small, and a Philips enhanced object from nibabel."""

from __future__ import annotations

import gzip
import shutil
import subprocess
import warnings
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

PATIENT = ("Doe^Jane^Secret", "ID-4711-SECRET")
_PHILIPS = Path(nibabel.__file__).parent / "nicom" / "tests" / "data" / "philips_mprage.dcm.gz"
_DCIODVFY = shutil.which("dciodvfy")

needs_dciodvfy = pytest.mark.skipif(_DCIODVFY is None, reason="dciodvfy is not installed (Debian: dicom3tools)")
needs_enhanced = pytest.mark.skipif(not _PHILIPS.exists(), reason="this nibabel comes without its DICOM files")


def stored_volume(shape=(12, 10, 6), low=0, high=4095, seed=0) -> np.ndarray:
    """Whole numbers (x, y, z), the ends of the range among them."""
    volume = np.random.default_rng(seed).integers(low, high, shape, endpoint=True)
    volume[0, 0, 0], volume[-1, -1, -1] = low, high
    return volume


def make_series(
    folder: Path,
    stored: np.ndarray,
    orientation=(1, 0, 0, 0, 1, 0),
    pixel_spacing=(1.5, 1.0),  # of the rows (y), of the columns (x)
    positions=None,  # (z, 3), default: 3 mm apart along the normal
    names=None,
    bits=12,
    signed=0,
    **changes: Any,
) -> list[Path]:
    """Single-frame series of ``stored`` (x, y, z); a tuple in ``changes`` holds one value per slice."""
    folder.mkdir(parents=True, exist_ok=True)
    depth = stored.shape[2]
    normal = np.cross(orientation[:3], orientation[3:])
    positions = [normal * 3.0 * z for z in range(depth)] if positions is None else positions
    names = [f"{z:03d}.dcm" for z in range(depth)] if names is None else names
    uids = {k: generate_uid() for k in ("SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID")}
    files = []
    for z in range(depth):
        dataset = pydicom.dcmread(get_testdata_file("MR_small.dcm", download=False))
        set_pixels(dataset, stored[:, :, z], bits, signed)
        for keyword, value in uids.items():
            setattr(dataset, keyword, value)
        dataset.SOPInstanceUID = generate_uid()
        dataset.InstanceNumber, dataset.SeriesDescription = z + 1, "t1 sag"
        dataset.PatientName, dataset.PatientID = PATIENT
        dataset.PixelSpacing, dataset.ImageOrientationPatient = list(pixel_spacing), [_ds(v) for v in orientation]
        dataset.ImagePositionPatient = [_ds(v) for v in positions[z]]
        dataset.SliceThickness = 3
        for keyword, value in changes.items():
            set_or_delete(dataset, keyword, value[z] if isinstance(value, tuple) else value)
        files.append(save(folder / names[z], dataset))
    return files


def make_enhanced(path: Path, stored: np.ndarray, **changes: Any) -> FileDataset:
    """Enhanced object with the header and geometry of a real one, its frames those of ``stored`` (x, y, z)."""
    with gzip.open(_PHILIPS) as file:
        dataset = pydicom.dcmread(file)
    del dataset.PerFrameFunctionalGroupsSequence[stored.shape[2] :]
    dataset.Columns, dataset.Rows, dataset.NumberOfFrames = stored.shape
    dataset.PixelData = np.ascontiguousarray(stored.T, dtype="<u2").tobytes()
    dataset.PatientName, dataset.PatientID = PATIENT
    for keyword, value in changes.items():
        set_or_delete(dataset, keyword, value)
    save(path, dataset)
    return dataset


def edit(path: Path, **changes: Any) -> None:
    dataset = pydicom.dcmread(path)
    for keyword, value in changes.items():
        set_or_delete(dataset, keyword, value)
    save(path, dataset)


def set_or_delete(dataset: Dataset, keyword: str, value: Any) -> None:
    """None deletes."""
    if keyword.startswith("PixelPadding"):  # US or SS, by the pixels; pydicom does not choose
        dataset.add_new(keyword, "SS" if dataset.PixelRepresentation else "US", value)
    elif value is not None:
        setattr(dataset, keyword, value)
    elif keyword in dataset:
        delattr(dataset, keyword)


def save(path: Path, dataset: FileDataset) -> Path:
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what the tests break on purpose
        dataset.save_as(path)
    return path


def snapshot(folder: Path) -> dict[str, bytes]:
    """The content of each file."""
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


def written(folder: Path) -> list[FileDataset]:
    """What a derived series holds, by the files' names."""
    return [pydicom.dcmread(file) for file in sorted(folder.iterdir())]


def validator_errors(path: Path) -> set[str]:
    """The error lines of dciodvfy."""
    lines = subprocess.run([_DCIODVFY, "-new", path], capture_output=True, text=True, errors="replace").stderr
    return {line for line in lines.splitlines() if line.startswith("Error")}


def set_pixels(dataset: FileDataset, plane: np.ndarray, bits: int, signed: int) -> None:
    """Put in ``plane`` (x, y) and describe it."""
    dataset.Columns, dataset.Rows = plane.shape
    dataset.BitsAllocated = 8 if bits <= 8 else 16
    dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = bits, bits - 1, signed
    kind = f"<{'i' if signed else 'u'}{dataset.BitsAllocated // 8}"
    raw = np.ascontiguousarray(plane.T, dtype=kind).tobytes()
    dataset.PixelData = raw + b"\0" * (len(raw) % 2)
    for keyword in ("SmallestImagePixelValue", "LargestImagePixelValue"):
        set_or_delete(dataset, keyword, None)


def _ds(value: float) -> str:
    """A decimal string of at most 16 characters, as the standard wants."""
    return f"{float(value):.10g}"[:16]
