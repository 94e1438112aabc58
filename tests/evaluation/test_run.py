"""Running methods over cells: what a method gives is checked, and no method can touch what the others see."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from mocodis_monai.data.phantom import make_phantom
from mocodis_monai.errors import InputError
from mocodis_monai.evaluation import Case, Cell, Output, cells_of_still_scans, evaluate_cells

CELL = Cell("head", "sudden", "mild", "")


class Method:
    """A method that does ``change`` to the scan; ``uncertainty`` is made of the scan likewise."""

    num_parameters = 0

    def __init__(self, change=lambda moved: moved, name="ours", uncertainty=lambda moved: None) -> None:
        self.change, self.name, self.uncertainty = change, name, uncertainty

    def correct(self, case: Case) -> Output:
        return Output(self.change(case.moved), 0.0, uncertainty=self.uncertainty(case.moved))


def case(cell: Cell = CELL, subject: str = "a", paired: bool = True) -> Case:
    target = make_phantom("head", 1, (64, 64)).image[0][..., None].float()
    moved = (target + target.roll(3, 0)) / 2
    spacing_mm = (1.0, 1.0, 1.0)
    return Case(cell, subject, subject, moved, target if paired else None, spacing_mm, 2, 1.0, {}, "PLS")


def spoilt(moved: torch.Tensor) -> torch.Tensor:
    return torch.where(moved == moved.max(), torch.nan, moved)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (spoilt, r"'ours' on 'a': its image has shape \(64, 64, 1\), torch\.float32 and [1-9]\d* values that are not"),
        (lambda moved: moved / 0, "values that are not finite; allowed are finite floats"),
        (lambda moved: moved[:-1], r"has shape \(63, 64, 1\).*allowed are finite floats of shape \(64, 64, 1\)"),
        (lambda moved: moved.squeeze(-1), r"has shape \(64, 64\)"),
        (lambda moved: (100 * moved).int(), "torch.int32 and 0 values"),
        (lambda moved: moved.numpy(), "its image is a ndarray; allowed is a torch tensor"),
    ],
)
@pytest.mark.parametrize("paired", [True, False])
def test_what_is_no_finite_image_of_the_scan_is_refused(change, message, paired):
    with pytest.raises(InputError, match=message):
        evaluate_cells([(CELL, [case(paired=paired)])], [Method(change)])


def test_what_would_fail_at_the_end_is_refused_before_the_first_case():
    class Silent(Method):
        num_parameters = None

        def correct(self, case):
            raise AssertionError("corrected")

    for methods, message in (([], "got none"), ([Silent()], "num_parameters"), ([Method(name="A|B")], "without")):
        with pytest.raises(InputError, match=message):
            evaluate_cells([(CELL, [case()])], methods)


def test_a_map_of_uncertainty_is_held_to_the_same():
    with pytest.raises(InputError, match=r"'ours' on 'a': its uncertainty has shape \(64, 64, 1\)"):
        evaluate_cells([(CELL, [case()])], [Method(uncertainty=spoilt)])


@pytest.mark.parametrize(
    "change",
    [lambda moved: moved * torch.ones(1, requires_grad=True), lambda moved: moved.bfloat16(), MetaTensor],
    ids=["gradients", "bfloat16", "metadata"],
)
def test_a_float_image_is_measured_whatever_it_carries(change):
    (row,) = (row for row in evaluate_cells([(CELL, [case()])], [Method(change)]).rows if row.method == "ours")
    (plain,) = (row for row in evaluate_cells([(CELL, [case()])], [Method()]).rows if row.method == "ours")
    assert row.ssim == pytest.approx(plain.ssim, abs=1e-2)


def test_a_scan_without_a_target_has_no_ssim_and_passes():
    rows = evaluate_cells([(CELL, [case(paired=False)])], [Method()]).rows
    assert np.isnan([row.ssim for row in rows]).all() and np.isfinite([row.aes for row in rows]).all()


class Looking(Method):
    """Notes which target it was shown."""

    def correct(self, case: Case) -> Output:
        self.seen = case.target
        return super().correct(case)


def test_a_method_that_computes_in_place_spoils_its_own_row_only():
    shared = case()
    shared = shared._replace(moved=shared.target)  # one tensor, as in the clean cells of the grid
    doubled = Method(lambda moved: moved.mul_(2).add_(1), "in place")
    found = evaluate_cells([(CELL, [shared])], [doubled, Method(lambda moved: moved, "after it")])
    ssim = {row.method: row.ssim for row in found.rows}
    assert ssim["uncorrected"] == ssim["after it"] == pytest.approx(1) and ssim["in place"] < 0.9


def test_the_target_is_shown_only_to_a_method_that_asks_for_it():
    blind, ceiling = Looking(name="blind"), Looking(name="ceiling")
    ceiling.sees_target = True
    given = case()
    evaluate_cells([(CELL, [given])], [blind, ceiling])
    assert blind.seen is None and torch.equal(ceiling.seen, given.target) and ceiling.seen is not given.target


class Untouched(Method):
    def correct(self, case: Case) -> Output:
        raise AssertionError("the work began")


@pytest.mark.parametrize("names", [("ours", "ours"), ("ours", "uncorrected")])
def test_two_methods_of_one_name_are_refused_before_the_work(names):
    with pytest.raises(InputError, match=f"2 methods are called '{names[1]}'.*Rename one"):
        evaluate_cells([(CELL, [case()])], [Untouched(name=name) for name in names])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"severity": "heavy"}, r"severity 'heavy'; allowed are \('none', 'mild'"),
        ({"held_out": "site"}, "held_out 'site'"),
        ({"region": "head | T1"}, r"region 'head \| T1'; ' \| ' stands between names"),
        ({"family": "nod | fast"}, r"family 'nod \| fast'"),
    ],
)
def test_a_cell_without_a_place_in_the_tables_is_refused_before_the_first_case(changes, message):
    cell = CELL._replace(**changes)
    cells = [(CELL, [case()]), (cell, [case(cell)])]
    with pytest.raises(InputError, match=message):
        evaluate_cells(cells, [Untouched()])
    with pytest.raises(InputError, match=message):
        evaluate_cells(iter(cells[1:]), [Untouched()])


def test_an_evaluation_without_a_case_says_what_was_looked_for():
    with pytest.raises(InputError, match=r"no scan could be measured of head \| sudden \| mild"):
        evaluate_cells([(CELL, [])], [Method()])
    with pytest.raises(InputError, match=r"my\.json: no cell came.*still scans of subjects without a moved one"):
        evaluate_cells(cells_of_still_scans([]), [Method()], {"data": "my.json"})
