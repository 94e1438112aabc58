"""A name belongs to one case, whatever the grid asks for, and another one of that name is refused at once."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from mocodis_monai.errors import InputError
from mocodis_monai.evaluation import Case, Cell, Grid, cells_of, evaluate_cells
from mocodis_monai.evaluation.methods import Uncorrected


class Counting:
    """Notes which cases it was given."""

    name, num_parameters = "ours", 0

    def __init__(self) -> None:
        self.given: list[str] = []

    def correct(self, case: Case):
        self.given.append(case.name)
        return Uncorrected().correct(case)


def made(grid: Grid) -> dict[Cell, list[Case]]:
    cells = list(cells_of(grid))
    assert len({cell for cell, _ in cells}) == len(cells)
    names = [case.name for _, cases in cells for case in cases]
    assert len(set(names)) == len(names)
    return dict(cells)


def test_two_displacements_of_one_band_share_a_cell_and_are_told_apart():
    (one,) = (cases for cell, cases in made(Grid(("knee",), ("nod",), (1.75,), 2)).items() if cell.family == "nod")
    cells = made(Grid(("knee",), ("nod",), (1.5, 3.5, 1.75, 1.5), num_subjects=2))
    both, severe = (cases for cell, cases in cells.items() if cell.family == "nod")
    start = [case.name for case in one]
    assert start[0].endswith("nod moderate")
    assert [case.name for case in both] == [f"{name} {score} mm" for score in (1.5, 1.75) for name in start]
    assert [case.displacement_mm for case in both] == pytest.approx([1.5, 1.5, 1.75, 1.75], rel=0.02)
    assert all(case.name.endswith("nod severe") for case in severe)  # alone in its band: named as ever
    for alone, beside in zip(one, both[2:], strict=True):
        assert torch.equal(alone.moved, beside.moved)  # the name does not draw the motion


@pytest.mark.parametrize(("wanted", "found"), [(2, 2), (4, 3), (9, 3)])
def test_a_volume_gives_a_slice_once_and_fewer_where_it_is_short(wanted, found, tmp_path):
    path = volume(tmp_path / "v.nii.gz", slices=4)
    cells = made(Grid(("v axial",), (), (), num_subjects=wanted, volumes=(("v", str(path)),)))
    assert [len(cases) for cases in cells.values()] == [found]


def volume(path: Path, slices: int) -> Path:
    values = np.random.default_rng(0).uniform(50, 100, (32, 32, slices)).astype(np.float32)
    nib.save(nib.Nifti1Image(values, np.eye(4)), path)
    return path


@pytest.mark.parametrize("severity", ["mild", "severe"])
def test_a_name_that_comes_again_is_refused_before_its_case_is_corrected(severity):
    cell = Cell("head", "sudden", "mild", "")
    image = torch.rand(32, 32, 1, generator=torch.Generator().manual_seed(0))
    case = Case(cell, "a", "a", image, image, (1.0, 1.0, 1.0), 2, 1.0, {}, "PLS")
    other = cell._replace(severity=severity)
    later = (other, iter([case._replace(name="b"), case._replace(cell=other), case._replace(name="c")]))
    ours = Counting()
    with pytest.raises(InputError, match=rf"two cases are called 'a' \(in .*head \| sudden \| {severity}\)"):
        evaluate_cells(iter([(cell, [case]), later]), [ours])
    assert ours.given == ["a", "b"]
