"""A run of ``mocodis correct`` from what was asked to the exit status."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from mocodis_monai.correct.batch import Outcome, correct_scans, kinds_of
from mocodis_monai.correct.console import print_table, progress_bar, searching
from mocodis_monai.correct.correction import ScanCorrector, Settings, results_of
from mocodis_monai.correct.ledger import RESULTS, Ledger
from mocodis_monai.correct.processes import gather, share_of, together
from mocodis_monai.correct.run_report import save_run_report
from mocodis_monai.correct.scans import ScanFile, find_scans
from mocodis_monai.data.files import check_outputs, check_overwrites, check_writable, make_output_dir, sha256_of
from mocodis_monai.data.folders import is_same, is_within
from mocodis_monai.distributed import rank
from mocodis_monai.errors import InputError, printable
from mocodis_monai.inferers import LEFT_ALONE
from mocodis_monai.precision import device_of
from mocodis_monai.release import default_weights_path, load_corrector

__all__ = ["Request", "run_correction"]


class Request(NamedTuple):
    """What the user asks for.

    Attributes:
        source: a file, a DICOM series or a folder of many scans.
        output: a file for a NIfTI file, else a folder.
        settings: of the correction.
        weights: a checkpoint; None takes the released one.
        device: auto, cpu or cuda.
        jobs: scans at once.
        picture: PNG of a single scan; None draws beside each output.
        report: HTML page of the run.
    """

    source: Path
    output: Path
    settings: Settings
    weights: Path | None = None
    device: str = "auto"
    jobs: int = 1
    picture: Path | None = None
    report: Path | None = None


def run_correction(request: Request) -> int:
    """Correct what is asked for and say what became of it; 0 if all went well, 1 if a scan of many failed.

    What a folder holds besides scans, such as localizers and masks, is said and does not count as failed.

    Under torchrun the processes share the scans; the first one says what became of all, and its status counts.

    Raises:
        InputError: nothing can be corrected as asked, or the one scan failed; nothing was written then.
    """
    with together():
        return _run(request)


def _run(request: Request) -> int:
    with searching(shown=rank() == 0):
        scans = find_scans(request.source, request.output)
    many = scans[0].output != request.output
    folder = request.output if many else request.output.parent
    if many and request.picture:
        raise InputError("--picture: each scan of a folder gets its own picture beside its output. Leave it out.")
    _check_paths(request, scans, many)
    weights = request.weights or default_weights_path()
    device = device_of(request.device)
    network = load_corrector(request.weights, device)
    corrector = ScanCorrector(network, sha256_of([weights]), request.settings, device)
    ledger = Ledger(make_output_dir(folder) if many else folder)
    mine, outcomes = share_of(scans), []
    with progress_bar(len(mine), shown=rank() == 0) as advance:
        for outcome in correct_scans(mine, corrector, ledger, request.jobs, not many, request.picture, advance):
            if not (outcome.corrected or outcome.busy or many):
                raise InputError(outcome.reason)
            outcomes.append(outcome)
    outcomes = gather(outcomes)
    if rank() > 0:
        return 0
    ledger.compact()
    if request.report:
        save_run_report(request.report, outcomes, folder)
    _tell(outcomes, ledger, many, request.report)
    return int(any(outcome.failed for outcome in outcomes))


def _check_paths(request: Request, scans: list[ScanFile], many: bool) -> None:
    """Refuse names that cannot be written or would overwrite an input, before anything is done."""
    for name, path, ending in (("--picture", request.picture, ".png"), ("--report", request.report, ".html")):
        if path is not None and path.suffix.lower() != ending:
            raise InputError(f"{name} {path}: the name must end in {ending}. Change it.")
    inputs = [file for scan in scans for file in scan.files] + ([request.weights] if request.weights else [])
    if many and request.output.is_dir():
        check_writable(request.output)
    asked = [path for path in (request.picture, request.report) if path is not None]
    # Except for the folder of the outputs, which is made.
    check_outputs([path for path in asked if path.parent.exists() or not is_same(path.parent, request.output)])
    for name, path in (("--picture", request.picture), ("--report", request.report)):
        series = next((scan.output for scan in scans if scan.is_dicom and path and is_within(path, scan.output)), None)
        if series:
            raise InputError(f"{name} {path}: {series} is to hold the corrected DICOM series alone. Put it elsewhere.")
    results = [path for scan in scans for path in results_of(scan, request.settings, request.picture).values()]
    check_overwrites([*results, *([request.report] if request.report else [])], inputs)


def _tell(outcomes: list[Outcome], ledger: Ledger, many: bool, report: Path | None) -> None:
    if many:
        _tell_many(outcomes)
    else:
        _tell_one(outcomes[0], ledger)
    _tell_path("results", ledger.path)
    if report:
        _tell_path("report", report)
    print("Research use only: not a medical device.")


def _tell_path(name: str, path: Path) -> None:
    print(f"{name:<20}{printable(str(path))}")


def _tell_many(outcomes: list[Outcome]) -> None:
    scans = [outcome for outcome in outcomes if outcome.is_scan]
    others = [outcome for outcome in outcomes if not outcome.is_scan]
    if scans:
        print_table(scans)
    for outcome in (outcome for outcome in scans if outcome.failed):
        error, name = outcome.reason, outcome.scan.name
        print(printable(f"failed: {error if name in error else f'{name}: {error}'}"))
    failed = sum(outcome.failed for outcome in scans)
    skipped = sum(outcome.skipped for outcome in scans)
    busy = sum(outcome.busy for outcome in scans)
    print(f"{len(scans) - failed - skipped - busy} corrected, {skipped} done before, {failed} failed")
    if busy:
        print(f"{busy} of {len(scans)} were left to another run, which is correcting them")
    if others:
        print(printable(f"{len(others)} not a scan, why is in results.jsonl: {kinds_of(others)}"))
    alone = sum(outcome.record.get("decision") == LEFT_ALONE for outcome in scans)
    if alone:
        print(f"{alone} of {len(scans)} were left alone: no motion was found in them")


def _tell_one(outcome: Outcome, ledger: Ledger) -> None:
    record = outcome.record
    if outcome.busy:
        print(f"{printable(str(outcome.scan.output))}: left to another run, which is correcting this scan")
        return
    if record["motion_score_mm"] is not None:
        slices = f"(median over {record['num_slices']} slices)" if record["num_slices"] > 1 else ""
        print(f"{'estimated motion':<20}{record['motion_score_mm']:.2f} mm {slices}")
        print(f"{'log-likelihood':<20}{record['log_likelihood_nats']:.2f} nats per code")
    print(f"{'decision':<20}{record['decision']} (gate {record['gate']:.2f})")
    print(f"{'time':<20}{record['time_s']:.1f} s{', by an earlier run' if outcome.skipped else ''}")
    for name in RESULTS:
        if record.get(name):
            _tell_path(name, ledger.folder / record[name])
