"""What the command says while it works: on a terminal alone, on stderr, from one process."""

from __future__ import annotations

from functools import partial

import pytest
from rich.console import Console

from mocodis_monai.correct import console
from mocodis_monai.correct.console import progress_bar, searching


def bar() -> None:
    with progress_bar(3, shown=True) as advance:
        advance(1.5)


def search(shown: bool = True) -> None:
    with searching(shown):
        pass


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setattr(console, "Console", partial(Console, force_terminal=True))


@pytest.mark.parametrize(("show", "words"), [(search, "searching for scans"), (bar, "correcting 3 scans")])
def test_long_work_shows_on_a_terminal(show, words, terminal, capsys):
    show()
    shown = capsys.readouterr()
    assert words in shown.err and not shown.out


def test_nothing_shows_in_a_file_or_from_another_process(terminal, capsys, monkeypatch):
    search(shown=False)
    monkeypatch.setattr(console, "Console", partial(Console, force_terminal=False))
    search()
    bar()
    shown = capsys.readouterr()
    assert not shown.err and not shown.out
