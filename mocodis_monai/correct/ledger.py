"""``results.jsonl``: one line per scan, by which a later run knows what is finished."""

from __future__ import annotations

import hashlib
import io
import json
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from mocodis_monai.data.files import clear_leftovers, is_litter, not_written, reason, sha256_of, staged
from mocodis_monai.errors import InputError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["DONE", "FAILED", "NOT_A_SCAN", "Ledger"]

DONE, FAILED, NOT_A_SCAN = "done", "failed", "not a scan"
FILE_NAME = "results.jsonl"
# Locked while records or claims are changed. It stays beside the records: on NFS one that comes and goes is seen late.
LOCK_NAME = f".{FILE_NAME}.lock"
_CLAIM = f".{FILE_NAME}.claim-"
# The records' keys that name a result, relative to the ledger's folder.
RESULTS = ("output", "uncertainty", "picture")
_BEGINNING = b'{"scan": '


class Ledger:
    """The records of a folder of results, one per output.

    A record is appended, at the same cost however many there are; where an output has several, the last one counts,
    until :meth:`compact` leaves one of each. Both are done under a lock, so that runs side by side lose nothing of each
    other; a scan is kept from the others by :meth:`claimed`. Of a line that was cut short (a full disk, a power cut)
    nothing is read, and the next one stands apart.

    Args:
        folder: where the results lie.

    Raises:
        InputError: ``results.jsonl`` is there and cannot be read, or is of another program.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / FILE_NAME
        self._mutex = threading.Lock()  # between the threads of a run, also where files have no locks
        self._records: dict[str, dict[str, Any]] = {}
        self._inode, self._end = -1, 0  # which file was read, and how far
        content = self._catch_up()
        if content.strip() and not self._records and not _is_cut_short(content):
            raise InputError(f"{self.path}: holds no record of corrected scans; move it, or give another folder.")

    def key(self, output: Path) -> str:
        """A path as the records name it: relative to the folder, whose links are followed."""
        real = Path(os.path.realpath(output.parent), output.name)
        return Path(os.path.relpath(real, os.path.realpath(self.folder))).as_posix()

    @contextmanager
    def claimed(self, output: Path) -> Iterator[bool]:
        """Keep the scan of an output from other runs while it is corrected; False if another one has it.

        What others have noted until then is known from here on. Windows has no such locks: there, runs side by side
        need folders of their own.

        Raises:
            InputError: the disk refuses to lock.
        """
        path = self.folder / f"{_CLAIM}{hashlib.sha256(os.fsencode(self.key(output))).hexdigest()[:16]}"
        with self._alone():
            claim = _take(path)
            self._catch_up()
        try:
            yield claim is not None
        finally:
            if claim is not None:
                with self._alone():
                    _release(claim, path)

    def put(self, record: Mapping[str, Any]) -> None:
        """Append a record; it counts in place of an older one with the same ``output``.

        Raises:
            InputError: the disk refuses.
        """
        with self._alone(), self.path.open("a+b") as file:
            if file.seek(0, os.SEEK_END):
                file.seek(-1, os.SEEK_END)
                file.write(b"" if file.read(1) == b"\n" else b"\n")
            file.write(_line(record))
            file.flush()
            os.fsync(file.fileno())

    def compact(self) -> None:
        """Leave one line per output, sorted by it; the whole file is replaced by atomic rename, if it is not so yet.

        What runs that were killed left behind of records and claims is removed.

        Raises:
            InputError: the disk refuses.
        """
        with self._alone():
            before = _content(self.path)
            records = _records(before)
            after = b"".join(_line(records[output]) for output in sorted(records))
            clear_leftovers(self.path)
            for path in self.folder.glob(f"{_CLAIM}*"):
                if claim := _take(path):
                    _release(claim, path)
            if after != before:
                with staged(self.path) as (temporary,):
                    temporary.write_bytes(after)

    def finished(self, results: Mapping[str, Path], fingerprint: str) -> dict[str, Any] | None:
        """The record of a scan with this fingerprint whose ``results`` are all as they were written; or None."""
        record = self._records.get(self.key(results["output"]), {})
        if record.get("status") != DONE or record.get("fingerprint") != fingerprint:
            return None
        if any(record.get(name) != self.key(path) for name, path in results.items()):
            return None
        return record if record.get("sha256") == self.checksums(record) else None

    def left(self, output: Path) -> dict[str, str]:
        """SHA-256 of each result that was made of the scan with this ``output`` when it was corrected last, by path."""
        record = self._records.get(self.key(output), {})
        if record.get("status") != DONE:
            return dict(record.get("left") or {})
        checksums = record.get("sha256") or {}
        return {record[name]: checksums[name] for name in RESULTS if record.get(name) and checksums.get(name)}

    def names(self, output: Path, path: Path) -> bool:
        """Whether ``path`` is among the results of the scan with this ``output`` when it was corrected last."""
        return self.key(path) in self.left(output)

    def remove_stale(self, results: Mapping[str, Path]) -> None:
        """Remove what an earlier run made beside the output of a scan and this one did not: it shows another result."""
        made = {self.key(path) for path in results.values()}
        for name, checksum in self.left(results["output"]).items():
            path = self.folder / name
            if name not in made and path.is_file() and _checksum(path) == checksum:
                path.unlink()

    def checksums(self, record: Mapping[str, Any]) -> dict[str, str | None]:
        """SHA-256 of each result that a record names; None for one that is missing."""
        return {name: _checksum(self.folder / str(record[name])) for name in RESULTS if record.get(name)}

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the lock of the folder; the system frees it if the process is killed.

        Raises:
            InputError: the disk refuses to lock, or what is done meanwhile.
        """
        path = self.folder / LOCK_NAME
        try:
            with self._mutex, _lock(path):
                try:
                    yield
                finally:
                    if not self.path.exists():  # nothing was noted, so nothing is left
                        path.unlink(missing_ok=True)
        except OSError as error:
            raise not_written(self.path, error) from error

    def _catch_up(self) -> bytes:
        """Read what was added since the last time, or all of it where another run has put it in order."""
        try:
            with self.path.open("rb") as file:
                found = os.fstat(file.fileno())
                is_same = found.st_ino == self._inode and found.st_size >= self._end
                start = file.seek(self._end if is_same else 0)
                content = file.read()
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise _not_read(self.path, error) from error
        if is_same:
            self._records.update(_records(content))
        else:
            self._records = _records(content)
        self._inode, self._end = found.st_ino, start + content.rfind(b"\n") + 1
        return content


