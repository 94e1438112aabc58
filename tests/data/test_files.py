"""Temporary files beside outputs: those of a run that goes on stay, those of one that was killed go."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from mocodis_monai.data.files import clear_leftovers, staged


def leave(folder: Path, *names: str) -> None:
    """What a run that is killed leaves behind: as much as it has written under temporary names, a file or a folder."""
    child = os.fork()
    if not child:
        with staged(*(folder / name for name in names)) as temporaries:
            for temporary in temporaries:
                temporary.mkdir() if temporary.suffix == "" else temporary.write_text("half")
            os._exit(0)
    os.waitpid(child, 0)


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_runs_that_write_one_output_at_once_do_not_disturb_each_other(tmp_path, kind):
    def write(path: Path, content: str) -> None:
        if kind == "folder":
            path.mkdir()
        (path / "slice" if kind == "folder" else path).write_text(content)

    place = tmp_path / "a" / "slice" if kind == "folder" else tmp_path / "a"
    with staged(tmp_path / "a") as (first,):
        write(first, "first")
        with staged(tmp_path / "a") as (second,):
            write(second, "second")
        assert place.read_text() == "second"
    assert place.read_text() == "first" and [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_what_a_killed_run_left_goes_after_a_day_or_when_nobody_else_can_be_writing(tmp_path, monkeypatch):
    names, outputs = ("a.nii.gz", "series"), [tmp_path / "a.nii.gz", tmp_path / "series"]
    leave(tmp_path, *names, "b.png")
    assert len(list(tmp_path.iterdir())) == 3
    clear_leftovers(*outputs)
    assert [path.suffix for path in tmp_path.iterdir()] == [".png"]  # not of these outputs
    leave(tmp_path, *names)
    now = time.time()
    for hours, left in ((23, 2), (25, 0)):
        monkeypatch.setattr("time.time", lambda hours=hours: now + hours * 3600)
        with pytest.raises(KeyboardInterrupt), staged(*outputs):
            raise KeyboardInterrupt
        assert len(list(tmp_path.iterdir())) == 1 + left
