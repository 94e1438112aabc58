"""Two methods against each other, from the file that an evaluation wrote."""

from __future__ import annotations

import numpy as np
import pytest
import typer

from benchmarks.paired import read_rows, table
from mocodis_monai.evaluation import METRICS, Row
from mocodis_monai.report.evaluation import _write_rows


def rows(differences) -> list[Row]:
    """Ours is better than theirs by the differences, case by case; both gain .1 and more over no correction."""
    numbers = dict.fromkeys((*METRICS, "aes_target", "displacement_mm", "seconds"), 0.25) | {"vif": float("nan")}
    made = []
    for number, difference in enumerate(differences):
        for method, ssim in (("uncorrected", 0.5), ("ours", 0.6 + difference), ("theirs", 0.6)):
            named = {"region": "knee", "family": "nod", "severity": "mild", "held_out": "region"}
            named |= {"subject": str(number), "case": f"knee, {number}", "method": method}
            made.append(Row(**named, **{**numbers, "ssim": ssim}))
    return made


def test_the_difference_is_taken_case_by_case(tmp_path):
    differences = np.array([0.01, 0.02, 0.03, -0.01, 0.04])
    _write_rows(tmp_path / "cases.csv", rows(differences))
    found = read_rows(tmp_path / "cases.csv")
    assert [row._replace(vif=0.0) for row in found] == [row._replace(vif=0.0) for row in rows(differences)]
    (line,) = table(found, "ours", "theirs")[2:]
    assert line.startswith("| held-out regions | mild | 5 | +0.118, 0% | +0.100, 0% | +0.018 [")
    (opposite,) = table(found, "theirs", "ours")[2:]
    assert "| -0.018 [" in opposite
    head, _, line = table(found, "ours", "theirs", "region and severity")
    assert head.startswith("| region | severity | number |") and line.startswith("| knee | mild | 5 |")


def test_all_columns_are_over_the_cases_that_both_have():
    differences = [0.01, 0.02, 0.03, -0.01, 0.04, *7 * [-0.3]]
    found = [row for row in rows(differences) if row.method != "theirs" or int(row.subject) < 5]
    (line,) = table(found, "ours", "theirs")[2:]
    assert line.startswith("| held-out regions | mild | 5 | +0.118, 0% | +0.100, 0% | +0.018 [")
    assert table(found, "theirs", "ours")[2].startswith("| held-out regions | mild | 5 | +0.100, 0% | +0.118, 0% |")
    apart = [row for row in found if row.method != "ours" or int(row.subject) >= 5]
    with pytest.raises(typer.BadParameter, match="'ours' and 'theirs' have no case in common"):
        table(apart, "ours", "theirs")


def test_a_method_that_is_not_there_is_named():
    with pytest.raises(typer.BadParameter, match=r"got 'none'; the table has ours, theirs, uncorrected"):
        table(rows([0.0]), "ours", "none")
    with pytest.raises(typer.BadParameter, match=r"got 'age'; allowed are severity, population and severity"):
        table(rows([0.0]), "ours", "theirs", "age")


def test_groups_without_a_target_are_left_out():
    alone = [row._replace(severity="moved alone", ssim=float("nan")) for row in rows([0.0, 0.1])]
    lines = table([*rows([0.01, 0.02]), *alone], "ours", "theirs")
    assert len(lines) == 3 and not any("nan" in line for line in lines)
