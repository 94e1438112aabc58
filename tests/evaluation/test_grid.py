"""The grid: held-out subjects, marks of what training has seen, and cases that are what they say."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser

from mocodis_monai.data.packaged import COLIN27_PATH, colin27_path
from mocodis_monai.evaluation import Grid, builtin_grid, cells_of, trained_on
from mocodis_monai.evaluation import grid as grid_module
from mocodis_monai.evaluation.grid import FIRST_SEED, missing_from
from mocodis_monai.motion import FAMILIES, SEVERITY_BANDS
from mocodis_monai.release import bundle_root

CONFIGS = Path(bundle_root()) / "configs"
MANIFESTS = Path(__file__).parents[2] / "data_manifests"
GRID = Grid(("knee", "thorax"), ("sudden", "tremor", "cardiac"), (1.75,), num_subjects=2)


@pytest.fixture(scope="module")
def made():
    return [(cell, list(cases)) for cell, cases in cells_of(GRID)]


def test_cells_are_region_family_and_severity_with_severity_zero(made):
    cells = [(cell.region, cell.family, cell.severity) for cell, _ in made]
    assert cells[:3] == [("knee", "none", "none"), ("knee", "sudden", "moderate"), ("knee", "tremor", "moderate")]
    assert ("thorax", "none", "none") in cells
    assert ("knee", "cardiac", "moderate") not in cells  # a knee has no heart
    assert len(cells) == len(set(cells))


def test_what_training_has_not_seen_is_marked(made):
    families, regions = trained_on().families, trained_on().regions
    assert set(families) <= set(FAMILIES)
    for cell, _ in made:
        wanted = "region" if cell.region not in regions else ""
        if not wanted and cell.family not in ("none", *families):
            wanted = "family"
        assert cell.held_out == wanted


def first_seeds(config: object) -> list[int]:
    """Every ``first_seed`` anywhere in a part of a configuration."""
    if isinstance(config, list):
        return [seed for item in config for seed in first_seeds(item)]
    if not isinstance(config, dict):
        return []
    own = [config["first_seed"]] if "first_seed" in config else []
    return own + [seed for item in config.values() for seed in first_seeds(item)]


def test_seeds_are_neither_those_of_training_nor_of_validation(made):
    parser = ConfigParser()
    parser.read_config([str(CONFIGS / "train.yaml"), str(CONFIGS / "train_release.yaml")])
    (validation,) = first_seeds(parser["validate"])
    training = first_seeds(parser["train"])
    seeds = {int(case.subject.split()[-1]) for _, cases in made for case in cases}
    assert min(seeds) >= FIRST_SEED > validation + parser["num_validation_images"]
    assert training and max(seeds) < min(training)  # seeds of training count upwards


def test_without_motion_the_target_is_the_scan_and_with_it_the_score_is_met(made):
    for cell, cases in made:
        for case in cases:
            assert case.moved.shape == case.target.shape == (128, 128, 1)
            assert torch.equal(case.moved, case.target) == (cell.family == "none")
            wanted = 0 if cell.family == "none" else 1.75
            assert case.displacement_mm == pytest.approx(wanted, rel=0.02)


def test_a_case_is_the_same_in_every_run(made):
    again = next(cases for cell, cases in cells_of(GRID) if cell.family == "tremor")
    before = next(cases for cell, cases in made if cell.family == "tremor")
    for a, b in zip(again, before, strict=True):
        assert a.name == b.name and torch.equal(a.moved, b.moved)


def test_each_subject_of_each_region_moves_in_its_own_way(made):
    moved = [case for _, cases in made for case in cases if case.cell.family == "sudden"]
    paths = {json.dumps(case.motion["trajectory"]) for case in moved}
    assert len({case.cell.region for case in moved}) == 2
    assert len(paths) == len(moved)


def test_a_name_belongs_to_one_case(made):
    names = [case.name for _, cases in made for case in cases]
    assert len(names) == len(set(names))


def test_motion_that_tissue_cannot_follow_leaves_its_cell_out():
    grid = Grid(("thorax",), ("cardiac",), (6.0,), num_subjects=1)
    assert [cell.family for cell, _ in cells_of(grid)] == ["none"]


def test_only_motion_out_of_reach_leaves_a_case_out(monkeypatch):
    def broken(self, data):
        raise ValueError("an affine that is none")

    monkeypatch.setattr(grid_module.RandKSpaceMotiond, "__call__", broken)
    with pytest.raises(ValueError, match="an affine that is none"):
        list(cells_of(GRID))


def test_a_volume_with_a_little_ringing_can_be_moved(tmp_path):
    data = np.random.default_rng(0).uniform(50, 100, (64, 64, 10)).astype(np.float32)
    data[:, :, ::2] *= 0.12  # dim slices, whose ringing is more than a hundredth of their own brightest value
    data[:4] = -0.8
    nib.save(nib.Nifti1Image(data, np.eye(4)), tmp_path / "v.nii.gz")
    grid = Grid(("v axial",), ("sudden",), (1.75,), num_subjects=6, volumes=(("v", str(tmp_path / "v.nii.gz")),))
    assert all(case.moved.min() >= 0 for _, cases in cells_of(grid) for case in cases)


def test_the_builtin_grid_has_every_band_and_family_and_colin27_where_it_is_installed():
    grid = builtin_grid()
    assert set(grid.families) == set(FAMILIES)
    assert len(grid.displacements_mm) == len(SEVERITY_BANDS)
    assert any("colin27" in region for region in grid.regions) == COLIN27_PATH.is_file()
    assert builtin_grid(quick=True).num_subjects < grid.num_subjects


def test_colin27_comes_in_three_views():
    try:
        path = colin27_path()
    except FileNotFoundError as missing:
        pytest.skip(str(missing))
    views = ("colin27 axial", "colin27 coronal", "colin27 sagittal")
    grid = Grid(views, (), (), num_subjects=2, volumes=(("colin27", str(path)),))
    found = {cell.region: (cell, cases) for cell, cases in cells_of(grid)}
    assert set(found) == set(views)
    shapes = {tuple(case.moved.shape) for _, cases in found.values() for case in cases}
    assert shapes == {(181, 217, 1), (181, 181, 1), (217, 181, 1)}
    assert {cell.held_out for cell, _ in found.values()} == {"subject"}


def test_no_configuration_and_no_training_manifest_names_colin27():
    configs = sorted(CONFIGS.glob("*.yaml"))
    assert {"train.yaml", "train_release.yaml"} <= {path.name for path in configs}
    for config in configs:
        assert "colin" not in config.read_text().lower() and "ch2" not in config.read_text(), config.name
    manifests = {path.name: json.loads(path.read_text()) for path in MANIFESTS.glob("*.json")}
    named = {name for name, manifest in manifests.items() if "colin27" in json.dumps(manifest).lower()}
    assert named == {"colin27.json"} and manifests["colin27.json"]["split"] == "test"


def test_slices_are_spread_over_the_volume():
    if not COLIN27_PATH.is_file():
        pytest.skip("mricron-data is not installed")
    grid = Grid(("colin27 axial",), (), (), num_subjects=6, volumes=(("colin27", str(COLIN27_PATH)),))
    (_, cases), *_ = cells_of(grid)
    places = [int(case.subject.split()[-1]) for case in cases]
    assert np.diff(places).min() > 5


def test_a_grid_without_colin27_says_how_to_get_it():
    without = Grid(("knee",))
    assert "mricron-data" in missing_from(without)
    assert missing_from(without._replace(volumes=(("colin27", "ch2.nii.gz"),))) == ""
