"""Correct many scans: several at once, going on when one fails, leaving out what is finished."""

from __future__ import annotations

import os
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NamedTuple

import torch

from mocodis_monai.correct.correction import ScanCorrector, is_our_result, results_of
from mocodis_monai.correct.ledger import DONE, FAILED, NOT_A_SCAN, Ledger
from mocodis_monai.correct.scans import ScanFile
from mocodis_monai.data.files import clear_leftovers
from mocodis_monai.errors import InputError, NotAScanError

__all__ = ["NUMBERS", "Outcome", "correct_scans", "kinds_of"]

BUSY = "busy"


class NumberColumn(NamedTuple):
    """A number that a table shows of a scan: key of the record, title in the terminal and on a page."""

    key: str
    short: str
    title: str


NUMBERS = (
    NumberColumn("motion_score_mm", "motion mm", "motion score, mm"),
    NumberColumn("gate", "gate", "gate"),
    NumberColumn("log_likelihood_nats", "log-lik. nats", "log-likelihood, nats"),
    NumberColumn("time_s", "time s", "time, s"),
)


class Outcome(NamedTuple):
    """What became of a scan: its line of ``results.jsonl``, and whether an earlier run had finished it.

    A scan that another run is correcting has no such line yet; of its record only ``scan``, ``status`` and ``output``
    are known.
    """

    scan: ScanFile
    record: dict[str, Any]
    skipped: bool

    @property
    def is_scan(self) -> bool:
        """Whether it is no localizer, mask or other kind of image that a folder of scans may hold."""
        return self.record["status"] != NOT_A_SCAN

    @property
    def corrected(self) -> bool:
        """Whether it is corrected, by this run or an earlier one."""
        return self.record["status"] == DONE

    @property
    def failed(self) -> bool:
        """Whether it could not be corrected."""
        return self.record["status"] == FAILED

    @property
    def busy(self) -> bool:
        """Whether it was left to another run that is correcting it."""
        return self.record["status"] == BUSY

    @property
    def reason(self) -> str:
        """Why it is not corrected."""
        return str(self.record["error" if self.failed else "reason"])

    @property
    def result(self) -> str:
        """What to tell of it in a table."""
        if self.failed or self.busy:
            return "failed" if self.failed else "left to another run"
        return f"{self.record['decision']}{', done before' if self.skipped else ''}"

    @property
    def numbers(self) -> list[str]:
        """The :data:`NUMBERS` of it, two decimals each; empty what it does not have."""
        values = (self.record.get(column.key) for column in NUMBERS)
        return ["" if value is None else f"{value:.2f}" for value in values]


def kinds_of(others: Sequence[Outcome]) -> str:
    """What those are that are no scans, in one line: how many of each kind, the most first."""
    kinds = Counter(str(outcome.record["kind"]) for outcome in others)
    return ", ".join(f"{count} x {kind}" for kind, count in kinds.most_common())


class _Stopped(Exception):
    """The run was interrupted."""


class _Run(NamedTuple):
    corrector: ScanCorrector
    ledger: Ledger
    single: bool
    picture: Path | None
    advance: Callable[[float], None]
    stop: threading.Event


