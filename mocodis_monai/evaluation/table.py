"""The whole table in one call: the built-in grid, or the scans of a manifest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

import torch

from mocodis_monai.errors import InputError
from mocodis_monai.evaluation.cases import Case, Cell
from mocodis_monai.evaluation.grid import Grid, builtin_grid, cells_of, missing_from
from mocodis_monai.evaluation.methods import corrector_methods
from mocodis_monai.evaluation.real_scans import RealScan, cells_of_scans, check_sizes, name_of, read_scans
from mocodis_monai.evaluation.run import Evaluation, evaluate_cells
from mocodis_monai.evaluation.still_scans import cells_of_still_scans
from mocodis_monai.networks import MotionCorrector
from mocodis_monai.release import facts_of, load_weights

__all__ = ["evaluate"]


def evaluate(
    weights: str | Path | None = None,
    manifest: str | Path | None = None,
    quick: bool = False,
    grid: Grid | None = None,
    network: MotionCorrector | None = None,
    device: torch.device | str = "cpu",
    progress: bool = False,
) -> Evaluation:
    """Measure weights, and what stands beside them, on simulated or on real motion.

    Of a manifest the split "test" is measured: moved scans as they are, against the still scan where there is one;
    still scans of subjects without a moved one with simulated motion.

    Args:
        weights: a checkpoint; None takes the released one.
        manifest: scans of your own instead of the grid, see ``data_manifests/README.md``.
        quick: fewer subjects and severities of simulated motion; not together with ``grid``.
        grid: cells to make instead of the built-in ones.
        network: what ``weights`` are loaded into, in place, whatever it holds; None makes one of the released sizes.
        device: where the network runs.
        progress: show a progress bar.

    Raises:
        InputError: weights, network or manifest are unfit, no scan of the manifest could be measured, or both ``quick``
            and ``grid`` are given.
    """
    if quick and grid is not None:
        raise InputError(
            "quick and grid: both are given, and a grid says itself how many subjects and severities it has. Leave out "
            "quick, or give grid=builtin_grid(quick=True) alone."
        )
    scans = None if manifest is None else read_scans(manifest, progress)
    if scans is not None:
        check_sizes(scans.real)
    if not isinstance(network, MotionCorrector | None):
        raise InputError(
            f"network_def is {type(network).__name__}; this table takes a MotionCorrector. The run id `evaluating` "
            "takes any network, examples/train_and_compare.py puts one into the table."
        )
    network = MotionCorrector() if network is None else network
    load_weights(network, weights)
    network.to(device).eval()
    about = {
        **facts_of(weights),
        "data": "built-in grid" if manifest is None else Path(manifest).name,
        "quick": quick,
    }
    if scans is None:
        grid = builtin_grid(quick) if grid is None else grid
        about |= {"num_subjects_per_cell": grid.num_subjects, "displacements_mm": list(grid.displacements_mm)}
        about |= {"missing": missing_from(grid)}
        cells: Iterator[tuple[Cell, Iterable[Case]]] = cells_of(grid)
    else:
        cells = chain(cells_of_scans(scans.real), cells_of_still_scans(scans.still, quick))
    found = evaluate_cells(cells, corrector_methods(network), about, progress)
    return found if scans is None else _with_left_out(found, scans.real)


def _with_left_out(evaluation: Evaluation, scans: list[RealScan]) -> Evaluation:
    """The evaluation with the names of the scans that have no row."""
    measured = {row.case for row in evaluation.rows}
    left_out = [name_of(scan) for scan in scans if name_of(scan) not in measured]
    return evaluation._replace(about=evaluation.about | {"left_out": left_out})
