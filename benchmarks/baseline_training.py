"""Train the corrector and the plain networks beside it through one workflow, on the same samples, equally long."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from monai.bundle import ConfigParser
from monai.utils import set_determinism
from torch import nn

from mocodis_monai.data.files import sha256_of, staged
from mocodis_monai.errors import InputError
from mocodis_monai.networks import MotionCorrector
from mocodis_monai.release import bundle_root, load_weights

OURS = "ours"
TARGETS = {"unet": "benchmarks.baseline_methods.basic_unet", "restormer": "benchmarks.baseline_methods.restormer"}
MUON = "pytorch_optimizer.Muon"
CHECKPOINTS = 10
"""A stage is cut into as many epochs, at whose ends it can be taken up again."""
CODES_SHARE = 0.25
"""Share of the steps that ours spends on its codes where none are given: about that of the released weights."""
SEED = 2


class Stage(NamedTuple):
    """A part of a training, with a one-cycle schedule of its own."""

    name: str
    learning_rate: float


CODES, CORRECTION = Stage("codes", 0.001), Stage("correction", 0.0008)


class Part(NamedTuple):
    """One stage of one network's training: steps, folder, the weights it starts from, and the workflow's entries."""

    network: str
    stage: Stage
    steps: int
    out: Path
    weights: Path | None
    configs: Sequence[str]
    knobs: dict[str, Any]


class Trained(NamedTuple):
    """A trained network and the processor time that it took, summed over all runs that it was resumed in."""

    weights: Path
    seconds: float


def train(
    name: str,
    steps: int,
    out: Path,
    configs: Sequence[str] = ("train.yaml",),
    knobs: dict[str, Any] | None = None,
    codes: Path | None = None,
) -> Trained:
    """Train "ours", "unet" or "restormer" by the bundle's workflow, or go on with it, or leave it if it is done.

    Args:
        name: which network.
        steps: optimiser steps in all.
        out: folder of this network's checkpoints; another number of steps gets another folder within.
        configs: files of the bundle's configs, overlays last.
        knobs: further entries to set, such as ``sample_dir``.
        codes: weights whose codes ours starts from, its branch afresh; None spends :data:`CODES_SHARE` of the steps.

    Raises:
        InputError: the folder holds a training from other configs, knobs or codes.
    """
    folder = out / name / f"{steps}_steps{'_on_codes' if name == OURS and codes else ''}"
    _same_settings(folder / "settings.json", _settings(configs, knobs or {}, codes if name == OURS else None))
    parts = {CORRECTION: steps}
    if name == OURS and codes is None:
        first = max(1, round(steps * CODES_SHARE))
        parts = {CODES: first, CORRECTION: steps - first}
    weights: Path | None = None
    if name == OURS and codes is not None:
        weights = _with_fresh_branch(codes, folder / "codes.pt")
    seconds = 0.0
    for stage, count in parts.items():
        weights = _train_stage(Part(name, stage, count, folder / stage.name, weights, configs, knobs or {}))
        seconds += json.loads((folder / stage.name / "seconds.json").read_text())["seconds"]
    assert weights is not None
    return Trained(weights, seconds)


def load_network(name: str, weights: Path) -> nn.Module:
    """The trained baseline "unet" or "restormer"."""
    network: nn.Module = ConfigParser({"network": {"_target_": TARGETS[name]}}).get_parsed_content("network")
    return load_weights(network, weights)


def _settings(configs: Sequence[str], knobs: dict[str, Any], codes: Path | None) -> dict[str, Any]:
    """What was asked for beside the number of steps."""
    return {"configs": list(configs), "knobs": knobs, "codes": None if codes is None else sha256_of([codes])}


def _same_settings(path: Path, settings: dict[str, Any]) -> None:
    """Keep the settings of a training beside it, and refuse to go on with others."""
    if path.is_file() and json.loads(path.read_text()) != settings:
        raise InputError(
            f"{path.parent}: trained with {path.read_text()}, not with {json.dumps(settings)}. Give another --out."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    with staged(path) as (temporary,):
        temporary.write_text(json.dumps(settings))


def _with_fresh_branch(codes: Path, path: Path) -> Path:
    """Weights with the codes of ``codes`` and all else as a new network has it, the same in every run."""
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        set_determinism(SEED)
        trained, network = MotionCorrector(), MotionCorrector()
        load_weights(trained, codes)
        network.vqvae.load_state_dict(trained.vqvae.state_dict())
        with staged(path) as (temporary,):
            torch.save(network.state_dict(), temporary)
    return path


def _train_stage(part: Part) -> Path:
    out = part.out
    record, trained = out / "seconds.json", out / "model.pt"
    before = json.loads(record.read_text()) if record.is_file() else {"steps": 0, "seconds": 0.0}
    if before["steps"] < part.steps or not trained.is_file():
        out.mkdir(parents=True, exist_ok=True)
        set_determinism(SEED)  # the network is made before the workflow seeds itself
        parser = _workflow(part)
        trainer = parser.get_parsed_content("train#trainer")
        trainer.add_event_handler("EPOCH_COMPLETED", _Clock(record, before["seconds"]))
        parser.get_parsed_content("training")
    return trained


def _workflow(part: Part) -> ConfigParser:
    folder = Path(bundle_root()) / "configs"
    parser = ConfigParser()
    parser.read_config([str(folder / config) for config in part.configs])
    epochs = max(count for count in range(1, CHECKPOINTS + 1) if part.steps % count == 0)
    changes: dict[str, Any] = {
        "max_epochs": epochs,
        "iterations_per_epoch": part.steps // epochs,
        "codes_iterations": part.steps if part.stage is CODES else 0,
        "learning_rate": part.stage.learning_rate,
        "val_interval": epochs + 1,  # the table is the validation
        "num_validation_images": 1,
        "initial_weights": "" if part.weights is None else str(part.weights),
        "output_dir": str(part.out),
        "resume": True,
        "seed": SEED,
        **part.knobs,
    }
    if part.network in TARGETS:
        changes |= {
            "network_def": {"_target_": TARGETS[part.network]},
            "loss#_target_": "benchmarks.baseline_methods.ImageLoss",
            "train#step": {"_target_": "benchmarks.baseline_methods.ImageStep"},
        }
        if parser["optimizer#_target_"] == MUON:
            changes["optimizer#params"] = {
                "_target_": "benchmarks.baseline_methods.muon_groups_of", "network": "@network"
            }
    parser.update(changes)
    return parser


class _Clock:
    """Keeps the number of steps and the processor time beside the checkpoint, so that they survive a stop."""

    def __init__(self, path: Path, seconds: float) -> None:
        self.path, self.seconds, self.start = path, seconds, time.process_time()

    def __call__(self, engine: Any) -> None:
        seconds = self.seconds + time.process_time() - self.start
        with staged(self.path) as (temporary,):
            temporary.write_text(json.dumps({"steps": engine.state.iteration, "seconds": seconds}))
