"""`mocodis evaluate` and the bundle's evaluation: three files from given weights, one line for what is unfit."""

from __future__ import annotations

import json

import pytest
import torch
from typer.testing import CliRunner

from mocodis_monai import cli
from mocodis_monai.errors import InputError
from mocodis_monai.evaluation import Grid, table
from mocodis_monai.networks import MotionCorrector
from mocodis_monai.report.findings import OTHER_WEIGHTS


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(0)
    torch.save(MotionCorrector().state_dict(), tmp_path / "own.pt")
    return tmp_path / "own.pt"


def test_the_command_writes_its_files_and_prints_the_table(weights, tmp_path, monkeypatch):
    asked = []

    def one_cell(quick):
        asked.append(quick)
        return Grid(("knee",), ("sudden",), (), num_subjects=1)

    monkeypatch.setattr(table, "builtin_grid", one_cell)
    out = tmp_path / "out"
    done = CliRunner().invoke(cli.app, ["evaluate", "--out", str(out), "--weights", str(weights), "--quick"])
    assert done.exit_code == 0, done.output
    assert asked == [True]
    assert {path.name for path in out.iterdir()} == {"report.html", "summary.json", "cases.csv", "table.md"}
    assert (out / "table.md").read_text().strip() in done.output
    about = json.loads((out / "summary.json").read_text())["about"]
    assert about["weights"] == "own.pt" and about["quick"] is True and about["released"] is False
    assert OTHER_WEIGHTS in (out / "table.md").read_text()  # they may have been trained on what is "held out"
    assert str(tmp_path) not in (out / "report.html").read_text()  # a path may name a person


def test_a_network_is_measured_with_the_weights_that_the_report_names(weights):
    network = MotionCorrector()
    table.evaluate(weights, grid=Grid(("knee",), (), (), num_subjects=1), network=network)
    named = torch.load(weights, weights_only=True)
    assert all(torch.equal(value, named[name]) for name, value in network.state_dict().items())
    with pytest.raises(InputError, match=r"model\.pt: the checkpoint does not fit the network"):
        table.evaluate(network=MotionCorrector(prior_layers=1))  # the released ones, of other sizes


def test_a_grid_of_ones_own_and_the_quick_one_are_not_both_taken():
    with pytest.raises(InputError, match="quick and grid"):
        table.evaluate(quick=True, grid=Grid(("knee",)))


@pytest.mark.parametrize("option", ["--weights", "--manifest"])
def test_what_is_not_there_is_named_before_any_work(option, tmp_path):
    gone = tmp_path / "gone"
    done = CliRunner().invoke(cli.app, ["evaluate", "--out", str(tmp_path / "out"), option, str(gone)])
    assert isinstance(done.exception, InputError) and str(gone) in str(done.exception)
    assert not (tmp_path / "out").exists()
