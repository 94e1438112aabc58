"""An evaluation as files: cases as CSV, statistics as JSON, tables as Markdown, a page that needs nothing else."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mocodis_monai.data.files import check_outputs, check_writable, make_output_dir, staged
from mocodis_monai.evaluation import METRICS, Evaluation, Example, Interval, Row, Summary, evaluate
from mocodis_monai.evaluation.cases import NO_MOTION, REAL, SEVERITIES
from mocodis_monai.evaluation.methods import UNCORRECTED
from mocodis_monai.evaluation.summaries import as_json, population, summaries
from mocodis_monai.report.findings import markdown, missing_rows, motion_scores, score_severities, verdict
from mocodis_monai.report.numbers import number, percent
from mocodis_monai.report.pages import page_template
from mocodis_monai.report.pictures import (
    DIFFERENCE_SCALE,
    GREY_TOP,
    UNCERTAINTY_SCALE,
    distribution,
    panel_names,
    phase_encoding,
    strip,
    trajectory_svg,
)

__all__ = ["EvaluationFiles", "evaluate_into", "save_evaluation"]

_FULL_COLOUR = 0.05
"""Gain in SSIM at which a cell of the overview has its full colour."""
_DISTRIBUTIONS = {"ssim": "SSIM", "psnr_db": "PSNR, dB", "vif": "VIF"}
_RANKS = ("best", "median", "worst")


class EvaluationFiles(NamedTuple):
    """What was written."""

    cases: Path
    summary: Path
    report: Path
    table: Path


def evaluate_into(out_dir: str | Path, **options: Any) -> EvaluationFiles:
    """What :func:`mocodis_monai.evaluation.evaluate` measures, as files.

    Args:
        out_dir: folder, made if it is missing; older files of these names are replaced.
        options: arguments of :func:`mocodis_monai.evaluation.evaluate`.

    Raises:
        InputError: weights, manifest or folder are unfit; the folder is tried before the work. One that was made
                for it does not stay empty.
    """
    folder, was_there = Path(out_dir), Path(out_dir).exists()
    check_writable(make_output_dir(folder))
    try:
        return save_evaluation(evaluate(**options), folder)
    except BaseException:
        if not was_there and not any(folder.iterdir()):
            folder.rmdir()
        raise


def save_evaluation(evaluation: Evaluation, out_dir: str | Path) -> EvaluationFiles:
    """Write ``cases.csv``, ``summary.json``, ``report.html`` and ``table.md``, all or none.

    Args:
        evaluation: see :func:`mocodis_monai.evaluation.evaluate`.
        out_dir: folder, made if it is missing; older files of these names are replaced.

    Raises:
        InputError: the folder cannot be made or written to.
    """
    folder = make_output_dir(Path(out_dir))
    names = EvaluationFiles(Path("cases.csv"), Path("summary.json"), Path("report.html"), Path("table.md"))
    files = EvaluationFiles(*(folder / name for name in names))
    check_outputs(list(files))
    grouped = summaries(evaluation)
    summary = as_json(evaluation, grouped)
    with staged(*files) as (cases_csv, summary_json, report_html, table_md):
        _write_rows(cases_csv, evaluation.rows)
        summary_json.write_text(json.dumps(summary, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        report_html.write_text(_page(evaluation, grouped, summary), encoding="utf-8")
        table_md.write_text(markdown(summary), encoding="utf-8")
    return files


def _write_rows(path: Path, rows: Iterable[Row]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(Row._fields)
        writer.writerows(
            ["" if value != value else f"{value:.6g}" if isinstance(value, float) else value for value in row]
            for row in rows
        )


def _page(evaluation: Evaluation, grouped: dict[str, list[Summary]], summary: dict[str, Any]) -> str:
    filters: dict[str, Callable[..., Any]] = {"number": number, "gain": _gain, "percent": percent, "shade": _shade}
    ours = evaluation.methods[1]
    return page_template("evaluation.html.j2", filters).render(
        about=evaluation.about,
        ours=ours,
        uncorrected=UNCORRECTED,
        no_motion=NO_MOTION,
        methods=evaluation.methods,
        metrics=METRICS,
        verdict=verdict(summary),
        missing=missing_rows(summary),
        findings=[s for s in grouped["population and severity"] if s.method == ours],
        before={s.group: s.means for s in grouped["population and severity"] if s.method == UNCORRECTED},
        populations=_by_head(grouped["population and severity"]),
        compared=_by_head(grouped["against others"]),
        overviews=[
            _overview(evaluation, title, [s for s in grouped[group] if s.method == ours])
            for title, group in (("region", "region and severity"), ("family", "family and severity"))
        ],
        cells=_by_head([s for s in grouped["cell"] if s.method == ours]),
        cell_of={row.cell.group: row.cell for row in evaluation.rows},
        distributions=_distributions(evaluation),
        pairs=sorted(evaluation.pairs, key=lambda pair: pair.alignment.correlation),
        highlights=_highlights(evaluation.examples),
        galleries=_galleries(evaluation.examples),
        strip=strip,
        panels=panel_names,
        trajectory=trajectory_svg,
        phase_encoding=phase_encoding,
        scales={"grey": GREY_TOP, "difference": DIFFERENCE_SCALE, "uncertainty": UNCERTAINTY_SCALE},
        uncertainty=summary["uncertainty_rank_correlation"],
        scores=motion_scores(summary),
        score_severities=score_severities(motion_scores(summary)),
        seen=evaluation.about.get("trained_on", {}),
        training_cpu_s=evaluation.about.get("training_cpu_s"),
        seconds_per_volume=evaluation.about.get("seconds_per_volume"),
        seconds_per_case={
            name: float(np.mean([row.seconds for row in evaluation.rows if row.method == name]))
            for name in evaluation.methods
        },
    )


def _by_head(found: list[Summary]) -> list[tuple[str, list[Summary]]]:
    """Summaries by what stands before the severity."""
    return [(head, list(group)) for head, group in groupby(found, lambda summary: summary.group.head)]


class _Overview(NamedTuple):
    """A table of gains: one line per name, one column per severity, None where there is no such cell."""

    title: str
    unseen: set[str]
    severities: list[str]
    lines: list[tuple[str, list[Summary | None]]]


def _overview(evaluation: Evaluation, title: str, found: list[Summary]) -> _Overview:
    """``title`` is "region" or "family"; what training has not seen of it is marked."""
    seen = evaluation.about["trained_on"]["regions" if title == "region" else "families"]
    unseen = {getattr(row, title) for row in evaluation.rows} - {*seen, NO_MOTION, REAL}
    severities = _present(summary.group.severity for summary in found)
    lines = [
        (name, [next((s for s in group if s.group.severity == severity), None) for severity in severities])
        for name, group in _by_head(found)
    ]
    return _Overview(title, unseen, severities, lines)


def _present(severities: Iterable[str]) -> list[str]:
    found = set(severities)
    return [severity for severity in SEVERITIES if severity in found]


def _distributions(evaluation: Evaluation) -> list[tuple[str, str]]:
    """A picture for each population that has targets."""
    pictures = []
    paired = [row for row in evaluation.rows if row.ssim == row.ssim]
    for name in dict.fromkeys(population(row) for row in paired):
        rows = [row for row in paired if population(row) == name]
        severities = _present([row.severity for row in rows])
        pictures.append((name, distribution(rows, evaluation.methods[1:], _DISTRIBUTIONS, severities)))
    return pictures


def _highlights(examples: list[Example]) -> list[Example]:
    """For each severity the best, a median and the worst case of all cells."""
    chosen = []
    for severity in _present([example.cell.severity for example in examples]):
        found = [example for example in examples if example.cell.severity == severity]
        for rank in _RANKS:
            alike = {rank, "only"} if rank == "best" else {rank}
            ranked = sorted((e for e in found if e.rank in alike), key=lambda example: example.gain)
            if ranked:
                place = {"best": -1, "median": len(ranked) // 2, "worst": 0}[rank]
                chosen.append(ranked[place])
    return chosen


def _galleries(examples: list[Example]) -> list[tuple[str, list[tuple[str, list[Example]]]]]:
    """Examples by region, then by family and severity."""
    regions = []
    for region in dict.fromkeys(example.cell.region for example in examples):
        found = [example for example in examples if example.cell.region == region]
        names = dict.fromkeys(example.cell.label for example in found)
        regions.append((region, [(name, [e for e in found if e.cell.label == name]) for name in names]))
    return regions


def _gain(interval: Interval, decimals: int = 3) -> str:
    """Mean gain, and the interval where there is one, with a real minus sign."""
    return format(interval, f"+.{decimals}f").replace("-", "\N{MINUS SIGN}")


def _shade(interval: Interval) -> str:
    """Background of a gain in SSIM: blue for better, orange for worse, pale where the interval holds zero."""
    if not np.isfinite(interval.mean):
        return "transparent"
    sure = np.isfinite(interval.low) and (interval.low > 0 or interval.high < 0)
    strength = min(abs(interval.mean) / _FULL_COLOUR, 1) * (0.75 if sure else 0.25)
    colour = "31,111,180" if interval.mean > 0 else "209,115,26"
    return f"rgba({colour},{strength:.2f})"
