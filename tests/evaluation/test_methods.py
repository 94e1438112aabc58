"""The blur that stands beside the corrector smooths within the slices and does nothing else."""

import numpy as np
import pytest
import torch

from mocodis_monai.evaluation import Blurred, Case, Cell
from mocodis_monai.evaluation.methods import BLUR_PX


def case_of(moved: torch.Tensor, slice_axis: int) -> Case:
    return Case(Cell("", "", "", ""), "", "", moved, None, (1.0, 1.0, 1.0), slice_axis, 0.0, {}, "RAS")


@pytest.mark.parametrize("slice_axis", [0, 1, 2])
def test_a_point_becomes_a_gaussian_in_its_slice(slice_axis):
    moved = torch.zeros(9, 9, 9)
    moved[4, 4, 4] = 1
    blurred = Blurred().correct(case_of(moved, slice_axis)).image.movedim(slice_axis, 0).numpy()
    assert blurred[4].sum() == pytest.approx(1) and not np.delete(blurred, 4, axis=0).any()
    wanted = np.exp(-0.5 * (np.hypot(*np.mgrid[-2:3, -2:3]) / BLUR_PX) ** 2)
    assert blurred[4, 2:7, 2:7] == pytest.approx(wanted / wanted.sum(), rel=0.02, abs=1e-4)


def test_what_is_even_and_the_scan_itself_stay_what_they_are():
    moved = torch.full((6, 7, 3), 5.0)
    assert torch.allclose(Blurred().correct(case_of(moved, 2)).image, moved)
    noise = torch.rand(6, 7, 3)
    before = noise.clone()
    Blurred().correct(case_of(noise, 2))
    assert torch.equal(noise, before)
