"""``results.jsonl``: one line per scan, by which a later run knows what is finished."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mocodis_monai.data.files import is_litter, not_written, reason, sha256_of, staged
from mocodis_monai.errors import InputError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["DONE", "FAILED", "NOT_A_SCAN", "Ledger"]

DONE, FAILED, NOT_A_SCAN = "done", "failed", "not a scan"
FILE_NAME = "results.jsonl"
# The records' keys that name a result, relative to the ledger's folder.
RESULTS = ("output", "uncertainty", "picture")
_BEGINNING = b'{"scan": '


class Ledger:
    """The records of a folder of results, one per output.

    A record is appended, at the same cost however many there are; where an output has several, the last one counts,
    until :meth:`compact` leaves one of each. Both are done under a lock, so that runs side by side lose nothing of each
    other. Of a line that was cut short (a full disk, a power cut) nothing is read, and the next one stands apart.

    Args:
        folder: where the results lie.

    Raises:
        InputError: ``results.jsonl`` is there and cannot be read, or is of another program.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / FILE_NAME
        content = _content(self.path)
        self._at_start = _records(content)
        if content.strip() and not self._at_start and not _is_cut_short(content):
            raise InputError(f"{self.path}: holds no record of corrected scans; move it, or give another folder.")

    def key(self, output: Path) -> str:
        """A path as the records name it: relative to the folder, whose links are followed."""
        real = Path(os.path.realpath(output.parent), output.name)
        return Path(os.path.relpath(real, os.path.realpath(self.folder))).as_posix()

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

        Raises:
            InputError: the disk refuses.
        """
        with self._alone():
            before = _content(self.path)
            records = _records(before)
            after = b"".join(_line(records[output]) for output in sorted(records))
            if after != before:
                with staged(self.path) as (temporary,):
                    temporary.write_bytes(after)

    def finished(self, results: Mapping[str, Path], fingerprint: str) -> dict[str, Any] | None:
        """The record of a scan with this fingerprint whose ``results`` are all as they were written; or None."""
        record = self._at_start.get(self.key(results["output"]), {})
        if record.get("status") != DONE or record.get("fingerprint") != fingerprint:
            return None
        if any(record.get(name) != self.key(path) for name, path in results.items()):
            return None
        return record if record.get("sha256") == self.checksums(record) else None

    def names(self, path: Path) -> bool:
        """Whether a record names ``path`` among the results of its scan."""
        key = self.key(path)
        return any(record.get(name) == key for record in self._at_start.values() for name in RESULTS)

    def remove_stale(self, results: Mapping[str, Path]) -> None:
        """Remove what an earlier run made beside the output of a scan and this one did not: it shows another result."""
        before = self._at_start.get(self.key(results["output"]), {})
        made = {self.key(path) for path in results.values()}
        for name in (name for name in RESULTS if before.get(name) and before[name] not in made):
            path = self.folder / str(before[name])
            if path.is_file() and (before.get("sha256") or {}).get(name) == _checksum(path):
                path.unlink()

    def checksums(self, record: Mapping[str, Any]) -> dict[str, str | None]:
        """SHA-256 of each result that a record names; None for one that is missing."""
        return {name: _checksum(self.folder / str(record[name])) for name in RESULTS if record.get(name)}

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the lock of the folder; the system frees it if the process is killed. No lock file is left behind.

        Windows cannot lock a folder: there, runs side by side need folders of their own.

        Raises:
            InputError: the disk refuses to lock, or what is done meanwhile.
        """
        handle = None
        try:
            if fcntl is not None:
                handle = os.open(self.folder, os.O_RDONLY)
                fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        except OSError as error:
            raise not_written(self.path, error) from error
        finally:
            if handle is not None:
                os.close(handle)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({reason(error)}). Make it readable, or remove it.") from error


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
