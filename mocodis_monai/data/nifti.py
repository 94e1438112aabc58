"""Read and write magnitude MR volumes as NIfTI, checked, and never half-written.

Spatial axes are named ``(x, y, z)`` in the order of the file, whatever its orientation; the affine is
that of the file. A file of shape ``(x, y)`` or ``(x, y, z, 1)`` is read as ``(x, y, z)`` and written
back with the shape that it had.
"""

from __future__ import annotations

import uuid
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
from nibabel.affines import voxel_sizes
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError

from mocodis_monai import __version__
from mocodis_monai.errors import InputError

__all__ = ["Volume", "check_outputs", "list_volumes", "read_volume", "staged", "stem", "write_volume"]

EXTENSIONS = (".nii.gz", ".nii")
# Interpolation and filtering leave small negative values in a magnitude image; a phase image has far larger.
NEGATIVE_TOLERANCE = 0.01
_MM_PER_UNIT = {"meter": 1e3, "mm": 1.0, "micron": 1e-3}
_READ_FAILURES = (ImageFileError, HeaderDataError, OSError, EOFError, ValueError, zlib.error, MemoryError)


class Volume(NamedTuple):
    """A checked magnitude volume, with what is needed to write another one like it."""

    data: np.ndarray  # float32, (x, y, z)
    affine: np.ndarray  # (4, 4), voxel to world, in the units of the file
    spacing_mm: tuple[float, float, float]  # along x, y, z
    path: Path
    shape: tuple[int, ...]  # as in the file: (x, y), (x, y, z) or (x, y, z, 1)
    header: Any  # the nibabel header of the file


def read_volume(path: str | Path) -> Volume:
    """Read a NIfTI magnitude volume as float32 with its scaling (slope, intercept) applied.

    Raises:
        InputError: the file is missing, is not a whole NIfTI image, is 4D, complex or RGB, holds NaN or
            infinite, constant or clearly negative values, or has no usable geometry.
    """
    path = Path(path)
    image = _open(path)
    _check_header(path, image)
    try:
        stored = image.get_fdata(dtype=np.float32, caching="unchanged")
    except _READ_FAILURES as error:
        raise InputError(
            f"{path}: the image data cannot be read ({_reason(error)}); "
            "the file is truncated, damaged or too large. Copy or convert it again."
        ) from error
    x, y, z = (*image.shape, 1)[:3]
    data = np.array(stored.reshape(x, y, z), order="C")  # a copy: the file may be mapped into memory
    _check_values(path, data)
    return Volume(
        data, _affine(path, image), _spacing_mm(path, image), path, tuple(image.shape), image.header
    )


