"""Files that are never half-written: outputs are staged beside their place and renamed into it. Checksums."""

from __future__ import annotations

import hashlib
import math
import os
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mocodis_monai.errors import InputError

__all__ = [
    "MAX_BYTES",
    "check_outputs",
    "check_overwrites",
    "check_size",
    "check_writable",
    "clear_leftovers",
    "is_image_name",
    "is_litter",
    "leads_nowhere",
    "make_output_dir",
    "not_written",
    "reason",
    "sha256_of",
    "staged",
    "stem",
]

EXTENSIONS = (".nii.gz", ".nii")
MAX_BYTES = 2_000_000_000
"""The most that one image may take, decompressed and as float32: half a thousand million voxels."""
_PREFIX = ".mocodis-"
_CHUNK = 1 << 20
_DAY_S = 24 * 3600
_LITTER = {"thumbs.db", "desktop.ini"}


def is_image_name(path: Path) -> bool:
    """Whether a file of this name is to be read as NIfTI; a hidden one is not.

    A link that leads nowhere counts, so that the scan is missed where it is read; a pipe does not.
    """
    named = path.name.lower().endswith(EXTENSIONS) and not path.name.startswith(".")
    return named and (path.is_file() or leads_nowhere(path))


def make_output_dir(folder: Path) -> Path:
    """Make the folder and its parents, and give it back.

    Raises:
        InputError: that cannot be done.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{folder}: this folder cannot be made ({error.strerror}). Give another output_dir."
        ) from error
    return folder


def is_litter(path: Path) -> bool:
    """Whether a file is what file managers leave in a folder that somebody looked at."""
    return path.name.startswith(".") or path.name.lower() in _LITTER


def leads_nowhere(path: Path) -> bool:
    """Whether a path is a link to something that is not there, such as a file that was not fetched."""
    return path.is_symlink() and not path.exists()


def stem(path: str | Path) -> str:
    """The file name without ``.nii`` or ``.nii.gz``."""
    name = Path(path).name
    return next((name[: -len(e)] for e in EXTENSIONS if name.lower().endswith(e)), Path(name).stem)


def sha256_of(files: Iterable[str | Path] | str | Path) -> str:
    """SHA-256 of the contents of one file; of several, in their order, SHA-256 of their names and checksums."""
    digests = []
    for file in map(Path, [files] if isinstance(files, str | Path) else files):
        whole = hashlib.sha256()
        with file.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                whole.update(chunk)
        digests.append((file.name, whole.hexdigest()))
    if len(digests) == 1:
        return digests[0][1]
    return hashlib.sha256(repr(digests).encode()).hexdigest()


def check_size(path: Path, shape: Sequence[int], max_bytes: int, as_stored: int = 0) -> None:
    """Refuse an image that would take too much memory, by what its header says of it.

    Args:
        path: where it is, for the message.
        shape: of the image.
        max_bytes: the most that it may take.
        as_stored: bytes that it takes decompressed, before it becomes float32.

    Raises:
        InputError: it takes more.
    """
    needed = max(as_stored, 4 * math.prod(max(n, 0) for n in shape))
    if needed > max_bytes:
        raise InputError(
            f"{path}: {needed / 1e9:.2g} GB when decompressed (shape {tuple(shape)}), where {max_bytes / 1e9:g} GB are "
            "allowed. If the image is what it should be, allow more (`max_bytes`, or --max-gb of mocodis correct)."
        )


def check_outputs(outputs: Sequence[Path], inputs: Sequence[Path] = ()) -> None:
    """Refuse, before any work is done, outputs that cannot be written or would destroy something.

    Raises:
        InputError: a folder that is missing, an output that is a folder, an input, or given twice.
    """
    for path in outputs:
        if not path.parent.is_dir():
            raise InputError(f"{path}: the folder {path.parent} does not exist. Make it first.")
        if path.is_dir():
            raise InputError(f"{path}: this is a folder. Give the name of a file to write.")
        check_writable(path.parent)
    check_overwrites(outputs, inputs)


def check_overwrites(outputs: Iterable[Path], inputs: Iterable[Path]) -> None:
    """Refuse outputs that are an input, by whatever name, or given twice; folders that are missing do not matter.

    Raises:
        InputError: one is.
    """
    sources, seen = {_identity(path) for path in inputs}, set[str]()
    for path in outputs:
        if _identity(path) in sources:
            raise InputError(f"{path}: this would overwrite the input. Give the output another name.")
        place = os.path.realpath(path)
        if place in seen:
            raise InputError(f"{path}: two outputs have this name. Give each its own, or rename one of the inputs.")
        seen.add(place)


def check_writable(folder: Path) -> None:
    """Refuse a folder in which no file can be made, before the work that would be lost.

    Raises:
        InputError: the permissions or a read-only disk forbid it.
    """
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"{folder}: no file can be made in this folder. Check permissions, or give another one.")


@contextmanager
def staged(*paths: Path) -> Iterator[tuple[Path, ...]]:
    """Temporary names beside ``paths``; renamed to them together at the end, or removed on any failure: then what was
    there before is there again.

    What is made under a name may be a file or a folder. What runs that were killed left behind of the same outputs is
    removed when it is a day old; what is younger may be of a run that goes on beside this one.

    Raises:
        InputError: the disk refuses to write or rename.
    """
    token = uuid.uuid4().hex[:12]
    placed: list[tuple[Path, Path | None]] = []
    for path in paths:
        if not path.name.startswith(_PREFIX):
            for leftover in filter(_is_old, _temporaries(path)):
                _remove(leftover)
    temporaries = tuple(p.with_name(f"{_head(p)}{token}{_suffix(p)}") for p in paths)
    try:
        yield temporaries
        for temporary in temporaries:
            _sync(temporary)
        for temporary, path in zip(temporaries, paths):
            placed.append((path, _replace(temporary, path, keep=len(paths) > 1)))
    except BaseException as error:
        for temporary in temporaries:
            _remove(temporary)
        for path, aside in reversed(placed):
            _take_back(path, aside)
        if isinstance(error, OSError):
            raise not_written(", ".join(str(p) for p in paths), error) from error
        raise
    for _, aside in placed:
        if aside is not None:
            _remove(aside)


def clear_leftovers(*paths: Path) -> None:
    """Remove what runs that were killed left behind of outputs that, as the caller knows, no other run is writing."""
    for path in paths:
        for leftover in _temporaries(path):
            _remove(leftover)


def reason(error: BaseException) -> str:
    """What an exception says, on one short line."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(text.split())[:120]