def correct_scans(
    scans: Sequence[ScanFile],
    corrector: ScanCorrector,
    ledger: Ledger,
    jobs: int = 1,
    single: bool = False,
    picture: Path | None = None,
    advance: Callable[[float], None] = lambda scans: None,
) -> Iterator[Outcome]:
    """Correct the scans and yield what became of each, as they get done.

    What became of them is put into the ledger, but where a single one could not be corrected. While one is being
    corrected it is kept from other runs, and what these are correcting is left to them.

    Args:
        scans: what to correct.
        corrector: corrects one.
        ledger: of the folder of the outputs.
        jobs: scans at once; the threads of the processor are shared among them.
        single: the user named one scan, its output and ``picture``, which may take the place of any file; a failure is
            not noted.
        picture: where the picture of a single scan goes; None draws beside each output.
        advance: called with each share of a scan that is done, from several threads.
    """
    run = _Run(corrector, ledger, single, picture, advance, threading.Event())
    threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(jobs, initializer=torch.set_num_threads, initargs=(max(1, threads // jobs),))
    try:
        for future in as_completed([pool.submit(_attempt, run, scan) for scan in scans]):
            yield future.result()
    finally:
        run.stop.set()
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)  # the pool's share would stand for threads to come


def _attempt(run: _Run, scan: ScanFile) -> Outcome:
    share = _Share(run)
    record: dict[str, Any] = {"scan": scan.name, "status": DONE, "output": run.ledger.key(scan.output)}
    try:
        with run.ledger.claimed(scan.output) as is_free:
            if not is_free:
                return Outcome(scan, {**record, "status": BUSY}, False)
            outcome = _correct(run, scan, record, share)
            if not outcome.skipped and (outcome.corrected or not run.single):
                run.ledger.put(outcome.record)
            return outcome
    finally:
        share.finish()


def _correct(run: _Run, scan: ScanFile, record: dict[str, Any], share: _Share) -> Outcome:
    kept = dict(record)
    try:
        if scan.refusal is not None:
            raise scan.refusal
        fingerprint = run.corrector.fingerprint(scan)
        results = results_of(scan, run.corrector.settings, run.picture)
        finished = run.ledger.finished(results, fingerprint)
        if finished is None:
            _check_strangers(run, scan, results)
            clear_leftovers(*results.values())
            record |= {name: run.ledger.key(path) for name, path in results.items()}
            record |= run.corrector.correct(scan, results, share.reach)
            record |= {"fingerprint": fingerprint, "sha256": run.ledger.checksums(record)}
            run.ledger.remove_stale(results)
        return Outcome(scan, finished or record, finished is not None)
    except _Stopped:
        raise
    except Exception as error:  # whatever is wrong with one scan, the others are to be corrected
        return Outcome(scan, {**kept, **_refusal(run, scan, error)}, False)


def _check_strangers(run: _Run, scan: ScanFile, results: Mapping[str, Path]) -> None:
    """Refuse to replace a file that nobody named and no run made."""
    named = {scan.output, run.picture} if run.single else set()
    for path in results.values():
        is_there = os.path.lexists(path) and not (path.is_dir() and not any(path.iterdir()))
        if is_there and path not in named and not _is_known(run, scan, path):
            raise InputError(
                f"{path}: a result goes here, and what is there was made by no earlier run. Move it, or choose another "
                "OUT."
            )


def _is_known(run: _Run, scan: ScanFile, path: Path) -> bool:
    """Whether an earlier run made what lies at the place of a result."""
    # By its content too: no record names what a run made that was killed between its renames and its record.
    return run.ledger.names(scan.output, path) or is_our_result(path)


def _refusal(run: _Run, scan: ScanFile, error: Exception) -> dict[str, Any]:
    """What the record of a scan says that was not corrected."""
    # Other than exists, lexists does not raise for a name that is too long for the disk.
    is_left = os.path.lexists(scan.output) and _is_known(run, scan, scan.output)
    also = " The result of an earlier run still lies there." if is_left else ""
    left = run.ledger.left(scan.output)
    said = {"left": left} if left else {}
    if isinstance(error, NotAScanError):
        return {"status": NOT_A_SCAN, "kind": error.kind, "reason": str(error) + also, **said}
    return {"status": FAILED, "error": _why(scan, error) + also, **said}


class _Share:
    """How much of one scan is done."""

    def __init__(self, run: _Run) -> None:
        self.run, self.done = run, 0.0

    def reach(self, slices: int, of: int) -> None:
        """Note that ``slices`` are done; end the correction where the run was interrupted."""
        if self.run.stop.is_set():
            raise _Stopped
        self._advance_to(slices / of)

    def finish(self) -> None:
        """Note that the scan is done with, however it went; an error that is under way stays what it is."""
        if not self.run.stop.is_set():
            self._advance_to(1)

    def _advance_to(self, done: float) -> None:
        self.run.advance(done - self.done)
        self.done = done


def _why(scan: ScanFile, error: Exception) -> str:
    """One line. Texts of other libraries are left out: they may quote a header, and a header names the patient."""
    if isinstance(error, InputError):
        return str(error)
    place = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{Path(place.filename).name}, line {place.lineno}"
    return f"{scan.source}: unexpected {type(error).__name__} ({where}). Please report it."
