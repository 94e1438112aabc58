"""Which series a folder of DICOM files holds: exports often put all series of a study into one."""

from __future__ import annotations

import hashlib
from pathlib import Path

from mocodis_monai.data.dicom_files import dicom_files, open_dataset, quiet

__all__ = ["series_of"]

DAMAGED = "damaged"


def series_of(folder: Path) -> dict[str, tuple[Path, ...]]:
    """The files directly in a folder by series, under names that hold no name of a patient: ``series-5-1a2b3c4d``.

    Files whose header cannot be read are a series ``damaged``, with all others where these are one series; it will be
    refused when it is read.

    Raises:
        InputError: a file that should be DICOM by its name is none.
    """
    series: dict[str, list[Path]] = {}
    with quiet():
        for file in dicom_files(folder):
            series.setdefault(_name(file), []).append(file)
    if len(series) == 2 and DAMAGED in series:  # it may be a slice of the one series, which then is not whole
        return {DAMAGED: tuple(sorted(file for files in series.values() for file in files))}
    return {name: tuple(files) for name, files in series.items()}


def _name(file: Path) -> str:
    try:
        dataset = open_dataset(file)
        number, uid = dataset.get("SeriesNumber"), str(dataset.get("SeriesInstanceUID", ""))
    except Exception:  # values are parsed when they are asked for, and damaged ones raise almost anything
        return DAMAGED
    if not uid:
        return DAMAGED
    short = hashlib.sha256(uid.encode()).hexdigest()[:8]
    return f"series-{number}-{short}" if isinstance(number, int) and number >= 0 else f"series-{short}"