def _lock(path: Path, wait: bool = True) -> BinaryIO:
    """A file that is locked until it is closed or its process ends.

    It is opened for writing, else NFS would not ask its server for the lock.

    Raises:
        BlockingIOError: another one has locked it, and ``wait`` is False.
    """
    if fcntl is None:
        return io.BytesIO()
    while True:
        file = path.open("ab")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            if _is_at(path, file):
                return file
        except BaseException:
            file.close()
            raise
        file.close()


def _is_at(path: Path, file: BinaryIO) -> bool:
    """Whether a path still leads to an open file, which may have been removed while its lock was waited for."""
    try:
        return os.path.samefile(path, file.fileno())
    except FileNotFoundError:
        return False


def _take(path: Path) -> BinaryIO | None:
    """The lock of a scan; None if another run has it."""
    try:
        return _lock(path, wait=False)
    except BlockingIOError:
        return None


def _release(claim: BinaryIO, path: Path) -> None:
    """Free a scan; the folder is locked, so that nobody takes what is being removed."""
    claim.close()
    path.unlink(missing_ok=True)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise _not_read(path, error) from error


def _not_read(path: Path, error: OSError) -> InputError:
    return InputError(f"{path}: cannot be read ({reason(error)}). Make it readable, or remove it.")


def _is_cut_short(content: bytes) -> bool:
    """Whether it is the beginning of a first record, and no more."""
    return b"\n" not in content and content[: len(_BEGINNING)] == _BEGINNING[: len(content)] and not _is_json(content)


def _is_json(content: bytes) -> bool:
    try:
        json.loads(content)
    except ValueError:
        return False
    return True


def _line(record: Mapping[str, Any]) -> bytes:
    return (json.dumps(record, allow_nan=False) + "\n").encode()


def _records(content: bytes) -> dict[str, dict[str, Any]]:
    """The records by their output, the last of each; a line that is none (edited by hand, say) does not count."""
    records = {}
    for line in content.split(b"\n"):
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict) and isinstance(record.get("output"), str) and "status" in record:
            records[record["output"]] = record
    return records


def _checksum(path: Path) -> str | None:
    try:
        whole = sorted(file for file in path.iterdir() if not is_litter(file)) if path.is_dir() else [path]
        return sha256_of(whole)
    except OSError:
        return None
