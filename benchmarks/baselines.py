"""Ours beside MONAI's BasicUNet and Restormer and gradient-entropy autofocus: one table.

    python -m benchmarks.baselines --steps 4000 --out runs/baselines
    python -m benchmarks.baselines --steps 4000 --out runs/baselines --weights bundle/models/model.pt

Each network is trained by the workflow of bundle/configs/train.yaml, on the samples of its pipeline, for the same
number of optimiser steps, and all are evaluated on the grid of `mocodis evaluate`. What is fair, and what is not:

- the same simulator, intensity scale, batch size, optimiser, learning rate and schedule, seed, and steps;
- the same image loss; the terms of ours that need codes have nothing to act on in a plain network;
- ours spends its first steps (the share that train.yaml has) on the codes, and these count;
- every network adds a residual to its input; Restormer is narrower than in its paper, to be about as large as ours;
- nothing was tuned for the baselines, and learning rate and loss were chosen for ours;
- with --weights ours is not trained here: then say how long those weights were trained, for --steps must match.

Run it again with the same --out and it goes on where it stopped: networks that are done are not trained again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import typer
from monai.bundle import ConfigParser
from torch import nn

from benchmarks.baseline_methods import Autofocus, NetworkMethod
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
from mocodis_monai.release import bundle_root, load_corrector, load_weights
from mocodis_monai.report.evaluation import EvaluationFiles, save_evaluation

TARGETS = {"unet": "benchmarks.baseline_methods.basic_unet", "restormer": "benchmarks.baseline_methods.restormer"}
TITLES = {"unet": "MONAI BasicUNet", "restormer": "MONAI Restormer"}
EPOCHS = 10
"""A run is cut into as many checkpoints."""
VOLUME_SLICES = 160
"""Slices of the volume that "seconds per volume" speaks of, each of 192 x 192 pixels."""
TIMED_SLICES = 4


class Trained(NamedTuple):
    """A trained network and what it took; training time is summed over all runs that it was resumed in."""

    weights: Path
    seconds: float


def train(
    name: str, steps: int, out: Path, configs: Sequence[str] = ("train.yaml",), knobs: dict[str, Any] | None = None
) -> Trained:
    """Train "ours", "unet" or "restormer" by the bundle's workflow, or go on with it, or leave it if it is done.

    Args:
        name: which network.
        steps: optimiser steps in all.
        out: folder of this network's checkpoints.
        configs: files of the bundle's configs, overlays last.
        knobs: further entries to set, such as ``image_size``.
    """
    record = out / "seconds.json"
    before = json.loads(record.read_text()) if record.is_file() else {"steps": 0, "seconds": 0.0}
    weights = out / "model.pt"
    if before["steps"] >= steps and weights.is_file():
        return Trained(weights, before["seconds"])
    out.mkdir(parents=True, exist_ok=True)
    parser = _workflow(name, steps, out, configs, {**(knobs or {}), **_seed(out)})
    start = time.perf_counter()
    trainer = parser.get_parsed_content("train#trainer")
    clock = _Clock(record, before["seconds"], start)
    trainer.add_event_handler("EPOCH_COMPLETED", clock)
    parser.get_parsed_content("training")
    return Trained(weights, json.loads(record.read_text())["seconds"])


class _Clock:
    """Keeps the number of steps and the time beside the checkpoint, so that they survive a stop."""

    def __init__(self, path: Path, seconds: float, start: float) -> None:
        self.path, self.seconds, self.start = path, seconds, start

    def __call__(self, engine: Any) -> None:
        seconds = self.seconds + time.perf_counter() - self.start
        partial = self.path.with_suffix(".partial")
        partial.write_text(json.dumps({"steps": engine.state.iteration, "seconds": seconds}))
        partial.replace(self.path)


def _seed(out: Path) -> dict[str, int]:
    """After a stop another seed, or the first samples would come again."""
    checkpoint = out / "checkpoint.pt"
    if not checkpoint.is_file():
        return {}
    return {"seed": int(torch.load(checkpoint, weights_only=True)["trainer"]["iteration"])}


def _workflow(name: str, steps: int, out: Path, configs: Sequence[str], knobs: dict[str, Any]) -> ConfigParser:
    folder = Path(bundle_root()) / "configs"
    parser = ConfigParser()
    parser.read_config([str(folder / config) for config in configs])
    share = parser["codes_iterations"] / (parser["max_epochs"] * parser["iterations_per_epoch"])
    epochs = max(count for count in range(1, EPOCHS + 1) if steps % count == 0)
    changes: dict[str, Any] = {
        "max_epochs": epochs,
        "iterations_per_epoch": steps // epochs,
        "codes_iterations": round(share * steps),
        "val_interval": epochs,
        "output_dir": str(out),
        "resume": True,
        **knobs,
    }
    if name in TARGETS:
        changes |= {
            "network_def": {"_target_": TARGETS[name]},
            "loss": {"_target_": "benchmarks.baseline_methods.ImageLoss"},
            "train#step": {"_target_": "benchmarks.baseline_methods.ImageStep"},
        }
    parser.update(changes)
    return parser


def load_network(name: str, weights: Path) -> nn.Module:
    """The trained baseline "unet" or "restormer"."""
    network: nn.Module = ConfigParser({"network": {"_target_": TARGETS[name]}}).get_parsed_content("network")
    return load_weights(network, weights)


def seconds_per_volume(method: Method) -> float:
    """Time for a volume of 192 x 192 x 160, from a few of its slices: a slab of noise, which is all tissue."""
    slab = torch.from_numpy(np.random.default_rng(0).uniform(0.5, 1, (192, 192, TIMED_SLICES)).astype(np.float32))
    case = Case(Cell("", "", "", ""), "", "", slab, None, (1.0, 1.0, 1.0), 2, 0.0, {}, "RAS")
    method.correct(case)  # the first call pays for what is set up once
    return method.correct(case).seconds * VOLUME_SLICES / TIMED_SLICES


def compare(
    out: Path,
    steps: int,
    grid: Grid,
    weights: Path | None = None,
    configs: Sequence[str] = ("train.yaml",),
    knobs: dict[str, Any] | None = None,
) -> EvaluationFiles:
    """Train what is to be trained, evaluate all, and write the table into ``out``."""
    names = [*([] if weights else ["ours"]), *TARGETS]
    trained = {name: train(name, steps, out / name, configs, knobs) for name in names}
    ours = weights or trained["ours"].weights
    methods: list[Method] = [CorrectorMethod("ours", load_corrector(ours))]
    methods += [NetworkMethod(TITLES[name], load_network(name, trained[name].weights)) for name in TARGETS]
    methods.append(Autofocus())
    titles = {**TITLES, "ours": "ours"}
    about = {
        "data": f"baselines, {steps} optimiser steps each",
        "weights": str(ours.name) if weights else f"all trained for {steps} steps",
        "steps": steps,
        "training_seconds": {titles[name]: network.seconds for name, network in trained.items()},
        "seconds_per_volume": {method.name: seconds_per_volume(method) for method in methods},
    }
    return save_evaluation(evaluate_cells(cells_of(grid), methods, about, progress=True), out)


def main(
    steps: int = typer.Option(..., min=2, help="Optimiser steps of each network."),
    out: Path = typer.Option(..., help="Folder for checkpoints and for the table; give it again to go on."),
    weights: Path = typer.Option(None, help="Ours, trained for as many steps. Default: train it here too."),
    config: list[str] = typer.Option(["train.yaml"], help="Config of bundle/configs; again for overlays."),
    quick: bool = typer.Option(False, "--quick", help="The quick grid."),
    image_size: int = typer.Option(None, help="Side of the training images. Default: the config's."),
    num_workers: int = typer.Option(None, help="Data workers. Default: the config's."),
) -> None:
    """Train, evaluate and write report.html, summary.json and cases.csv."""
    knobs = {"image_size": image_size, "num_workers": num_workers}
    given = {name: value for name, value in knobs.items() if value is not None}
    for path in compare(out, steps, builtin_grid(quick), weights, config, given):
        print(path)


if __name__ == "__main__":
    typer.run(main)
