"""Curves of a training from its TensorBoard folders, one after the other, as a picture and as a table of epochs.

    python -m benchmarks.training_curves runs/codes runs/correction --out bundle/docs/training.png
"""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
import typer

matplotlib.use("Agg")

SMOOTH = 10
"""Points that are averaged; the handler writes one for every ten iterations."""
PANELS = {
    "codes: mean absolute error of what they draw": ("clean_decoded", "moved_decoded", "swapped_decoded"),
    "correction: mean absolute error": ("corrected", "uncorrected", "codes_only"),
    "motion score: distance of logarithms": ("score",),
    "prior: nats per token": ("nats_coarse", "nats_fine", "nats_evidence"),
}


def scalars(folders: list[Path]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Iterations, counted through all folders, and values of each scalar below ``train/``, by name."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found: dict[str, list[tuple[int, float]]] = {}
    start = 0
    for folder in folders:
        events = EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0})
        events.Reload()
        last = start
        for tag in (tag for tag in events.Tags()["scalars"] if tag.startswith("train/")):
            points = [(start + point.step, point.value) for point in events.Scalars(tag)]
            found.setdefault(tag.removeprefix("train/"), []).extend(points)
            last = max(last, points[-1][0])
        start = last
    return {name: tuple(map(np.array, zip(*points, strict=True))) for name, points in found.items()}


def smooth(values: np.ndarray) -> np.ndarray:
    """Running mean over :data:`SMOOTH` points, shorter at the start."""
    total = np.cumsum(np.insert(values, 0, 0.0))
    first = np.maximum(np.arange(1, len(total)) - SMOOTH, 0)
    return (total[1:] - total[first]) / (np.arange(1, len(total)) - first)


def main(
    folders: list[Path] = typer.Argument(..., help="Output folders of trainings, in their order."),
    out: Path = typer.Option(..., help="The picture, a PNG."),
) -> None:
    """Draw the curves."""
    from matplotlib import pyplot as plt

    found = scalars(folders)
    panels = {title: [name for name in names if name in found] for title, names in PANELS.items()}
    panels = {title: names for title, names in panels.items() if names}
    figure, axes = plt.subplots(1, len(panels), figsize=(4.5 * len(panels), 3.2), squeeze=False)
    for axis, (title, names) in zip(axes[0], panels.items(), strict=True):
        for name in names:
            iterations, values = found[name]
            axis.plot(iterations, smooth(values), label=name.replace("_", " "))
        axis.set_title(title, fontsize=9)
        axis.set_xlabel("iteration", fontsize=8)
        axis.tick_params(labelsize=8)
        axis.legend(fontsize=8)
        axis.set_ylim(bottom=0)
    figure.tight_layout()
    figure.savefig(out, dpi=100)
    print(out)


if __name__ == "__main__":
    typer.run(main)
