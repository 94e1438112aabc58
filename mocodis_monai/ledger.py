"""``results.jsonl``: one line per scan, by which a later run knows what is finished."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mocodis_monai.data.files import sha256_of, staged

__all__ = ["DONE", "FAILED", "Ledger"]

DONE, FAILED = "done", "failed"
FILE_NAME = "results.jsonl"
# The records' keys that name a result, relative to the ledger's folder.
RESULTS = ("output", "uncertainty", "picture")


class Ledger:
    """The records of a folder of results, one per output.

    Each change replaces the whole file by atomic rename, so that it is never half-written, and under a lock, so that
    runs side by side lose nothing of each other.

    Args:
        folder: where the results lie.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / FILE_NAME
        self._at_start = self._read()

    def key(self, output: Path) -> str:
        """A path as the records name it: relative to the folder."""
        return Path(os.path.relpath(output, self.folder)).as_posix()

    def put(self, record: Mapping[str, Any]) -> None:
        """Add a record, in place of an older one with the same ``output``.

        Raises:
            InputError: the disk refuses.
        """
        with _alone_in(self.folder):
            records = {**self._read(), record["output"]: record}
            with staged(self.path) as (temporary,):
                lines = (json.dumps(records[key], allow_nan=False) + "\n" for key in sorted(records))
                temporary.write_text("".join(lines), encoding="utf-8")

    def finished(self, results: Mapping[str, Path], fingerprint: str) -> dict[str, Any] | None:
        """The record of a scan with this fingerprint whose ``results`` are all as they were written; or None."""
        record = self._at_start.get(self.key(results["output"]), {})
        if record.get("status") != DONE or record.get("fingerprint") != fingerprint:
            return None
        if any(record.get(name) != self.key(path) for name, path in results.items()):
            return None
        return record if record.get("sha256") == self.checksums(record) else None

    def checksums(self, record: Mapping[str, Any]) -> dict[str, str | None]:
        """SHA-256 of each result that a record names; None for one that is missing."""
        return {name: _checksum(self.folder / str(record[name])) for name in RESULTS if record.get(name)}

    def _read(self) -> dict[str, dict[str, Any]]:
        """The records by their output; a line that is none (edited by hand, say) does not count."""
        try:
            lines = self.path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError):
            return {}
        records = {}
        for line in lines:
            try:
                record = json.loads(line)
            except ValueError:
                continue
            if isinstance(record, dict) and isinstance(record.get("output"), str):
                records[record["output"]] = record
        return records


def _checksum(path: Path) -> str | None:
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    try:
        return sha256_of(files)
    except OSError:
        return None


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder; the system frees it if the process is killed. No lock file is left behind.

    Windows cannot lock a folder: there, runs side by side need folders of their own.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
