"""The mean of several trainings that started from the same weights, or of one before and after a stage.

    python -m mocodis_monai.averaging runs/a/model.pt runs/b/model.pt --out runs/average.pt

After Wortsman et al. 2022 (model soups, arXiv 2203.05482): weights that were trained on from one start lie in one basin
of the loss, and what they do not share is largely noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import typer

from mocodis_monai.data.files import check_outputs, staged
from mocodis_monai.errors import InputError
from mocodis_monai.networks import MotionCorrector
from mocodis_monai.release import load_weights


def average(paths: Sequence[Path], out: Path) -> None:
    """Write the mean of the weights in ``paths`` to ``out``; counters and the like are those of the first.

    Raises:
        InputError: fewer than two files, one that does not fit the network or has codebooks of its own, or an ``out``
            that cannot be written.
    """
    if len(paths) < 2:
        raise InputError(f"got {len(paths)} file of weights; a mean takes two or more. Name another.")
    check_outputs([out], paths)
    states = [load_weights(MotionCorrector(), path).state_dict() for path in paths]
    kept = _codes(states[0])
    for path, state in zip(paths, states):
        other = next((name for name in kept if not torch.equal(state[name], states[0][name])), None)
        if other is not None:
            raise InputError(
                f"{path}: its {other} is another than that of {paths[0]}. Codes mean nothing on average: train both "
                "from the same codes (--codes_iterations 0)."
            )
    mean = {
        name: torch.stack([state[name] for state in states]).mean(0)
        if value.is_floating_point() and name not in kept  # three equal numbers need not have their mean
        else value
        for name, value in states[0].items()
    }
    with staged(out) as (temporary,):
        torch.save(mean, temporary)


def _codes(state: dict[str, torch.Tensor]) -> list[str]:
    """Names of what must not differ: the VQ-VAE with its codebooks."""
    return [name for name in state if name.startswith("vqvae.")]


def main(
    weights: list[Path] = typer.Argument(..., help="Weights of trainings that started from the same ones."),
    out: Path = typer.Option(..., help="Where their mean goes."),
) -> None:
    """Average weights."""
    try:
        average(weights, out)
    except InputError as error:
        raise SystemExit(str(error)) from error
    print(out)


if __name__ == "__main__":
    typer.run(main)
