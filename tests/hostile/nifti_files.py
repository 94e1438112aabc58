"""Files that say they are NIfTI and are unfit: how each is made, and words that its refusal must hold."""

from __future__ import annotations

import bz2
import gzip
import io
import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np


class Unfit(NamedTuple):
    """A file: its name, what makes it there, and words of the message."""

    name: str
    make: Callable[[Path], object]
    words: str


def values(shape: tuple[int, ...] = (6, 5, 4)) -> np.ndarray:
    return np.arange(1, np.prod(shape) + 1, dtype=np.float32).reshape(shape)


def raw(data: np.ndarray | None = None, affine=None, image_class=nib.Nifti1Image) -> bytearray:
    """A good file, not compressed."""
    image = image_class(values() if data is None else data, np.eye(4) if affine is None else affine)
    return bytearray(image.to_bytes())


def patched(offset: int, value: bytes) -> bytes:
    """A good file with some bytes of its header exchanged, as no library would write them."""
    content = raw()
    content[offset : offset + len(value)] = value
    return bytes(content)


def one(value: float, dtype=np.float32) -> np.ndarray:
    data = values().astype(dtype)
    data[1, 2, 3] = value
    return data


def noise() -> np.ndarray:
    return np.random.default_rng(0).random((16, 16, 16), dtype=np.float32)


def damaged_gzip(at: int, by: int = 0x55) -> bytes:
    content = bytearray(gzip.compress(bytes(raw(noise()))))
    content[at] ^= by
    return bytes(content)


def zipped() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("scan.nii", bytes(raw()))
    return content.getvalue()


def zeros_gzip(first: bytes, num_zeros: int) -> bytes:
    """A small file that decompresses to ``first`` and very many zeros."""
    packer = zlib.compressobj(9, wbits=31)
    parts = [packer.compress(first)]
    parts += [packer.compress(bytes(1 << 20)) for _ in range(num_zeros >> 20)]
    return b"".join([*parts, packer.flush()])


def dims(*sizes: int) -> bytes:
    return struct.pack("<8h", *sizes, *[1] * (8 - len(sizes)))


def affine(*diagonal: float) -> np.ndarray:
    return np.diag([*diagonal, 1.0])


def collapsed() -> np.ndarray:
    flat = np.eye(4)
    flat[:3, 1] = flat[:3, 0]
    return flat


def saved(image_class, data: np.ndarray) -> Callable[[Path], object]:
    return lambda path: nib.save(image_class(data, np.eye(4)), path)


def put(content: bytes | bytearray | Callable[[], bytes | bytearray]) -> Callable[[Path], object]:
    """Writes the content; made only when it is asked for."""
    return lambda path: path.write_bytes(content() if callable(content) else content)


F32 = struct.Struct("<f").pack
RGB = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
RGBA = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1"), ("A", "u1")])
# With these the limit is 10 MB; the files themselves are small.
BOMBS = {
    "32767^3 voxels": Unfit("s.nii.gz", put(lambda: gzip.compress(patched(40, dims(3, *[32767] * 3)))), "GB are"),
    "a small image, then 64 MB of zeros": Unfit("s.nii.gz", put(lambda: zeros_gzip(bytes(raw()), 64 << 20)), "goes on"),
    "data behind 64 MB of zeros": Unfit(
        "s.nii.gz", put(lambda: zeros_gzip(patched(108, F32(64e6)), 64 << 20)), "GB are allowed"
    ),
    "bytes that become floats": Unfit(
        "s.nii.gz", put(lambda: gzip.compress(raw(np.ones((200, 200, 100), "u1")))), "GB are allowed"
    ),
    "a long second member": Unfit(
        "s.nii.gz", put(lambda: gzip.compress(raw()) + zeros_gzip(b"", 64 << 20)), "goes on"
    ),
    "7 axes whose product overflows": Unfit("s.nii", put(lambda: patched(40, dims(7, *[32767] * 7))), "GB"),
    "NIfTI-2 with 2^40 voxels": Unfit("s.nii", put(lambda: nifti2(struct.pack("<4q", 3, 1 << 20, 1 << 20, 1))), "GB"),
}


def nifti2(dim: bytes) -> bytes:
    content = raw(image_class=nib.Nifti2Image)
    content[16 : 16 + len(dim)] = dim
    return bytes(content)