def not_written(where: str | Path, error: OSError) -> InputError:
    """What to raise when the disk refuses."""
    return InputError(f"{where}: cannot be written ({reason(error)}). Check space and permissions.")


def _head(path: Path) -> str:
    """How the temporary names of ``path`` begin: known to a later run, so that it can clean up."""
    if path.name.startswith(_PREFIX):  # staged already, and once more by who writes it
        return stem(path) + "-"
    return f"{_PREFIX}{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:12]}-"


def _temporaries(path: Path) -> Iterable[Path]:
    """What lies there under temporary names of ``path``, whoever made it."""
    return path.parent.glob(f"{_head(path)}*")


def _is_old(path: Path) -> bool:
    """Whether nothing was done to a file for a day, a rename or a second name for it included."""
    try:
        return time.time() - path.lstat().st_ctime > _DAY_S
    except FileNotFoundError:  # renamed meanwhile by its owner
        return False


def _replace(temporary: Path, path: Path, keep: bool) -> Path | None:
    """Rename; where the old one is kept meanwhile, None if there was none.

    A folder cannot replace one that has files, so the old one steps aside first; a file is replaced at once, and the
    old one kept only to ``keep`` it for what comes after.
    """
    aside = temporary.with_name(f"{temporary.name}-old")
    if not (temporary.is_dir() and path.is_dir()):
        kept = _copy(path, aside) if keep and os.path.lexists(path) else None
        temporary.replace(path)
        return kept
    path.replace(aside)
    try:
        temporary.replace(path)
    except BaseException:
        aside.replace(path)
        raise
    return aside


def _copy(path: Path, aside: Path) -> Path:
    """A second name for a file; on a disk without hard links its content again."""
    try:
        os.link(path, aside, follow_symlinks=False)
    except (OSError, NotImplementedError):
        shutil.copy2(path, aside, follow_symlinks=False)
    return aside


def _take_back(path: Path, aside: Path | None) -> None:
    """Undo :func:`_replace`."""
    if aside is None or path.is_dir():
        _remove(path)
    if aside is not None:
        aside.replace(path)


def _sync(path: Path) -> None:
    """Onto the disk before the rename, so that a power cut leaves the old file or the whole new one."""
    for file in sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]:
        with file.open("r+b") as stream:
            os.fsync(stream.fileno())


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _identity(path: Path) -> tuple[int, int] | str:
    """What two names of one file have in common, hard links too; of a file to be made, its path without links."""
    try:
        found = path.stat()
    except OSError:
        return os.path.realpath(path)
    return found.st_dev, found.st_ino


def _suffix(path: Path) -> str:
    return next((e for e in EXTENSIONS if path.name.lower().endswith(e)), path.suffix.lower())
