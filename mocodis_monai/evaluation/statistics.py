"""From cases to statements: means, paired gains with bootstrap intervals, and how often a case was made worse."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import bootstrap, norm, t

from mocodis_monai.evaluation.cases import Group
from mocodis_monai.evaluation.measures import METRICS, Row
from mocodis_monai.evaluation.methods import UNCORRECTED

__all__ = ["Interval", "Summary", "paired_interval", "summarise"]

RESAMPLES = 10_000
FEWEST_SUBJECTS = 5
"""Fewer have too few resamples: no bootstrap interval of four covers more than 87.5 % of the time."""
ROUNDING = 1e-5
"""A smaller loss in SSIM is rounding: an image that is left alone is scaled and scaled back."""
CLEARLY_WORSE = 0.01
"""A loss in SSIM beyond this can be seen; a smaller one is counted as well, but apart."""


class Interval(NamedTuple):
    """A mean gain and its 95 % bootstrap interval; the ends are NaN below :data:`FEWEST_SUBJECTS`."""

    mean: float
    low: float
    high: float

    def __format__(self, spec: str) -> str:
        """``+.3f`` gives "+0.012 [+0.008, +0.015]", without an interval where there is none, and "" without a mean."""
        if not math.isfinite(self.mean):
            return ""
        mean, low, high = (format(value, spec) for value in self)
        return f"{mean} [{low}, {high}]" if math.isfinite(self.low) else mean


class Summary(NamedTuple):
    """A method on those cases of a group that it and ``against`` both have.

    Attributes:
        group: the group.
        method: what was measured.
        against: what the gains are relative to, case by case.
        num_cases, num_subjects: how many.
        means: mean of each metric.
        gains: mean difference of each metric to ``against``, with its interval.
        made_worse: share of cases whose SSIM fell by more than :data:`ROUNDING`.
        clearly_worse: share of cases whose SSIM fell by more than :data:`CLEARLY_WORSE`.
        seconds: mean time for a case.
    """

    group: Group
    method: str
    against: str
    num_cases: int
    num_subjects: int
    means: dict[str, float]
    gains: dict[str, Interval]
    made_worse: float
    clearly_worse: float
    seconds: float


def summarise(rows: Iterable[Row], by: Callable[[Row], Group | None], against: str = UNCORRECTED) -> list[Summary]:
    """One summary for each group and method, in the order in which they come; ``by`` gives None to leave a row out.

    Raises:
        ValueError: two cases are called the same, or a method has no SSIM of a case of which ``against`` has one: left
            out, it would make the method look better.
    """
    groups: dict[Group, dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if (group := by(row)) is not None:
            groups[group][row.method].append(row)
    return [
        _summary(group, method, found, methods.get(against, []), against)
        for group, methods in groups.items()
        for method, found in methods.items()
    ]


def paired_interval(gains: Sequence[float], subjects: Sequence[str]) -> Interval:
    """Mean of ``gains`` and the interval from resampling subjects.

    Cases of one subject are not independent: their gains are averaged first, and the subjects resampled. The mean is
    that over the subjects, as the interval is. The plain percentile bootstrap is too narrow for few subjects; the
    "expanded percentile" interval (Hesterberg 2015, The American Statistician 69, 371-386) takes percentiles further
    out, by what Student's t says of as many.
    """
    per_subject = defaultdict(list)
    for gain, subject in zip(gains, subjects, strict=True):
        if np.isfinite(gain):
            per_subject[subject].append(gain)
    means = np.array([np.mean(values) for values in per_subject.values()])
    if len(means) == 0:
        return Interval(*[float("nan")] * 3)
    if len(means) < FEWEST_SUBJECTS:
        return Interval(float(means.mean()), float("nan"), float("nan"))
    if np.ptp(means) == 0:
        return Interval(*[float(means[0])] * 3)
    level = _expanded_level(len(means))
    drawn = bootstrap((means,), np.mean, n_resamples=RESAMPLES, confidence_level=level, method="percentile", rng=0)
    ends = drawn.confidence_interval
    return Interval(float(means.mean()), float(ends.low), float(ends.high))


def _expanded_level(count: int) -> float:
    """Confidence level at which the percentile interval of ``count`` values covers about 95 % (Hesterberg 2015)."""
    return float(1 - 2 * norm.cdf(-np.sqrt(count / (count - 1)) * t.ppf(0.975, count - 1)))


def _summary(group: Group, method: str, rows: list[Row], against_rows: list[Row], against: str) -> Summary:
    before = {row.case: row for row in against_rows}
    if len(before) < len(against_rows):
        twice = next(name for name, count in Counter(row.case for row in against_rows).items() if count > 1)
        raise ValueError(f"two cases of {against!r} are called {twice!r}; gains are paired by this name. Rename one.")
    rows = [row for row in rows if row.case in before]
    pairs = [(row, before[row.case]) for row in rows]
    half = next((row.case for row, other in pairs if np.isfinite(row.ssim) != np.isfinite(other.ssim)), None)
    if half is not None:
        raise ValueError(
            f"only one of {method!r} and {against!r} has an SSIM of {half!r}; both must, or none. Measure it again."
        )
    gains = {name: [getattr(a, name) - getattr(b, name) for a, b in pairs] for name in METRICS}
    lost = -np.array(gains["ssim"])
    lost = lost[np.isfinite(lost)]
    return Summary(
        group=group,
        method=method,
        against=against,
        num_cases=len(rows),
        num_subjects=len({row.subject for row in rows}),
        means={name: _mean([getattr(row, name) for row in rows]) for name in (*METRICS, "aes_target")},
        gains={name: paired_interval(found, [row.subject for row, _ in pairs]) for name, found in gains.items()},
        made_worse=_mean(lost > ROUNDING),
        clearly_worse=_mean(lost > CLEARLY_WORSE),
        seconds=_mean([row.seconds for row in rows]),
    )


def _mean(values: Any) -> float:
    """Mean of what is finite, NaN of nothing."""
    finite = np.asarray(values, dtype=float)
    finite = finite[np.isfinite(finite)]
    return float(finite.mean()) if finite.size else float("nan")
