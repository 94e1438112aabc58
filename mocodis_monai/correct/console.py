"""What the command shows of a run: a progress bar with the time left, and a table at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Column, Table

from mocodis_monai.correct.batch import NUMBERS, Outcome
from mocodis_monai.errors import printable

__all__ = ["print_table", "progress_bar", "searching"]

MAX_ROWS = 60
_SPEED_OVER_S = 600.0  # scans may take minutes: an average over less would jump


@contextmanager
def searching(shown: bool = True) -> Iterator[None]:
    """Say on stderr, if ``shown`` and a terminal, that scans are searched for: in a large archive it takes minutes."""
    console = Console(stderr=True)
    if not (shown and console.is_terminal):
        yield
        return
    with console.status("searching for scans"):
        yield


@contextmanager
def progress_bar(num_scans: int, shown: bool = True) -> Iterator[Callable[[float], None]]:
    """A bar on stderr, if ``shown`` and a terminal; yields what is to be called with each share of a scan done."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("taken"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    hidden = not (shown and console.is_terminal)
    bar = Progress(
        *columns, console=console, disable=hidden, speed_estimate_period=_SPEED_OVER_S, transient=True
    )
    with bar:
        task = bar.add_task("correcting" if num_scans == 1 else f"correcting {num_scans} scans", total=num_scans)
        yield lambda share: bar.advance(task, share)


def print_table(outcomes: Sequence[Outcome]) -> None:
    """One row per scan, those that failed first; after many rows only how many there are more."""
    table = Table(Column("scan", overflow="fold"), "result")
    for column in NUMBERS:
        table.add_column(column.short, justify="right")
    for outcome in sorted(outcomes, key=lambda o: (not o.failed, o.scan.name))[:MAX_ROWS]:
        table.add_row(escape(printable(outcome.scan.name)), outcome.result, *outcome.numbers)
    console = Console()
    console.print(table)
    if len(outcomes) > MAX_ROWS:
        console.print(f"and {len(outcomes) - MAX_ROWS} more, all in results.jsonl")
