"""Read and write magnitude MR volumes as NIfTI, checked, and never half-written.

Spatial axes are named ``(x, y, z)`` in the order of the file, whatever its orientation; the affine is
that of the file. A file of shape ``(x, y)`` or ``(x, y, z, 1)`` is read as ``(x, y, z)`` and written
back with the shape that it had.
"""

from __future__ import annotations

import gzip
import math
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import nibabel as nib
import numpy as np
from nibabel.affines import voxel_sizes
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError

from mocodis_monai import __version__
from mocodis_monai.data.files import EXTENSIONS, MAX_BYTES, check_outputs, check_size, reason, staged
from mocodis_monai.data.intensity import check_magnitude
from mocodis_monai.errors import InputError, NotAScanError

__all__ = [
    "Geometry",
    "Volume",
    "is_our_nifti",
    "is_our_volume",
    "read_geometry",
    "read_volume",
    "write_volume",
]

# From microscopy to far beyond any scanner: a voxel size outside is a damaged header.
SPACING_MM = (1e-3, 1e3)
_MM_PER_UNIT = {"meter": 1e3, "mm": 1.0, "micron": 1e-3}
_READ_FAILURES = (ImageFileError, HeaderDataError, OSError, EOFError, KeyError, ValueError, zlib.error, MemoryError)
_CLASSES: dict[int, Any] = {348: nib.Nifti1Image, 540: nib.Nifti2Image}  # by the length of the header
_CHUNK = 1 << 20
_GZIP = b"\x1f\x8b"
# What the header's description says of a result.
_RESULT = re.compile(rb"MoCoDis [^:]+: (?!simulated)")


class Volume(NamedTuple):
    """A checked magnitude volume, with what is needed to write another one like it."""

    data: np.ndarray  # float32, (x, y, z)
    affine: np.ndarray  # (4, 4), voxel to world, in the units of the file
    spacing_mm: tuple[float, float, float]  # along x, y, z
    path: Path
    shape: tuple[int, ...]  # as in the file: (x, y), (x, y, z) or (x, y, z, 1)
    header: Any  # the nibabel header of the file
    phase_encode_axis: int | None = None  # 0, 1 or 2, where the header (dim_info) says it; never an axis of one voxel


class Geometry(NamedTuple):
    """Voxels and their size along x, y, z, and the axis (0, 1 or 2) of the phase encoding where the header says it."""

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    phase_encode_axis: int | None


def read_volume(path: str | Path, max_bytes: int = MAX_BYTES) -> Volume:
    """Read a NIfTI magnitude volume as float32 with its scaling (slope, intercept) applied.

    Args:
        path: a ``.nii`` or ``.nii.gz`` file.
        max_bytes: the most that the image may take, decompressed and as float32; looked up in its header before
            anything is decompressed, so that a gzip bomb does no harm.

    Raises:
        InputError: the file is missing, is not a whole NIfTI image, is too large, holds NaN or infinite, constant or
            clearly negative values, or has no usable geometry; NotAScanError if it is 4D, complex, RGB or of phases.
    """
    path = Path(path)
    with _stream(path) as stream:
        image = _open(path, stream, max_bytes)
        try:
            # What overflows becomes infinite, and that is refused below.
            with np.errstate(over="ignore", invalid="ignore"):
                stored = image.get_fdata(dtype=np.float32, caching="unchanged")
            _read_to_end(path, stream, max_bytes)
        except _READ_FAILURES as error:
            if isinstance(error, InputError):
                raise
            raise InputError(
                f"{path}: the image data cannot be read ({reason(error)}); "
                "the file is truncated, damaged or too large. Copy or convert it again."
            ) from error
    x, y, z = (*image.shape, 1)[:3]
    data = np.array(stored.reshape(x, y, z), order="C")  # a copy: the file may be mapped into memory
    del stored
    _check_values(path, data)
    affine, spacing_mm, phase = _affine(path, image), _spacing_mm(path, image), _phase_encode_axis(image)
    return Volume(data, affine, spacing_mm, path, tuple(image.shape), image.header, phase)


def read_geometry(path: str | Path) -> Geometry:
    """Size, voxel size and phase-encode axis of a NIfTI volume by its header alone.

    Raises:
        InputError: the file is missing, or its header is not that of an image that :func:`read_volume` takes.
    """
    path = Path(path)
    with _stream(path) as stream:
        image = _open(path, stream, MAX_BYTES)
    x, y, z = (*image.shape, 1)[:3]
    return Geometry((x, y, z), _spacing_mm(path, image), _phase_encode_axis(image))


