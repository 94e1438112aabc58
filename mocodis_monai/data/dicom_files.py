"""Open DICOM files: which files of a folder are meant, headers and pixels of one, and nothing said aloud.

pydicom warns and logs with the values that it finds odd, and those may name a patient: inside
:func:`quiet` it says nothing. No message of ours quotes a name, an ID or the text of another library.
"""

from __future__ import annotations

import logging
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import FileDataset
from pydicom.filereader import read_file_meta_info
from pydicom.misc import is_dicom as has_magic
from pydicom.multival import MultiValue
from pydicom.uid import AllTransferSyntaxes, DeflatedExplicitVRLittleEndian

from mocodis_monai.data.files import leads_nowhere
from mocodis_monai.errors import InputError

__all__ = ["dicom_files", "is_dicom", "open_dataset", "quiet", "shown"]

# Files with these names lie among images on CDs and in exports and are no images.
_INDEX_NAMES = {"dicomdir", "lockfile", "readme", "version"}
# A deflated file of a few kilobytes could unpack to any size.
_READ_SYNTAXES = {*AllTransferSyntaxes} - {DeflatedExplicitVRLittleEndian}
# As in the value representation CS, and numbers.
_CODE = re.compile(r"[A-Z0-9_ .-]{1,16}")
_DICOM_SUFFIXES = {".dcm", ".dicom", ".ima"}
_IMAGE_SUFFIXES = {"", ".mr", *_DICOM_SUFFIXES}


def is_dicom(path: str | Path) -> bool:
    """Whether ``path`` is a DICOM file, or a folder that directly holds one; never raises."""
    path = Path(path)
    try:
        if path.is_dir():
            return any(_is_image_name(file) and is_dicom(file) for file in path.iterdir() if file.is_file())
        return path.is_file() and has_magic(path)
    except OSError:
        return False


def is_dicom_name(name: str) -> bool:
    """Whether a file of this name can hardly be anything but DICOM."""
    return Path(name).suffix.lower() in _DICOM_SUFFIXES and not name.startswith(".")


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
        images = sorted(file for file in path.iterdir() if _is_image_name(file))
        files = [file for file in images if file.is_file() or leads_nowhere(file)]
    except OSError as error:
        raise InputError(f"{path}: this folder cannot be read ({error.strerror}). Check permissions.") from error
    good = [file for file in files if is_dicom(file)]
    named = [file.name for file in files if is_dicom_name(file.name)]
    if not good and named:
        raise InputError(
            f"{path}: {named[0]} has the name of a DICOM file, and neither it nor another here is one: they lack its "
            "mark, or cannot be read. Export the series again, and check permissions."
        )
    if not good:
        raise InputError(f"{path}: no DICOM file directly in this folder. Give the folder of one series.")
    bad = [file for file in files if file not in set(good) and _must_be_image(file)]
    if bad:
        raise InputError(
            f"{path}: {bad[0].name} lies among DICOM files and is none; it may be a damaged slice, or a link to one "
            "that is gone. Export the series again, or move the file elsewhere."
        )
    return good


def open_dataset(path: Path, pixels: bool = False) -> FileDataset:
    """The header of a file, with its pixel data if ``pixels``; to be used inside :func:`quiet`.

    Raises:
        InputError: it cannot be parsed, its transfer syntax is unknown, or it is deflated.
    """
    try:
        syntax = read_file_meta_info(path).get("TransferSyntaxUID")
        if syntax in _READ_SYNTAXES:
            return pydicom.dcmread(path, stop_before_pixels=not pixels)
    except Exception:  # a damaged file makes pydicom raise almost anything, with values of the header in it
        raise InputError(f"{path}: the DICOM header is damaged or cut short. Export the file again.") from None
    what = "deflated" if syntax == DeflatedExplicitVRLittleEndian else "missing or unknown"
    raise InputError(f"{path}: the transfer syntax is {what}. Export the file as Explicit VR Little Endian.")


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the warnings and log lines of pydicom, which may quote the header, and the checks that make them.

    Several threads may be inside at once: what is switched off is the process's, so it stays off until the last leaves.
    """
    _SILENCE.enter()
    try:
        yield
    finally:
        _SILENCE.leave()


class _Silence:
    """Counts who is inside :func:`quiet`: the first one switches off, the last one restores what was before."""

    def __init__(self) -> None:
        self.lock, self.inside, self.restore = threading.Lock(), 0, ExitStack()

    def enter(self) -> None:
        with self.lock:
            if self.inside == 0:
                self._switch_off()
            self.inside += 1

    def leave(self) -> None:
        with self.lock:
            self.inside -= 1
            if self.inside == 0:
                self.restore.close()

    def _switch_off(self) -> None:
        logger, checks = logging.getLogger("pydicom"), pydicom.config.settings
        self.restore.callback(logger.setLevel, logger.level)
        self.restore.callback(setattr, checks, "reading_validation_mode", checks.reading_validation_mode)
        self.restore.enter_context(warnings.catch_warnings())
        logger.setLevel(logging.CRITICAL + 1)
        checks.reading_validation_mode = pydicom.config.IGNORE
        warnings.simplefilter("ignore")


_SILENCE = _Silence()


def shown(value: Any) -> str:
    """A code or number of a header for a message; what is none, and may be a name in a damaged header, is not shown."""
    if value is None:
        return "missing"
    parts = [str(v) for v in (value if isinstance(value, list | tuple | MultiValue) else [value])]
    return "\\".join(parts) if all(_CODE.fullmatch(part) for part in parts) else "unreadable"


def _is_image_name(file: Path) -> bool:
    return not file.name.startswith(".") and file.name.lower() not in _INDEX_NAMES


def _must_be_image(file: Path) -> bool:
    suffix = file.suffix.lower()
    return suffix in _IMAGE_SUFFIXES or suffix[1:].isdigit()
