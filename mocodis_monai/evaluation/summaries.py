"""The groups of cases that a table shows, and ``summary.json``."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from typing import Any

from scipy.stats import spearmanr

from mocodis_monai.evaluation.cases import POPULATIONS, REAL, REAL_SCANS, SEVERITIES, Group
from mocodis_monai.evaluation.measures import METRICS, Row
from mocodis_monai.evaluation.run import Evaluation, Pair
from mocodis_monai.evaluation.statistics import CLEARLY_WORSE, RESAMPLES, Summary, summarise

__all__ = ["GROUPS", "as_json", "in_order", "population", "summaries"]

GROUPS: dict[str, Callable[[Row], Group]] = {
    "severity": lambda row: Group((), row.severity),
    "population and severity": lambda row: Group((population(row),), row.severity),
    "region and severity": lambda row: Group((row.region,), row.severity),
    "family and severity": lambda row: Group((row.family,), row.severity),
    "cell": lambda row: row.cell.group,
}


def population(row: Row) -> str:
    """What training knows of the case, in words."""
    return REAL_SCANS if row.family == REAL else POPULATIONS[row.held_out]


def summaries(evaluation: Evaluation) -> dict[str, list[Summary]]:
    """Every group of the table; under "against others" the first method against each other one."""
    result = {name: in_order(summarise(evaluation.rows, by)) for name, by in GROUPS.items()}
    ours = evaluation.methods[1] if len(evaluation.methods) > 1 else ""
    compared: list[Summary] = []
    for other in evaluation.methods[2:]:
        rows = [row for row in evaluation.rows if row.method in (ours, other)]
        found = summarise(rows, GROUPS["population and severity"], against=other)
        compared += [summary for summary in found if summary.method == ours]
    return {**result, "against others": in_order(compared)}


def as_json(evaluation: Evaluation, grouped: dict[str, list[Summary]]) -> dict[str, Any]:
    """What ``summary.json`` holds: plain values, None for what does not exist."""
    return {
        "about": _plain(evaluation.about),
        "methods": evaluation.methods,
        "metrics": {name: metric.title for name, metric in METRICS.items()},
        "intervals": f"95 % bootstrap of the mean gain over subjects (expanded percentile), {RESAMPLES} resamples",
        "clearly_worse": f"share of cases that lose more than {CLEARLY_WORSE} in SSIM",
        "uncertainty_rank_correlation": _plain(_median(evaluation.rank_correlations)),
        "score_rank_correlation": _plain(_score_ranks(evaluation)),
        "pairs": _plain([_pair(pair) for pair in evaluation.pairs]),
        "groups": {
            name: [
                {
                    **_plain(summary._asdict()),
                    "group": summary.group.label,
                    "gains": {metric: _plain(gain._asdict()) for metric, gain in summary.gains.items()},
                }
                for summary in found
            ]
            for name, found in grouped.items()
        },
    }


def in_order(found: list[Summary]) -> list[Summary]:
    """By severity within what comes before it; the order in which regions and methods come is kept."""

    def place(summary: Summary) -> tuple[int, ...]:
        return (*(order.index(name) for name in summary.group.names), SEVERITIES.index(summary.group.severity))

    order = [*POPULATIONS.values(), REAL_SCANS]
    order += [name for summary in found for name in summary.group.names if name not in order]
    return sorted(found, key=place)


def _score_ranks(evaluation: Evaluation) -> dict[str, float]:
    """Spearman correlation of the motion score with the displacement that was simulated, still images included."""
    found: dict[str, list[Row]] = {}
    for row in evaluation.rows:
        if row.method == evaluation.methods[1] and row.family != REAL and math.isfinite(row.score_mm):
            found.setdefault(population(row), []).append(row)
    return {
        name: float(spearmanr([row.score_mm for row in rows], [row.displacement_mm for row in rows]).statistic)
        for name, rows in found.items()
        if len({row.displacement_mm for row in rows}) > 1 and len({row.score_mm for row in rows}) > 1
    }


def _pair(pair: Pair) -> dict[str, Any]:
    before, after, alignment = pair
    scores = {"ssim_before": before.ssim, "ssim_after": after.ssim, "score_mm": after.score_mm}
    return {"region": after.region, "subject": after.subject, "case": after.case} | alignment._asdict() | scores


def _median(values: list[float]) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return statistics.median(finite) if finite else math.nan


def _plain(value: Any) -> Any:
    """NaN to None, tuples to lists, so that any reader of JSON takes it."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