def is_our_volume(volume: Volume) -> bool:
    """Whether it is a result of a correction that :func:`write_volume` wrote; simulated motion is none."""
    return _is_ours(volume.header)


def write_volume(path: str | Path, data: Any, like: Volume | str | Path, what: str = "corrected") -> Path:
    """Write ``data`` as a float32 NIfTI with the shape, affine, codes and units of ``like``; atomic.

    Free text and extensions of the header, which may name a patient, are not carried over.

    Args:
        path: the file to make, ``.nii`` or ``.nii.gz``, in an existing folder. An older one is replaced.
        data: array or CPU tensor ``(x, y, z)``, or of the shape of the file of ``like``.
        like: the volume that was read, or the path of its file (then only its header is read).
        what: what it is, for the header: "uncertainty", say; "simulated" and more where no scan was corrected.

    Raises:
        InputError: another extension, no such folder, ``path`` is the input, or the disk refuses.
        ValueError: ``data`` has another shape than ``like``, or is not finite.
    """
    path = Path(path)
    header, affine, shape, source = _geometry(like)
    check_outputs([path], inputs=[source])
    if not path.name.lower().endswith(EXTENSIONS):
        raise InputError(
            f"{path}: the name of an image must end in .nii or .nii.gz. Change the output's name."
        )
    array = np.asarray(data, dtype=np.float32)
    if array.shape not in ((*shape, 1)[:3], shape):
        raise ValueError(f"data: got shape {array.shape}; allowed is that of {source.name}, {shape}. Give all voxels.")
    if not np.isfinite(array).all():
        count = int((~np.isfinite(array)).sum())
        raise ValueError(f"data: got {count} values that are NaN or infinite. Replace them, for example by 0.")
    header = _anonymous(header, what)
    image_class = nib.Nifti2Image if isinstance(header, nib.Nifti2Header) else nib.Nifti1Image
    image = image_class(array.reshape(shape), affine, header)
    with staged(path) as (temporary,):
        nib.save(image, temporary)
    return path


def is_our_nifti(path: Path) -> bool:
    """Whether a file is one as :func:`is_our_volume` has it, by its header alone; never raises."""
    try:
        return _is_ours(nib.load(path).header)
    except _READ_FAILURES:
        return False


def _is_ours(header: Any) -> bool:
    return _RESULT.match(header["descrip"].item()) is not None


@contextmanager
def _stream(path: Path) -> Iterator[IO[bytes]]:
    """The file, decompressed as it is read."""
    if path.is_dir():
        raise InputError(f"{path}: this is a folder. Give one .nii or .nii.gz file.")
    if not path.is_file():
        raise InputError(f"{path}: no such file. Check the path.")
    if not path.name.lower().endswith(EXTENSIONS):
        raise InputError(f"{path}: the name does not end in .nii or .nii.gz. Convert the image to NIfTI.")
    try:
        with gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb") as stream:
            yield cast("IO[bytes]", stream)
    except PermissionError as error:
        raise InputError(f"{path}: cannot be opened ({reason(error)}). Check its permissions.") from error


def _open(path: Path, stream: IO[bytes], max_bytes: int) -> Any:
    """The image behind ``stream``, its header checked and none of its data read yet."""
    try:
        image_class = _class_of(path, stream, max_bytes)
        image = image_class.from_stream(stream)
    except _READ_FAILURES as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{path}: not a NIfTI image, or a damaged one ({reason(error)}). Give a whole .nii or .nii.gz file."
        ) from error
    _check_header(path, image)
    return image


def _class_of(path: Path, stream: IO[bytes], max_bytes: int) -> Any:
    """NIfTI-1 or NIfTI-2; refuses what would be too large before its extensions or data are decompressed."""
    block = stream.read(max(_CLASSES))
    stream.seek(0)
    size = next((n for n in _CLASSES if n in (int.from_bytes(block[:4], order) for order in ("little", "big"))), None)
    if size is None or len(block) < size:
        if block[:2] == _GZIP and not isinstance(stream, gzip.GzipFile):
            raise InputError(f"{path}: it is gzip-compressed, which its name does not say. Rename it to .nii.gz.")
        raise ImageFileError("it does not begin as one")
    header = _CLASSES[size].header_class(block[:size], check=False)
    if bytes(header["magic"])[:2] != b"n+":
        raise ImageFileError("its header and its data are in two files")
    num_axes, start = int(header["dim"][0]), float(header["vox_offset"])
    if not 1 <= num_axes <= 7 or not 0 <= start < math.inf:
        raise ImageFileError(f"{num_axes} axes, data at byte {start:g}")
    shape = tuple(int(n) for n in header["dim"][1 : num_axes + 1])
    as_stored = int(start) + math.prod(max(n, 0) for n in shape) * header.get_data_dtype().itemsize
    check_size(path, shape, max_bytes, as_stored)
    return _CLASSES[size]


