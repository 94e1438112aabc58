"""Cases from the user's own still scans: their slices with simulated motion."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from mocodis_monai.data.records import Record, slice_records, spread_off_ends
from mocodis_monai.data.slices import read_canonical
from mocodis_monai.errors import InputError
from mocodis_monai.evaluation.cases import Case, Cell
from mocodis_monai.evaluation.grid import DISPLACEMENTS_MM, load_record, simulated_cells
from mocodis_monai.inferers import choose_slice_axis
from mocodis_monai.metrics.reference import SSIM_WINDOW
from mocodis_monai.motion import RIGID_FAMILIES

__all__ = ["StillScan", "cells_of_still_scans", "check_slices"]

FEWEST_SLICES, FEWEST_QUICK = 6, 2
"""Slices in a cell: as many as there are scans, but at least so many."""
MIN_FOREGROUND = 0.1


class StillScan(NamedTuple):
    """A scan of a subject that lay still; ``name`` tells it from all others, wherever the files lie."""

    region: str
    subject: str
    path: Path
    name: str


def cells_of_still_scans(scans: Sequence[StillScan], quick: bool = False) -> Iterator[tuple[Cell, list[Case]]]:
    """Rigid families by severity for each region, severity zero included, on slices spread over each scan.

    Slices are cut across the axis with the largest voxels; a scan of one slice gives that one. ``quick`` takes fewer
    slices, and only moderate and severe motion. All slices are read before the first cell, so that an unfit scan is
    said before the work.

    Raises:
        InputError: a scan cannot be read, or shows too little.
    """
    displacements_mm = DISPLACEMENTS_MM[1:3] if quick else DISPLACEMENTS_MM
    cells = []
    for region in dict.fromkeys(scan.region for scan in scans):
        found = [scan for scan in scans if scan.region == region]
        count = -(-(FEWEST_QUICK if quick else FEWEST_SLICES) // len(found))
        clean = [(record, load_record(record)) for scan in found for record in _records(scan, count)]
        cells.append(simulated_cells(region, clean, RIGID_FAMILIES, displacements_mm, lambda family: "subject"))
    return chain.from_iterable(cells)


def check_slices(path: Path, shape: Sequence[int], axis: int) -> None:
    """Refuse a volume (x, y, z) whose slices across ``axis`` are smaller than the window of SSIM.

    Raises:
        InputError: they are.
    """
    in_plane = [size for other, size in enumerate(shape) if other != axis]
    if min(in_plane) < SSIM_WINDOW:
        raise InputError(
            f"{path}: its slices have {in_plane[0]} x {in_plane[1]} voxels; SSIM needs {SSIM_WINDOW} along each side. "
            "Leave the scan out, or of a pair the still one, to look at the moved one alone."
        )


def _records(scan: StillScan, count: int) -> list[Record]:
    """``count`` slices of a scan, off its ends; fewer where it has not as many."""
    volume = read_canonical(scan.path)
    axis = choose_slice_axis(volume.data.shape, volume.spacing_mm)
    check_slices(scan.path, volume.data.shape, axis)
    try:
        slices = slice_records(scan.path, axes=(axis,), min_foreground=MIN_FOREGROUND)
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{scan.path}: no slice shows tissue on {MIN_FOREGROUND:.0%} of its pixels. Crop the air away, or leave "
            "the scan out."
        ) from error
    name = f"{scan.subject} {scan.name} slice"
    return [
        {**record, "subject": scan.subject, "case": f"{name} {record['image']['index']}"}
        for record in spread_off_ends(slices, count)
    ]
