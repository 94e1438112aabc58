"""From the images of one series to a stack: one kind, one orientation, sorted, evenly spaced, nothing twice.

Patient coordinates of DICOM are LPS (left, posterior, superior); affines here are RAS, as in NIfTI.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mocodis_monai.data.dicom_headers import FrameHeader
from mocodis_monai.data.dicom_kinds import MULTI_FRAME
from mocodis_monai.errors import InputError, NotAScanError

__all__ = ["Stack", "stack_frames"]

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
# Direction cosines are written with 4 to 6 digits; a slice tilted by 0.1 degree differs by .002.
_ORIENTATION_TOLERANCE = 2e-3
# Of the distance between slices: positions are rounded in the header, a tenth is no rounding any more.
_EVEN_TOLERANCE = 0.05
_SAME_PLACE_MM = 1e-3
# Cosine between the planes of a localizer; stacks along discs or around a joint are tilted by far less than 80 degrees.
_RIGHT_ANGLE = 0.17


class Stack(NamedTuple):
    """Frames in the order of z, and the geometry of the volume ``(x, y, z)`` that they make."""

    frames: tuple[FrameHeader, ...]
    affine: np.ndarray  # (4, 4), voxel to RAS millimetres
    spacing_mm: tuple[float, float, float]  # along x, y, z


def stack_frames(path: Path, frames: Sequence[FrameHeader]) -> Stack:
    """Sort the frames along the normal of the slices and check that they make one volume.

    ``x`` runs along the columns, ``y`` along the rows, ``z`` along the normal (x, y, z right-handed).

    Raises:
        InputError: several series or objects, differing sizes or orientations, a slice twice, a
            missing one, uneven or sheared positions.
        NotAScanError: several volumes, or slices at right angles.
    """
    _check_one_series(path, frames)
    _check_same(path, frames)
    normal = _normal(frames[0])
    places = np.array([frame.position_mm for frame in frames]) @ normal
    order = np.argsort(places, kind="stable")
    ordered, places = [frames[i] for i in order], places[order]
    _check_no_slice_twice(path, ordered, places)
    step_mm = _check_even(path, ordered, places, normal)
    first = ordered[0]
    x_mm, y_mm = first.pixel_spacing_mm
    affine = np.eye(4)
    affine[:3, 0] = np.array(first.orientation[:3]) * x_mm
    affine[:3, 1] = np.array(first.orientation[3:]) * y_mm
    affine[:3, 2] = normal * step_mm
    affine[:3, 3] = first.position_mm
    return Stack(tuple(ordered), _LPS_TO_RAS @ affine, (x_mm, y_mm, step_mm))


def _check_one_series(path: Path, frames: Sequence[FrameHeader]) -> None:
    number_of = {frame.series: frame.series_number for frame in frames}
    if len(number_of) > 1:
        numbers = ", ".join(sorted(number_of.values())[:8])
        raise InputError(
            f"{path}: images of {len(number_of)} series (series numbers {numbers}) lie in one folder. "
            "Put each series into a folder of its own."
        )
    first_of: dict[tuple[str, int], FrameHeader] = {}
    for frame in frames:
        other = first_of.setdefault((frame.sop_instance, frame.frame), frame)
        if other is not frame:
            raise InputError(f"{path}: {other.path.name} and {frame.path.name} are the same image. Remove one.")
    files = {frame.path for frame in frames}
    if len(files) > 1 and any(frame.sop_class in MULTI_FRAME for frame in frames):
        raise InputError(f"{path}: {len(files)} files, multi-frame objects among them. Give one multi-frame file.")


def _check_same(path: Path, frames: Sequence[FrameHeader]) -> None:
    first = frames[0]
    for frame in frames[1:]:
        where = f"{path}: {_name(first)} and {_name(frame)}"
        if not np.allclose(frame.orientation, first.orientation, atol=_ORIENTATION_TOLERANCE):
            message = f"{where} have different orientations, as in a localizer. Give one series of parallel slices."
            upright = abs(_normal(frame) @ _normal(first)) < _RIGHT_ANGLE
            raise NotAScanError(message, "localizer") if upright else InputError(message)
        if frame.shape != first.shape:
            sizes = " and ".join(f"{f.shape[0]} x {f.shape[1]}" for f in (first, frame))
            raise InputError(f"{where} have {sizes} pixels. Give one series of equal slices.")
        if not np.allclose(frame.pixel_spacing_mm, first.pixel_spacing_mm, rtol=1e-3):
            raise InputError(f"{where} have different pixel spacings. Give one series of equal slices.")
        if frame.frame_of_reference != first.frame_of_reference:
            raise InputError(f"{where} have different frames of reference. Give one series of one examination.")


def _check_no_slice_twice(path: Path, frames: Sequence[FrameHeader], places: np.ndarray) -> None:
    steps = np.flatnonzero(np.diff(places, append=np.inf) >= _SAME_PLACE_MM)  # the last frame of each place
    counts = np.diff(steps, prepend=-1)
    if counts.max() == 1:
        return
    index = int(np.flatnonzero(counts > 1)[0])
    one, other = frames[steps[index] - 1], frames[steps[index]]
    differences = one.differences(other)
    what = f"they differ in {', '.join(differences)}" if differences else "their headers do not say why"
    message = (
        f"{path}: {_name(one)} and {_name(other)} lie at the same place ({what}). "
        "Split the series and give one image per slice."
    )
    several = differences and counts.min() == counts.max()  # as many at each place: whole volumes
    raise NotAScanError(message, "several volumes") if several else InputError(message)


def _check_even(path: Path, frames: Sequence[FrameHeader], places: np.ndarray, normal: np.ndarray) -> float:
    """The distance between slices in mm; of a single slice what its header says, else 1."""
    if len(frames) == 1:
        return frames[0].thickness_mm or 1.0
    steps = np.diff(places)
    step_mm = float(np.median(steps))
    for index, step in enumerate(steps):
        between = f"between {_name(frames[index])} and {_name(frames[index + 1])}"
        count = round(step / step_mm)
        if abs(step - count * step_mm) <= _EVEN_TOLERANCE * step_mm and count > 1:
            missing = f"{count - 1} slice{'s are' if count > 2 else ' is'} missing"
            raise InputError(f"{path}: {missing} {between}. Export the whole series.")
        if abs(step - step_mm) > _EVEN_TOLERANCE * step_mm:
            raise InputError(
                f"{path}: uneven slices: {step:.3f} mm {between}, {step_mm:.3f} mm elsewhere. "
                "Export the whole series, or one stack of it."
            )
    offsets = np.array([frame.position_mm for frame in frames]) - np.outer(places, normal)
    if np.abs(offsets - offsets[0]).max() > _EVEN_TOLERANCE * max(step_mm, min(frames[0].pixel_spacing_mm)):
        raise InputError(f"{path}: the slices are shifted sideways against each other. Give one straight stack.")
    return float(places[-1] - places[0]) / (len(frames) - 1)


def _normal(frame: FrameHeader) -> np.ndarray:
    """Unit vector across the slice."""
    normal = np.cross(frame.orientation[:3], frame.orientation[3:])
    return normal / np.linalg.norm(normal)


def _name(frame: FrameHeader) -> str:
    return f"frame {frame.frame + 1}" if frame.sop_class in MULTI_FRAME else frame.path.name