def write_volume(path: str | Path, data: Any, like: Volume | str | Path) -> Path:
    """Write ``data`` as a float32 NIfTI with the shape, affine, codes and units of ``like``; atomic.

    Free text and extensions of the header, which may name a patient, are not carried over.

    Args:
        path: the file to make, ``.nii`` or ``.nii.gz``, in an existing folder. An older one is replaced.
        data: array or CPU tensor ``(x, y, z)``, or of the shape of the file of ``like``.
        like: the volume that was read, or the path of its file (then only its header is read).

    Raises:
        InputError: another extension, no such folder, ``path`` is the input, or the disk refuses.
        ValueError: ``data`` has another shape than ``like``, or is not finite.
    """
    path = Path(path)
    header, affine, shape, source = _geometry(like)
    check_outputs([path], inputs=[source])
    if not path.name.endswith(EXTENSIONS):
        raise InputError(
            f"{path}: the name of an image must end in .nii or .nii.gz. Change the output's name."
        )
    array = np.asarray(data, dtype=np.float32)
    if array.shape not in ((*shape, 1)[:3], shape):
        raise ValueError(f"data has shape {array.shape}, but {source.name} has {shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"data has {int((~np.isfinite(array)).sum())} values that are not finite")
    header = _anonymous(header)
    image_class = nib.Nifti2Image if isinstance(header, nib.Nifti2Header) else nib.Nifti1Image
    image = image_class(array.reshape(shape), affine, header)
    with staged(path) as (temporary,):
        nib.save(image, temporary)
    return path


def list_volumes(folder: str | Path) -> list[dict[str, str]]:
    """The ``.nii`` and ``.nii.gz`` files of a folder, by name, as records ``{"image": path}``.

    Raises:
        InputError: no such folder, no volume in it, or two files whose results would have the same name.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder. Give a folder with .nii or .nii.gz files.")
    files = sorted(
        f for f in folder.iterdir() if f.is_file() and f.name.endswith(EXTENSIONS) and f.name[0] != "."
    )
    if not files:
        raise InputError(f"{folder}: no .nii or .nii.gz file in this folder. Convert DICOM with dcm2niix.")
    first_of: dict[str, Path] = {}
    for file in files:
        other = first_of.setdefault(stem(file), file)
        if other != file:
            raise InputError(f"{folder}: {other.name} and {file.name} would get the same output. Rename one.")
    return [{"image": str(file)} for file in files]


def stem(path: str | Path) -> str:
    """The file name without ``.nii`` or ``.nii.gz``."""
    name = Path(path).name
    return next((name[: -len(e)] for e in EXTENSIONS if name.endswith(e)), Path(name).stem)


def check_outputs(outputs: Sequence[Path], inputs: Sequence[Path] = ()) -> None:
    """Refuse, before any work is done, outputs that cannot be written or would destroy something.

    Raises:
        InputError: a folder that is missing, an output that is a folder, an input, or given twice.
    """
    for index, path in enumerate(outputs):
        if not path.parent.is_dir():
            raise InputError(f"{path}: the folder {path.parent} does not exist. Make it first.")
        if path.is_dir():
            raise InputError(f"{path}: this is a folder. Give the name of a file to write.")
        if any(_same_file(path, source) for source in inputs):
            raise InputError(f"{path}: this would overwrite the input. Give the output another name.")
        if any(_same_file(path, other) for other in outputs[:index]):
            raise InputError(f"{path}: two outputs have this name. Give each its own.")


@contextmanager
def staged(*paths: Path) -> Iterator[tuple[Path, ...]]:
    """Temporary names beside ``paths``; renamed to them together at the end, or removed on any failure.

    Raises:
        InputError: the disk refuses to write or rename.
    """
    token = uuid.uuid4().hex[:12]
    temporaries = tuple(p.with_name(f".mocodis-{token}-{i}{_suffix(p)}") for i, p in enumerate(paths))
    placed: list[Path] = []
    try:
        yield temporaries
        for temporary, path in zip(temporaries, paths):
            temporary.replace(path)
            placed.append(path)
    except BaseException as error:
        for path in (*temporaries, *placed):
            path.unlink(missing_ok=True)
        if isinstance(error, OSError):
            where = ", ".join(str(p) for p in paths)
            raise InputError(
                f"{where}: cannot be written ({_reason(error)}). Check space and permissions."
            ) from error
        raise


def _open(path: Path) -> Any:
    if path.is_dir():
        raise InputError(
            f"{path}: this is a folder. Give one .nii or .nii.gz file; convert DICOM with dcm2niix."
        )
    if not path.exists():
        raise InputError(f"{path}: no such file. Check the path.")
    try:
        image = nib.load(path)
    except _READ_FAILURES as error:
        raise InputError(
            f"{path}: not a NIfTI image, or a damaged one ({_reason(error)}). "
            "Give a .nii or .nii.gz file; DICOM can be converted with dcm2niix."
        ) from error
    if not isinstance(image, (nib.Nifti1Image, nib.Nifti2Image)):
        raise InputError(
            f"{path}: this is a {type(image).__name__}, not a single-file NIfTI. Convert it to .nii.gz."
        )
    return image


def _check_header(path: Path, image: Any) -> None:
    dtype, shape = image.get_data_dtype(), tuple(image.shape)
    if dtype.kind == "c":
        raise InputError(f"{path}: complex data ({dtype}). Save its magnitude and give that.")
    if dtype.names or dtype.kind not in "fiu":
        raise InputError(
            f"{path}: RGB or other structured data ({dtype}). Give a grey-scale magnitude image."
        )
    if len(shape) < 2 or min(shape) < 1:
        raise InputError(
            f"{path}: shape {shape} has no voxels on some axis. Give an image of at least 2 axes."
        )
    if any(n > 1 for n in shape[3:]):
        count = int(np.prod(shape[3:]))
        raise InputError(
            f"{path}: shape {shape} is {len(shape)}D with {count} volumes. Split it and give one at a time."
        )
    _affine(path, image)
    _spacing_mm(path, image)


def _check_values(path: Path, data: np.ndarray) -> None:
    finite = np.isfinite(data)
    if not finite.all():
        count = int(data.size - finite.sum())
        raise InputError(
            f"{path}: {count} of {data.size} values are NaN or infinite. Replace them, for example by 0."
        )
    low, high = float(data.min()), float(data.max())
    if low == high:
        what = "all values are zero" if low == 0 else f"all values are {low:g}"
        raise InputError(f"{path}: {what}, so there is no image in it. Check the export.")
    if low < -NEGATIVE_TOLERANCE * max(high, 0.0):
        raise InputError(
            f"{path}: negative values (minimum {low:g}, maximum {high:g}), as in a phase image. "
            "Give the magnitude image."
        )


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
    return x, y, z


def _geometry(like: Volume | str | Path) -> tuple[Any, np.ndarray, tuple[int, ...], Path]:
    if isinstance(like, Volume):
        return like.header, like.affine, like.shape, like.path
    image = _open(Path(like))
    _check_header(Path(like), image)
    return image.header, image.affine, tuple(image.shape), Path(like)


def _anonymous(header: Any) -> Any:
    """A copy with float32 data and without free text, display range and extensions (DICOM, comments)."""
    header = header.copy()
    header.extensions.clear()
    for field in ("aux_file", "intent_name"):
        header[field] = b""
    for field in ("data_type", "db_name"):
        if field in header:  # NIfTI-2 has neither
            header[field] = b""
    header["descrip"] = f"MoCoDis {__version__}, research use only".encode()
    header["cal_min"] = header["cal_max"] = 0
    header.set_intent("none")
    header.set_data_dtype(np.float32)
    header.set_slope_inter(None, None)
    return header


def _same_file(path: Path, other: Path) -> bool:
    if path.exists() and other.exists():
        return path.samefile(other)
    return path.resolve() == other.resolve()


def _suffix(path: Path) -> str:
    return next((e for e in EXTENSIONS if path.name.endswith(e)), path.suffix)


def _reason(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(text.split())[:120]