UNFIT = {
    "missing": Unfit("s.nii", lambda path: None, "no such file"),
    "a link to nowhere": Unfit("s.nii", lambda path: path.symlink_to("nowhere.nii"), "no such file"),
    "a pipe": Unfit("s.nii", lambda path: os.mkfifo(path), "no such file"),
    "a folder": Unfit("s.nii", lambda path: path.mkdir(), "no NIfTI"),
    "empty": Unfit("s.nii", put(b""), "not a NIfTI image"),
    "empty, compressed": Unfit("s.nii.gz", put(lambda: gzip.compress(b"")), "not a NIfTI image"),
    "no bytes for gzip": Unfit("s.nii.gz", put(b""), "not a NIfTI image"),
    "text": Unfit("s.nii", put(b"hello " * 200), "not a NIfTI image"),
    "text, compressed": Unfit("s.nii.gz", put(lambda: gzip.compress(b"hello " * 200)), "not a NIfTI image"),
    "not compressed by its name": Unfit("s.nii.gz", put(raw), "not a NIfTI image"),
    "compressed against its name": Unfit("s.nii", put(lambda: gzip.compress(raw())), "Rename it to .nii.gz"),
    "a zip archive": Unfit("s.nii.gz", put(zipped), "not a NIfTI image"),
    "a PNG": Unfit("s.nii", put(b"\x89PNG\r\n\x1a\n" + bytes(600)), "not a NIfTI image"),
    "bzip2": Unfit("s.nii.bz2", put(lambda: bz2.compress(bytes(raw()))), "does not end in .nii"),
    "MGH": Unfit("s.mgz", saved(nib.MGHImage, values()), "does not end in .nii"),
    "Analyze": Unfit("s.img", saved(nib.AnalyzeImage, values()), "does not end in .nii"),
    "half a header": Unfit("s.nii", put(lambda: raw()[:200]), "not a NIfTI image"),
    "a header alone": Unfit("s.nii", put(lambda: raw()[:352]), "truncated"),
    "half the data": Unfit("s.nii", put(lambda: raw(noise())[:9000]), "truncated"),
    "half the data, compressed whole": Unfit("s.nii.gz", put(lambda: gzip.compress(raw(noise())[:9000])), "truncated"),
    "half a compressed file": Unfit("s.nii.gz", put(lambda: gzip.compress(raw(noise()))[:9000]), "truncated"),
    "no gzip checksum": Unfit("s.nii.gz", put(lambda: gzip.compress(raw(noise()))[:-8]), "truncated"),
    "another gzip checksum": Unfit("s.nii.gz", put(lambda: damaged_gzip(-6)), "damaged"),
    "a damaged byte in the compressed data": Unfit("s.nii.gz", put(lambda: damaged_gzip(9000)), "damaged"),
    "a gzip method that does not exist": Unfit("s.nii.gz", put(lambda: damaged_gzip(2)), "not a NIfTI image"),
    "half a NIfTI-2 header": Unfit("s.nii", put(lambda: raw(image_class=nib.Nifti2Image)[:400]), "not a NIfTI image"),
    "wrong magic": Unfit("s.nii", put(lambda: patched(344, b"x+1\0")), "not a NIfTI image"),
    "the magic of a pair": Unfit("s.nii", put(lambda: patched(344, b"ni1\0")), "two files"),
    "another header size": Unfit("s.nii", put(lambda: patched(0, struct.pack("<i", 349))), "not a NIfTI image"),
    "no axes": Unfit("s.nii", put(lambda: patched(40, dims(0))), "not a NIfTI image"),
    "eight axes": Unfit("s.nii", put(lambda: patched(40, dims(8))), "not a NIfTI image"),
    "minus three axes": Unfit("s.nii", put(lambda: patched(40, dims(-3))), "not a NIfTI image"),
    "one axis": Unfit("s.nii", put(lambda: raw(values((6,)))), "at least 2 axes"),
    "an axis of size zero": Unfit("s.nii", put(lambda: patched(40, dims(3, 6, 0, 4))), "no voxels"),
    "an axis of negative size": Unfit("s.nii", put(lambda: patched(40, dims(3, 6, -5, 4))), "no voxels"),
    "4D": Unfit("s.nii.gz", put(lambda: gzip.compress(raw(values((6, 5, 4, 3))))), "4D with 3 volumes"),
    "5D": Unfit("s.nii", put(lambda: raw(values((6, 5, 4, 1, 3)))), "5D with 3 volumes"),
    "7D": Unfit("s.nii", put(lambda: raw(values((3, 2, 2, 2, 2, 2, 2)))), "7D"),
    "RGB": Unfit("s.nii", put(lambda: raw(np.zeros((6, 5, 4), RGB))), "RGB"),
    "RGBA": Unfit("s.nii", put(lambda: raw(np.zeros((6, 5, 4), RGBA))), "RGB"),
    "complex64": Unfit("s.nii", put(lambda: raw(values().astype(np.complex64))), "complex"),
    "complex128": Unfit("s.nii", put(lambda: raw(values().astype(np.complex128))), "complex"),
    "a data type that does not exist": Unfit("s.nii", put(lambda: patched(70, struct.pack("<h", 9999))), "not a NIfTI"),
    "one bit per voxel": Unfit("s.nii", put(lambda: patched(70, struct.pack("<h", 1))), "not a NIfTI image"),
    "NaN": Unfit("s.nii", put(lambda: raw(one(np.nan))), "1 of 120 values are NaN"),
    "all NaN": Unfit("s.nii", put(lambda: raw(values() * np.nan)), "120 of 120 values are NaN"),
    "infinity": Unfit("s.nii", put(lambda: raw(one(np.inf))), "NaN or infinite"),
    "minus infinity": Unfit("s.nii", put(lambda: raw(one(-np.inf))), "NaN or infinite"),
    "more than float32 holds": Unfit("s.nii", put(lambda: raw(one(1e300, np.float64))), "NaN or infinite"),
    "a slope that overflows": Unfit("s.nii", put(lambda: patched(112, F32(3e38))), "NaN or infinite"),
    "zeros": Unfit("s.nii", put(lambda: raw(values() * 0)), "all values are zero"),
    "one value everywhere": Unfit("s.nii", put(lambda: raw(values() * 0 + 7)), "all values are 7"),
    "nothing above zero": Unfit("s.nii", put(lambda: raw(-values())), "negative values"),
    "a phase image": Unfit("s.nii", put(lambda: raw(values() - 60)), "negative values"),
    "a mask": Unfit("s.nii", put(lambda: raw((values() > 60).astype("u1"))), "a mask or a map of labels"),
    "labels": Unfit("s.nii", put(lambda: raw(np.kron(values((3, 2, 1)), np.ones((9, 9, 9), "f4")))), "6 values"),
    "a result": Unfit("s.nii", put(lambda: patched(148, b"MoCoDis 0.1.0: corrected")), "has corrected this already"),
    "two axes that fall together": Unfit("s.nii", put(lambda: raw(affine=collapsed())), "singular"),
    "NaN in the affine": Unfit("s.nii", put(lambda: patched_affine(np.nan)), "not finite"),
    "infinity in the affine": Unfit("s.nii", put(lambda: patched_affine(np.inf)), "not finite"),
    "voxels without size": Unfit("s.nii", put(lambda: patched_affine(0)), "voxel sizes"),
    "voxels of a kilometre": Unfit("s.nii", put(lambda: raw(affine=affine(1e6, 1, 1))), "voxel sizes"),
    "voxels of an atom": Unfit("s.nii", put(lambda: raw(affine=affine(1e-7, 1e-7, 1e-7))), "voxel sizes"),
    "a unit that does not exist": Unfit("s.nii", put(lambda: patched(123, b"\x07")), "xyzt_units"),
    "data before the file": Unfit("s.nii", put(lambda: patched(108, F32(-352))), "not a NIfTI image"),
    "data nowhere": Unfit("s.nii", put(lambda: patched(108, F32(np.nan))), "not a NIfTI image"),
    "data behind the file": Unfit("s.nii", put(lambda: patched(108, F32(5e5))), "truncated"),
    "an extension without end": Unfit("s.nii", put(lambda: extended(2**31 - 1)), "not a NIfTI image"),
    "a name that steers the terminal": Unfit("s\x1b[2J\n.nii", put(b"x"), "not a NIfTI image"),
}

# Those that are sound and of another kind, so that a folder may hold them.
OTHER_KINDS = {"4D", "5D", "7D", "RGB", "RGBA", "complex64", "complex128"}
OTHER_KINDS |= {"a phase image", "a mask", "labels", "a result"}


def patched_affine(value: float) -> bytes:
    """The sform's x row (srow_x) replaced by ``value``, three times."""
    return patched(280, 3 * F32(value))


def extended(size: int) -> bytes:
    """An extension of that size is announced between header and data."""
    content = raw()
    content[108:112] = F32(368)
    return bytes(content[:348]) + struct.pack("<4B2i", 1, 0, 0, 0, size, 6) + bytes(8) + bytes(content[352:])
