"""Read a DICOM series as a checked magnitude volume: single-frame MR images in a folder, or one enhanced object.

Spatial axes are named ``(x, y, z)``: x along the columns, y along the rows, z along the normal of the
slices; the affine maps voxels to RAS millimetres, as in NIfTI. The derived series is written by
:mod:`mocodis_monai.data.dicom_derived`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from mocodis_monai.data.dicom_files import dicom_files, is_dicom, open_dataset, quiet
from mocodis_monai.data.dicom_geometry import stack_frames
from mocodis_monai.data.dicom_headers import FrameHeader, read_headers
from mocodis_monai.data.dicom_pixels import padding_mask, stored_values, to_intensities
from mocodis_monai.data.files import MAX_BYTES, check_size
from mocodis_monai.data.intensity import check_magnitude
from mocodis_monai.errors import InputError

__all__ = ["DicomScan", "is_dicom", "read_dicom"]

_PHASE_ENCODE_AXES = {"ROW": 0, "COL": 1}


class DicomScan(NamedTuple):
    """A checked magnitude volume, with what is needed to write a series derived from it."""

    image: torch.Tensor  # float32, (x, y, z), rescale slope and intercept applied
    affine: np.ndarray  # (4, 4), voxel to RAS millimetres
    spacing_mm: tuple[float, float, float]  # along x, y, z
    phase_encode_axis: int | None  # 0 (x) or 1 (y) by InPlanePhaseEncodingDirection, None where it says neither
    slice_axis: int  # always 2
    path: Path  # the folder or file that was read
    frames: tuple[FrameHeader, ...]  # one per slice, in the order of z


def read_dicom(path: str | Path, files: Sequence[Path] | None = None, max_bytes: int = MAX_BYTES) -> DicomScan:
    """Read a folder with one single-frame series, or with one enhanced object, or a single file of either kind.

    Files in subfolders, hidden ones and those whose names say that they are no DICOM are left out.

    Args:
        path: the folder or file.
        files: the files of the series, where the folder holds several series.
        max_bytes: the most that the image may take as float32; looked up in the headers.

    Raises:
        InputError: no DICOM, not one series of magnitude MR images, slices that make no even stack
            (missing, twice, tilted), or pixel data that cannot be decoded or holds no image; NotAScanError if it is
            a sound series of another kind.
    """
    path = Path(path)
    with quiet():
        stack = stack_frames(path, read_headers(files or dicom_files(path)))
        check_size(path, (*stack.frames[0].shape, len(stack.frames)), max_bytes)
        image = _read_pixels(stack.frames)
    _check_values(path, image)
    directions = {frame.phase_encoding for frame in stack.frames}
    direction = directions.pop() if len(directions) == 1 else ""
    return DicomScan(
        image=torch.from_numpy(image),
        affine=stack.affine,
        spacing_mm=stack.spacing_mm,
        phase_encode_axis=_PHASE_ENCODE_AXES.get(direction),
        slice_axis=2,
        path=path,
        frames=stack.frames,
    )


def _read_pixels(frames: Sequence[FrameHeader]) -> np.ndarray:
    """Intensities ``(x, y, z)``, float32; each file is decoded once."""
    image = np.empty((*frames[0].shape, len(frames)), dtype=np.float32)
    slices_of: dict[Path, list[int]] = {}
    for z, frame in enumerate(frames):
        slices_of.setdefault(frame.path, []).append(z)
    for file, indices in slices_of.items():
        dataset = open_dataset(file, pixels=True)
        stored = stored_values(file, dataset)
        for z in indices:
            plane = stored[frames[z].frame]
            padding = padding_mask(dataset, plane)
            image[:, :, z] = to_intensities(plane, frames[z].slope, frames[z].intercept, padding).T
    return image


def _check_values(path: Path, image: np.ndarray) -> None:
    if not np.isfinite(image).all():
        raise InputError(f"{path}: the rescale slope or intercept gives values beyond float32. Export it again.")
    check_magnitude(path, image)
