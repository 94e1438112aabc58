"""Two methods of one table against each other, case by case: the paired difference in SSIM.

    python -m benchmarks.paired DIR/cases.csv --method "ours, share 0.5" --against "MONAI BasicUNet, share 0.5"
    python -m benchmarks.paired DIR/cases.csv --against uncorrected --by "region and severity"

All columns are over the cases that both methods have; groups without a target, which have no SSIM, are left out.
`cases.csv` is what `mocodis evaluate` and `python -m benchmarks.baselines` write.
"""

from __future__ import annotations

import csv
from math import isfinite
from pathlib import Path
from typing import Any

import typer

from mocodis_monai.evaluation import Row, Summary, summarise
from mocodis_monai.evaluation.summaries import GROUPS

_TEXTS = {"region", "family", "severity", "held_out", "subject", "case", "method"}
KINDS = [name for name in GROUPS if name != "cell"]
HEAD = "| {2} | number | {0}: gain, clearly worse | {1}: gain, clearly worse | difference [95 %] |"


def read_rows(path: Path) -> list[Row]:
    """The rows of a ``cases.csv``; an empty number is NaN."""
    with path.open(newline="", encoding="utf-8") as file:
        return [Row(**{name: _value(name, text) for name, text in line.items()}) for line in csv.DictReader(file)]


def _value(name: str, text: str) -> Any:
    return text if name in _TEXTS else float(text or "nan")


def table(rows: list[Row], method: str, against: str, by: str = "population and severity") -> list[str]:
    """Lines of Markdown: gains of both, and the mean paired difference in SSIM with its interval.

    Raises:
        typer.BadParameter: a method is not in the rows, the two have no case in common, or there is no such group.
    """
    names = {row.method for row in rows}
    for name in (method, against):
        if name not in names:
            raise typer.BadParameter(f"got {name!r}; the table has {', '.join(sorted(names))}.")
    if by not in KINDS:
        raise typer.BadParameter(f"got {by!r}; allowed are {', '.join(KINDS)}.")
    rows = _common(rows, method, against)
    if not rows:
        raise typer.BadParameter(f"{method!r} and {against!r} have no case in common. Measure both on the same cases.")
    gains = {(s.group, s.method): s for s in summarise(rows, GROUPS[by])}
    paired = summarise([row for row in rows if row.method in (method, against)], GROUPS[by], against=against)
    head = HEAD.format(method, against, by.replace(" and ", " | "))
    lines = [head, "|" + "---|" * (head.count("|") - 1)]
    for found in (summary for summary in paired if summary.method == method and isfinite(summary.gains["ssim"].mean)):
        both = [_gain(gains[found.group, name]) for name in (method, against)]
        lines.append(f"| {found.group.label} | {found.num_cases} | {' | '.join(both)} | {found.gains['ssim']:+.3f} |")
    return lines


def _common(rows: list[Row], method: str, against: str) -> list[Row]:
    """The rows of the cases that both methods have."""
    first, second = ({_case(row) for row in rows if row.method == name} for name in (method, against))
    return [row for row in rows if _case(row) in first & second]


def _case(row: Row) -> tuple[str, ...]:
    return (row.region, row.family, row.severity, row.subject, row.case)


def _gain(summary: Summary) -> str:
    return f"{summary.gains['ssim'].mean:+.3f}, {summary.clearly_worse:.0%}"


def main(
    cases: Path = typer.Argument(..., exists=True, dir_okay=False, help="A cases.csv."),
    method: str = typer.Option("ours", help="Name of a method in it."),
    against: str = typer.Option(..., help="Name of the other."),
    by: str = typer.Option("population and severity", help=f"Groups of cases: {', '.join(KINDS)}."),
) -> None:
    """Print the table."""
    print("\n".join(table(read_rows(cases), method, against, by)))


if __name__ == "__main__":
    typer.run(main)
