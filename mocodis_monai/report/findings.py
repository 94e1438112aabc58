"""What an evaluation says, from its ``summary.json``: a few sentences, and tables in Markdown for a README.

    python -m mocodis_monai.report.findings DIR/summary.json
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from mocodis_monai.evaluation.cases import MOVED_ALONE, NO_MOTION, PAIRS, SEVERITIES, Group
from mocodis_monai.evaluation.methods import UNCORRECTED
from mocodis_monai.evaluation.statistics import Interval
from mocodis_monai.report.numbers import number, percent

__all__ = ["MotionScores", "markdown", "missing_rows", "motion_scores", "score_severities", "verdict"]

OTHER_WEIGHTS = (
    '"Seen" and "held out" are meant of the training of the released weights: these are others, or nobody said which, '
    "and may have been trained on what is held out there."
)
LARGE_SHARE = 0.5
"""Share of the lost similarity from which on most of an artifact counts as gone."""
_RAISES, _LOWERS = "raises SSIM", "lowers SSIM"
_UNSURE, _TOO_FEW = "has no sure effect on SSIM", "had too few subjects to be judged"
_SEVERE = "severe"
_Entry = dict[str, Any]
"""A :class:`mocodis_monai.evaluation.Summary` as ``summary.json`` holds it."""


class MotionScores(NamedTuple):
    """How well the motion score tells how much moved in the cases of a population.

    Attributes:
        population: its name.
        means_mm: mean score by severity, in mm.
        rank_correlation: Spearman, of the score with the displacement that was simulated.
    """

    population: str
    means_mm: dict[str, float]
    rank_correlation: float


def verdict(summary: dict[str, Any]) -> list[str]:
    """Sentences for a reader with one minute: what is gained, what remains, what is spoilt, and for whom.

    Args:
        summary: what ``summary.json`` holds; the first method after the uncorrected scan is the one spoken of.
    """
    ours = summary["methods"][1]
    pooled = [group for group in _moved(summary, "severity", ours) if _gain(group) is not None]
    sentences = [_gains_in_words(pooled)] if pooled else []
    worst = [group for group in pooled if _severity(group) in (_SEVERE, PAIRS)]
    uncorrected = {group["group"]: group for group in _of(summary, "severity", UNCORRECTED)}
    sentences += [_remains_in_words(group, uncorrected[group["group"]]) for group in worst]
    sentences += [_still_in_words(group) for group in _of(summary, "severity", ours) if _severity(group) == NO_MOTION]
    by_population = [group for group in _moved(summary, "population and severity", ours) if _gain(group) is not None]
    severe = [group for group in by_population if _severity(group) == _SEVERE]
    if len(severe) > 1:
        said = [f"{_head(group)} {_signed(group['gains']['ssim'])}" for group in severe]
        sentences.append(f"Gain in SSIM at severe motion: {'; '.join(said)}.")
    if any(_severity(group) == MOVED_ALONE for group in _of(summary, "severity", ours)):
        sentences.append("Scans without a still twin have no truth to compare with: edges, score and likelihood only.")
    if _is_of_others(summary):
        sentences.append(OTHER_WEIGHTS)
    return sentences


def missing_rows(summary: dict[str, Any]) -> str:
    """Which rows of the built-in grid are not there, and how to get them; empty if none is missing."""
    return str(summary["about"].get("missing", ""))


def motion_scores(summary: dict[str, Any]) -> list[MotionScores]:
    """The motion scores of a summary, by population; those without simulated motion are left out."""
    ours = summary["methods"][1]
    found = []
    for name, correlation in summary.get("score_rank_correlation", {}).items():
        groups = [group for group in _of(summary, "population and severity", ours) if _head(group) == name]
        means = {_severity(group): group["means"]["score_mm"] for group in groups}
        found.append(MotionScores(name, means, correlation))
    return found


def score_severities(scores: list[MotionScores]) -> list[str]:
    """The severities that any of ``scores`` has, in order."""
    return [severity for severity in SEVERITIES if any(severity in row.means_mm for row in scores)]


def markdown(summary: dict[str, Any]) -> str:
    """Tables of a summary, ready for a README."""
    ours = summary["methods"][1]
    parts = [table(summary, ours) for table in (_gain_table, _method_table, _alone_table)]
    parts += [_score_table(summary), _cost_table(summary)]
    parts += [[missing_rows(summary)]] if missing_rows(summary) else []
    parts += [[OTHER_WEIGHTS]] if _is_of_others(summary) else []
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def _is_of_others(summary: dict[str, Any]) -> bool:
    """Whether other weights than the released ones were measured, or may have been: nobody said that it is they."""
    return not summary["about"].get("released", False)


def _gain_table(summary: dict[str, Any], ours: str) -> list[str]:
    groups = [group for group in _of(summary, "population and severity", ours) if _gain(group) is not None]
    titles = "cases|severity|number|SSIM before|after|gain [95 %]|made worse|clearly worse|PSNR dB before|after"
    before = _before(summary)
    return _table(
        titles,
        [
            (
                _head(group),
                _severity(group),
                f"{group['num_cases']}",
                number(before[group["group"]]["means"]["ssim"]),
                number(group["means"]["ssim"]),
                _signed(group["gains"]["ssim"]),
                percent(group["made_worse"]),
                percent(group["clearly_worse"]),
                number(before[group["group"]]["means"]["psnr_db"], 1),
                number(group["means"]["psnr_db"], 1),
            )
            for group in groups
        ],
    )


def _method_table(summary: dict[str, Any], ours: str) -> list[str]:
    """Every method where nothing moved and at severe motion (or on real pairs), and ours less each of them."""
    severe = [
        group
        for group in summary["groups"]["population and severity"]
        if _severity(group) in (_SEVERE, PAIRS) and _gain(group) is not None
    ]
    others = summary["groups"]["against others"]
    lines = []
    for group in severe if len(summary["methods"]) > 2 else []:
        clean = _group(group)._replace(severity=NO_MOTION).label
        still = _find(summary["groups"]["population and severity"], clean, group["method"])
        ahead = next((o for o in others if (o["group"], o["against"]) == (group["group"], group["method"])), None)
        plain = group["method"] == UNCORRECTED
        lines.append(
            (
                _head(group),
                group["method"],
                number(still["means"]["ssim"]) if still else "",
                number(group["means"]["ssim"]),
                "" if plain else _signed(group["gains"]["ssim"]),
                "" if plain else percent(group["made_worse"]),
                _signed(ahead["gains"]["ssim"]) if ahead else "",
            )
        )
    titles = "cases|method|SSIM without motion|at severe or real motion|gain [95 %]|made worse"
    return _table(f"{titles}|{ours} less it [95 %]", lines)


def _alone_table(summary: dict[str, Any], ours: str) -> list[str]:
    groups = [group for group in _of(summary, "cell", ours) if _severity(group) == MOVED_ALONE]
    cells = {group["group"]: group for group in _of(summary, "cell", UNCORRECTED)}
    return _table(
        "scans without a still twin|number|AES before|after|motion score mm|surprise nats",
        [
            (
                _group(group).names[0],
                f"{group['num_cases']}",
                number(cells[group["group"]]["means"]["aes"], 4),
                number(group["means"]["aes"], 4),
                number(group["means"]["score_mm"], 2),
                number(group["means"]["surprise_nats"], 2),
            )
            for group in groups
        ],
    )


def _score_table(summary: dict[str, Any]) -> list[str]:
    scores = motion_scores(summary)
    present = score_severities(scores)
    return _table(
        "|".join(["motion score in mm", *present, "rank correlation with the displacement"]),
        [
            (
                row.population,
                *(number(row.means_mm.get(severity), 1) for severity in present),
                number(row.rank_correlation, 2),
            )
            for row in scores
        ],
    )


def _cost_table(summary: dict[str, Any]) -> list[str]:
    about = summary["about"]
    training, volume = about.get("training_cpu_s"), about.get("seconds_per_volume")
    if not training or not volume:
        return []
    lines = [
        (
            name,
            f"{about['parameters'][name]:,}",
            f"{training[name] / 60:.0f}" if name in training else "",
            f"{volume[name]:.0f}",
        )
        for name in about["parameters"]
    ]
    return _table("method|parameters|training in processor minutes|seconds per volume", lines)


def _gains_in_words(groups: list[_Entry]) -> str:
    """Where the correction helps, where it harms, and where nobody can tell."""
    found: dict[str, list[str]] = {effect: [] for effect in (_RAISES, _LOWERS, _UNSURE, _TOO_FEW)}
    for group in groups:
        gain = group["gains"]["ssim"]
        found[_effect(gain)].append(f"{_name(group)} ({_signed(gain)})")
    said = [f"{effect} at {', '.join(names)}" for effect, names in found.items() if names]
    of = "" if len(found[_TOO_FEW]) == len(groups) else " with its 95 % interval"
    return f"The correction {'; it '.join(said)}; in brackets the mean change{of}."


def _effect(gain: dict[str, Any]) -> str:
    """What a gain in SSIM and its interval let one say of the correction."""
    if gain["low"] is None:
        return _TOO_FEW
    if gain["low"] > 0:
        return _RAISES
    return _LOWERS if gain["high"] < 0 else _UNSURE


def _remains_in_words(group: _Entry, before: _Entry) -> str:
    gain = group["gains"]["ssim"]["mean"]
    if _severity(group) == PAIRS:  # resampling and another breath cost similarity too: no share of it is motion's
        return f"At {_name(group)} {group['made_worse']:.0%} of the cases are made worse."
    back = gain / max(1 - before["means"]["ssim"], 1e-6)
    rest = "most of the artifact is gone" if back >= LARGE_SHARE else "most of the artifact remains"
    share = f"{back:.0%} of the similarity that it took comes back" if back > 0 else "nothing of it comes back"
    return f"At {_name(group)} {share}: {rest}, and {group['made_worse']:.0%} of the cases are made worse."


def _still_in_words(group: _Entry) -> str:
    return (
        f"Images without motion come back at SSIM {group['means']['ssim']:.4f}; "
        f"{group['clearly_worse']:.0%} of them are clearly changed."
    )


def _table(titles: str, lines: Iterable[tuple[str, ...]]) -> list[str]:
    """A Markdown table, its titles with bars between them; nothing if it has no lines."""
    rows = [f"| {' | '.join(line)} |" for line in lines]
    head = titles.split("|")
    return [f"| {' | '.join(head)} |", "|---" * len(head) + "|", *rows] if rows else []


def _of(summary: dict[str, Any], kind: str, method: str) -> Iterator[_Entry]:
    yield from (group for group in summary["groups"][kind] if group["method"] == method)


def _moved(summary: dict[str, Any], kind: str, method: str) -> list[_Entry]:
    return [group for group in _of(summary, kind, method) if _severity(group) != NO_MOTION]


def _before(summary: dict[str, Any]) -> dict[str, _Entry]:
    return {group["group"]: group for group in _of(summary, "population and severity", UNCORRECTED)}


def _find(groups: list[_Entry], name: str, method: str) -> _Entry | None:
    return next((group for group in groups if (group["group"], group["method"]) == (name, method)), None)


def _gain(group: _Entry) -> float | None:
    mean: float | None = group["gains"]["ssim"]["mean"]
    return mean


def _group(entry: _Entry) -> Group:
    return Group.of_label(entry["group"])


def _head(entry: _Entry) -> str:
    return _group(entry).head


def _severity(entry: _Entry) -> str:
    return _group(entry).severity


def _name(group: _Entry) -> str:
    return "real motion" if _severity(group) == PAIRS else f"{_severity(group)} motion"


def _signed(gain: dict[str, float | None]) -> str:
    """A mean gain, and its interval where there is one."""
    values = {part: math.nan if value is None else value for part, value in gain.items()}
    return f"{Interval(**values):+.3f}"


if __name__ == "__main__":
    content = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    print(" ".join(verdict(content)), "", markdown(content), sep="\n")