def _read_to_end(path: Path, stream: IO[bytes], max_bytes: int) -> None:
    """To the end of a compressed file, where its checksum is: damaged voxels decompress without complaint."""
    if not isinstance(stream, gzip.GzipFile):
        return
    while stream.read(_CHUNK):
        if stream.tell() > max_bytes:
            raise InputError(
                f"{path}: it goes on after the image, beyond {max_bytes / 1e9:g} GB. Convert the image again."
            )


def _check_header(path: Path, image: Any) -> None:
    dtype, shape = image.get_data_dtype(), tuple(image.shape)
    if dtype.kind == "c":
        raise NotAScanError(f"{path}: complex data ({dtype}). Save its magnitude and give that.", "complex")
    if dtype.names or dtype.kind not in "fiu":
        message = f"{path}: RGB or other structured data ({dtype}). Give a grey-scale magnitude image."
        raise NotAScanError(message, "colour")
    if len(shape) < 2 or min(shape) < 1:
        raise InputError(
            f"{path}: shape {shape} has no voxels on some axis. Give an image of at least 2 axes."
        )
    if any(n > 1 for n in shape[3:]):
        count = int(np.prod(shape[3:]))
        message = f"{path}: shape {shape} is {len(shape)}D with {count} volumes. Split it and give one at a time."
        raise NotAScanError(message, "several volumes")
    _affine(path, image)
    _spacing_mm(path, image)


def _check_values(path: Path, data: np.ndarray) -> None:
    finite = np.isfinite(data)
    if not finite.all():
        count = int(data.size - finite.sum())
        raise InputError(
            f"{path}: {count} of {data.size} values are NaN or infinite. Replace them, for example by 0."
        )
    check_magnitude(path, data)


def _affine(path: Path, image: Any) -> np.ndarray:
    affine = np.asarray(image.affine, dtype=np.float64)
    sizes = voxel_sizes(affine)
    # The determinant of the unit axes is 1 for a box and 0 when two of them fall together.
    if not np.isfinite(affine).all() or sizes.min() <= 0 or abs(np.linalg.det(affine[:3, :3] / sizes)) < 1e-3:
        raise InputError(
            f"{path}: the affine is singular or not finite (voxel sizes {np.round(sizes, 4).tolist()}). "
            "Mend the header's sform, qform or pixdim."
        )
    return affine


def _spacing_mm(path: Path, image: Any) -> tuple[float, float, float]:
    try:
        unit = image.header.get_xyzt_units()[0]
    except KeyError as error:
        raise InputError(f"{path}: unknown unit code {error} in xyzt_units. Set it to mm.") from error
    x, y, z = (float(v) * _MM_PER_UNIT.get(unit, 1.0) for v in voxel_sizes(image.affine))
    low, high = SPACING_MM
    if min(x, y, z) < low or max(x, y, z) > high:
        raise InputError(
            f"{path}: voxel sizes {x:g} x {y:g} x {z:g} mm, where {low:g} to {high:g} mm are allowed. "
            "Mend the header's affine or its unit."
        )
    return x, y, z


def _phase_encode_axis(image: Any) -> int | None:
    """What the header says; None where it says nothing, or names an axis of one voxel, along which nothing is seen."""
    axis = image.header.get_dim_info()[1]
    return None if axis is None or (*image.shape, 1)[axis] == 1 else axis


def _geometry(like: Volume | str | Path) -> tuple[Any, np.ndarray, tuple[int, ...], Path]:
    if isinstance(like, Volume):
        return like.header, like.affine, like.shape, like.path
    with _stream(Path(like)) as stream:
        image = _open(Path(like), stream, MAX_BYTES)
    return image.header, image.affine, tuple(image.shape), Path(like)


def _anonymous(header: Any, what: str) -> Any:
    """A copy with float32 data and without free text, display range and extensions (DICOM, comments)."""
    header = header.copy()
    header.extensions.clear()
    for field in ("aux_file", "intent_name"):
        header[field] = b""
    for field in ("data_type", "db_name", "unused_str"):
        if field in header:  # NIfTI-1 has the first two, NIfTI-2 the last
            header[field] = b""
    header["descrip"] = f"MoCoDis {__version__}: {what}, research use only".encode()
    header["cal_min"] = header["cal_max"] = 0
    header.set_intent("none")
    header.set_data_dtype(np.float32)
    header.set_slope_inter(None, None)
    return header
