"""Ours beside MONAI's BasicUNet and Restormer and gradient-entropy autofocus, equally long trained: one table.

    python -m benchmarks.baselines --steps 1000 --out runs/baselines --codes bundle/models/model.pt \\
        --config train.yaml --config train_release.yaml --set sample_dir=SAMPLES --set head=HEAD.nii.gz

Each network is trained by the workflow of bundle/configs/train.yaml, on the samples of its pipeline, for the same
number of optimiser steps, and all are evaluated on the grid of `mocodis evaluate`. What is fair, and what is not:

- the same samples in the same order, intensity scale, batch size, optimiser, schedule, learning rates, seed and steps;
- the same image loss, with the weights of the configs: the error relative to what the motion did, and structural
  similarity; with train_muon.yaml the same optimiser too, its groups cut alike;
  the terms of ours that need codes have nothing to act on in a plain network;
- with --codes ours starts from codes that were trained before, and its branch afresh: these steps on the codes come on
  top. Without it, a quarter of the steps goes to the codes;
- every network adds a residual to its input; Restormer is narrower than in its paper, and under half as large as ours;
- like is compared with like: each network has a row with half and one with all of its residual; ours leaves still
  images alone, the baselines, which have no motion score, have no gate;
- nothing was tuned for the baselines; learning rates, loss and share were chosen for ours;
- the weights of --weights (default: the released ones) are a row of their own: they were trained longer.

Run it again with the same --out and it goes on where it stopped: networks that are done are not trained again.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import typer
import yaml

from benchmarks.baseline_methods import Autofocus, NetworkMethod, Remembered, ShareOfResidual
from benchmarks.baseline_training import OURS, TARGETS, Trained, load_network, train
from mocodis_monai.evaluation import (
    Case,
    Cell,
    CorrectorMethod,
    Grid,
    Method,
    builtin_grid,
    cells_of,
    evaluate_cells,
)
from mocodis_monai.motion import band_of
from mocodis_monai.networks.gate import RESIDUAL_SHARE
from mocodis_monai.release import load_corrector
from mocodis_monai.report.evaluation import EvaluationFiles, save_evaluation

TITLES = {OURS: "ours", "unet": "MONAI BasicUNet", "restormer": "MONAI Restormer"}
AUTOFOCUS = "autofocus"
BASELINES = (*TARGETS, AUTOFOCUS)
RELEASED = "ours, --weights"
SHARES = (0.5, 1.0)
"""Of its residual that a network adds."""
VOLUME_SLICES = 160
"""Slices of the volume that "seconds per volume" speaks of, each of 192 x 192 pixels."""
TIMED_SLICES = 4


def seconds_per_volume(method: Method) -> float:
    """Time for a volume of 192 x 192 x 160, from a few of its slices: a slab of noise, which is all tissue."""
    slab = torch.from_numpy(np.random.default_rng(0).uniform(0.5, 1, (192, 192, TIMED_SLICES)).astype(np.float32))
    case = Case(
        cell=Cell("", "", "", ""),
        subject="",
        name="",
        moved=slab,
        target=None,
        spacing_mm=(1.0, 1.0, 1.0),
        slice_axis=2,
        displacement_mm=0.0,
        motion={},
        orientation="RAS",
    )
    method.correct(case)  # the first call pays for what is set up once
    return method.correct(case._replace(name="again")).seconds * VOLUME_SLICES / TIMED_SLICES


def methods_of(trained: dict[str, Trained], autofocus: bool, weights: Path | None) -> list[Method]:
    """Rows of the table: ours first, then the baselines, at last the weights that were trained longer.

    Each network stands there with half and with all of its residual.
    """
    ours = Remembered(CorrectorMethod(TITLES[OURS], load_corrector(trained[OURS].weights)))
    methods: list[Method] = [ShareOfResidual(ours, share, added=RESIDUAL_SHARE) for share in SHARES]
    for name in (name for name in trained if name != OURS):
        whole = Remembered(NetworkMethod(TITLES[name], load_network(name, trained[name].weights)))
        methods += [ShareOfResidual(whole, share) for share in SHARES]
    if autofocus:
        methods.append(Autofocus())
    return [*methods, CorrectorMethod(RELEASED, load_corrector(weights))]


def compare(
    out: Path,
    steps: int,
    grid: Grid,
    weights: Path | None = None,
    configs: Sequence[str] = ("train.yaml",),
    knobs: dict[str, Any] | None = None,
    codes: Path | None = None,
    baselines: Sequence[str] = BASELINES,
    table: Path | None = None,
) -> EvaluationFiles:
    """Train into ``out`` what is not trained yet, evaluate all, and write the table into ``table``, else there too."""
    networks = (OURS, *(name for name in baselines if name in TARGETS))
    trained = {name: train(name, steps, out, configs, knobs, codes) for name in networks}
    methods = methods_of(trained, AUTOFOCUS in baselines, weights)
    start = "within them" if codes is None else "before"
    about = {
        "data": f"baselines, {steps} optimiser steps each",
        "weights": f"each trained for {steps} steps, the codes of ours {start}; of \"{RELEASED}\", trained otherwise, "
        + ("the released ones" if weights is None else weights.name),
        "training_cpu_s": {f"{TITLES[name]}, share {SHARES[0]:g}": x.seconds for name, x in trained.items()},
        "seconds_per_volume": {method.name: seconds_per_volume(method) for method in methods},
    }
    return save_evaluation(evaluate_cells(cells_of(grid), methods, about, progress=True), table or out)


def knobs_of(assignments: Sequence[str]) -> dict[str, Any]:
    """Each "name=value" as an entry of the configs, the value as YAML reads it.

    Raises:
        typer.BadParameter: one has no "=".
    """
    knobs = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals:
            wrong = f"got {assignment!r}; write name=value, such as image_size=96."
            raise typer.BadParameter(wrong, param_hint="--set")
        knobs[name] = yaml.safe_load(value)
    return knobs


def part_of(grid: Grid, severities: Sequence[str], num_subjects: int | None) -> Grid:
    """``grid`` with the ``severities`` alone, if any are named, and as many subjects in each cell.

    Raises:
        typer.BadParameter: a severity is not in the grid.
    """
    bands = {band_of(displacement_mm): displacement_mm for displacement_mm in grid.displacements_mm}
    if not set(bands) >= set(severities):
        raise typer.BadParameter(f"got {list(severities)}; allowed are {', '.join(bands)}.", param_hint="--severity")
    return grid._replace(
        displacements_mm=tuple(bands[name] for name in severities or bands),
        num_subjects=num_subjects or grid.num_subjects,
    )


def main(
    steps: int = typer.Option(..., min=8, help="Optimiser steps of each network."),
    out: Path = typer.Option(..., help="Folder for checkpoints and for the table; give it again to go on."),
    codes: Path = typer.Option(None, help="Weights whose codes ours starts from. Default: trained within the steps."),
    weights: Path = typer.Option(None, help="Weights of a row of their own. Default: the released ones."),
    config: list[str] = typer.Option(["train.yaml"], help="Config of bundle/configs; again for overlays."),
    knob: list[str] = typer.Option([], "--set", help="A knob of the configs, such as image_size=96; again for more."),
    quick: bool = typer.Option(False, "--quick", help="The quick grid."),
    baseline: list[str] = typer.Option(list(BASELINES), help="unet, restormer or autofocus, again for more. All."),
    severity: list[str] = typer.Option([], help="Severities of the grid, such as severe; again for more. All."),
    subjects: int = typer.Option(None, min=1, help="Subjects in each cell of the grid. Six, with --quick two."),
    table: Path = typer.Option(None, help="Folder for the table. Default: that of --out."),
    only: str = typer.Option(None, help="Train one of ours, unet, restormer and stop there."),
) -> None:
    """Train, evaluate and write report.html, table.md, summary.json and cases.csv."""
    given = knobs_of(knob)
    if not set(BASELINES) >= set(baseline):
        raise typer.BadParameter(f"got {baseline}; allowed are {', '.join(BASELINES)}.", param_hint="--baseline")
    if only not in (None, OURS, *TARGETS):
        raise typer.BadParameter(f"got {only!r}; allowed are {', '.join((OURS, *TARGETS))}.", param_hint="--only")
    if only is not None:
        print(train(only, steps, out, config, given, codes))
        return
    grid = part_of(builtin_grid(quick), severity, subjects)
    for path in compare(out, steps, grid, weights, config, given, codes, baseline, table):
        print(path)


if __name__ == "__main__":
    typer.run(main)
