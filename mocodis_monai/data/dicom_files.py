"""Open DICOM files: which files of a folder are meant, headers and pixels of one, and nothing said aloud.

pydicom warns and logs with the values that it finds odd, and those may name a patient: inside
:func:`quiet` it says nothing. No message of ours quotes a name, an ID or the text of another library.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import FileDataset
from pydicom.filereader import read_file_meta_info
from pydicom.misc import is_dicom as has_magic
from pydicom.uid import DeflatedExplicitVRLittleEndian

from mocodis_monai.errors import InputError

__all__ = ["dicom_files", "is_dicom", "open_dataset", "quiet", "shown"]

# Files with these names lie among images on CDs and in exports and are no images.
_INDEX_NAMES = {"dicomdir", "lockfile", "readme", "version"}
_IMAGE_SUFFIXES = {"", ".dcm", ".dicom", ".ima", ".mr"}


def is_dicom(path: str | Path) -> bool:
    """Whether ``path`` is a DICOM file, or a folder that directly holds one; never raises."""
    path = Path(path)
    try:
        if path.is_dir():
            return any(_is_image_name(file) and is_dicom(file) for file in path.iterdir() if file.is_file())
        return path.is_file() and has_magic(path)
    except OSError:
        return False


def dicom_files(path: Path) -> list[Path]:
    """The DICOM files that ``path`` means: itself, or those directly in the folder, by name.

    Raises:
        InputError: no such file, not DICOM, a folder without DICOM, or with a file that should be
            DICOM by its name and is not: a slice may be lost there.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file or folder. Check the path.")
    if path.is_file():
        if not is_dicom(path):
            raise InputError(f"{path}: not a DICOM file, or a damaged one. Export it from the archive again.")
        return [path]
    try:
        files = sorted(file for file in path.iterdir() if file.is_file() and _is_image_name(file))
    except OSError as error:
        raise InputError(f"{path}: this folder cannot be read ({error.strerror}). Check permissions.") from error
    good = [file for file in files if is_dicom(file)]
    if not good:
        raise InputError(f"{path}: no DICOM file directly in this folder. Give the folder of one series.")
    bad = [file for file in files if file not in set(good) and _must_be_image(file)]
    if bad:
        raise InputError(
            f"{path}: {bad[0].name} lies among DICOM files and is none; it may be a damaged slice. "
            "Export the series again, or move the file elsewhere."
        )
    return good


def open_dataset(path: Path, pixels: bool = False) -> FileDataset:
    """The header of a file, with its pixel data if ``pixels``; to be used inside :func:`quiet`.

    Raises:
        InputError: it cannot be parsed, or is deflated: a small file could unpack to any size.
    """
    try:
        meta = read_file_meta_info(path)
        deflated = meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian
        dataset = None if deflated else pydicom.dcmread(path, stop_before_pixels=not pixels)
    except Exception:  # a damaged file makes pydicom raise almost anything, with values of the header in it
        raise InputError(f"{path}: the DICOM header is damaged or cut short. Export the file again.") from None
    if dataset is None:
        raise InputError(
            f"{path}: a deflated DICOM file (transfer syntax {DeflatedExplicitVRLittleEndian}), which is "
            "not read. Export it as Explicit VR Little Endian."
        )
    return dataset


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the warnings and log lines of pydicom, which may quote the header."""
    logger = logging.getLogger("pydicom")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def shown(value: Any) -> str:
    """A coded value of a header for a message: one short line of plain characters."""
    text = "\\".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    plain = "".join(c if c.isascii() and c.isprintable() else "?" for c in text)
    return plain if len(plain) <= 48 else f"{plain[:45]}..."


def _is_image_name(file: Path) -> bool:
    return not file.name.startswith(".") and file.name.lower() not in _INDEX_NAMES


def _must_be_image(file: Path) -> bool:
    suffix = file.suffix.lower()
    return suffix in _IMAGE_SUFFIXES or suffix[1:].isdigit()
