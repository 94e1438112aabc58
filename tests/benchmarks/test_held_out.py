"""The held-out brain goes through the cases and the statistics of the evaluation."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from benchmarks import held_out
from benchmarks.held_out import slice_grid, volume_cells
from mocodis_monai.data.phantom import make_phantom
from mocodis_monai.evaluation import cells_of


@pytest.fixture
def volume(tmp_path):
    """Slices of a phantom as a volume of 2 x 2 x 4 mm: 48 x 40 x 12."""
    planes = make_phantom("head", 1, (48, 40)).image[0].numpy()
    nib.save(nib.Nifti1Image(np.repeat(planes[..., None], 12, 2), np.diag((2.0, 2.0, 4.0, 1.0))), tmp_path / "a.nii.gz")
    return tmp_path / "a.nii.gz"


def test_slices_of_three_views_in_every_family(volume):
    cells = list(cells_of(slice_grid(volume, 1)))
    assert {cell.held_out for cell, _ in cells} == {"subject"}
    assert {cell.region for cell, _ in cells} == {f"volume {view}" for view in ("axial", "coronal", "sagittal")}
    assert {cell.family for cell, _ in cells} == {"none", *held_out.FAMILIES}
    assert all(len(cases) == 1 for _, cases in cells)


def test_a_whole_volume_moves_in_three_dimensions(volume, monkeypatch):
    monkeypatch.setattr(held_out, "FAMILIES", ("nod",))
    (still, clean), *moved = volume_cells(volume)
    assert (still.family, clean[0].slice_axis) == ("none", 2)
    assert [cell.severity for cell, _ in moved] == ["moderate", "severe"]
    for _, (case,) in moved:
        assert case.moved.shape == case.target.shape == clean[0].moved.shape
        assert (case.moved - case.target).abs().max() > 0.01
