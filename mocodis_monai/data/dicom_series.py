"""Which series a folder of DICOM files holds: exports often put all series of a study into one, or one into several."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

from pydicom.dataset import Dataset

from mocodis_monai.data.dicom_files import dicom_files, open_dataset, quiet

__all__ = ["Series", "series_of"]

DAMAGED = "damaged"


class Series(NamedTuple):
    """A series, as far as one folder holds it.

    Attributes:
        files: by name.
        uid: SeriesInstanceUID; empty where a header cannot be read.
        places: where its slices lie, in the very characters of the headers; those of enhanced objects are not told.
    """

    files: tuple[Path, ...] = ()
    uid: str = ""
    places: frozenset[str] = frozenset()

    def is_part(self, other: Series) -> bool:
        """Whether another folder holds slices of the same series at other places.

        Not so of a copy, and not of echoes or time points that somebody sorted: they have a slice at each place.
        """
        return self.uid == other.uid and self.places != other.places


class _Header(NamedTuple):
    name: str
    uid: str = ""
    place: str = ""


def series_of(folder: Path) -> dict[str, Series]:
    """The files directly in a folder by series, under names that hold no name of a patient: ``series-5-1a2b3c4d``.

    Files whose header cannot be read are a series ``damaged``, with all others where these are one series; it will be
    refused when it is read.

    Raises:
        InputError: a file that should be DICOM by its name is none.
    """
    with quiet():
        headers = {file: _header(file) for file in dicom_files(folder)}
    names = list(dict.fromkeys(header.name for header in headers.values()))
    if len(names) == 2 and DAMAGED in names:  # it may be a slice of the one series, which then is not whole
        return {DAMAGED: Series(tuple(headers))}
    return {name: _series({file: header for file, header in headers.items() if header.name == name}) for name in names}


def _series(headers: dict[Path, _Header]) -> Series:
    uids = {header.uid for header in headers.values()}
    return Series(tuple(headers), uids.pop(), frozenset(header.place for header in headers.values()))


def _header(file: Path) -> _Header:
    try:
        dataset = open_dataset(file)
        number, uid = dataset.get("SeriesNumber"), str(dataset.get("SeriesInstanceUID", ""))
    except Exception:  # values are parsed when they are asked for, and damaged ones raise almost anything
        return _Header(DAMAGED)
    if not uid:
        return _Header(DAMAGED)
    short = hashlib.sha256(uid.encode()).hexdigest()[:8]
    name = f"series-{number}-{short}" if isinstance(number, int) and number >= 0 else f"series-{short}"
    return _Header(name, uid, _place(dataset))


def _place(dataset: Dataset) -> str:
    """ImagePositionPatient as it stands there: it is not parsed, so it may be damaged."""
    return str(dataset.get_item("ImagePositionPatient").value) if "ImagePositionPatient" in dataset else ""
