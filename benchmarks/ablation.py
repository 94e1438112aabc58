"""Which part of the method earns its place: the corrector with and without its parts, by severity.

    python -m benchmarks.ablation
    python -m benchmarks.ablation --control runs/control/model.pt

On held-out subjects: regions and families that training has seen, families and regions that it has not (the grid of
`mocodis evaluate`), and a held-out brain where it is installed. ``--control`` names the same network, trained as long
without the prior. Gains in SSIM are relative to the control if there is one, else to the unguided correction; 95 %
bootstrap intervals over subjects.
"""

from __future__ import annotations

import time
from pathlib import Path

import torch
import typer

from mocodis_monai.data.intensity import foreground_scale
from mocodis_monai.evaluation import Grid, evaluate_cells
from mocodis_monai.evaluation.cases import Case
from mocodis_monai.evaluation.grid import builtin_grid, cells_of
from mocodis_monai.evaluation.methods import CorrectorMethod, Method, Output, num_parameters_of
from mocodis_monai.evaluation.statistics import Summary, summarise
from mocodis_monai.evaluation.summaries import GROUPS, in_order
from mocodis_monai.networks import MotionCorrector
from mocodis_monai.precision import mixed_precision
from mocodis_monai.release import load_corrector


class TrueCodes:
    """The guided correction if the codes of the target were known: the ceiling, not a method."""

    name = "true codes (ceiling)"
    sees_target = True

    def __init__(self, network: MotionCorrector) -> None:
        self.network = network
        self.num_parameters = num_parameters_of(network)

    def correct(self, case: Case) -> Output:
        """Correct a single slice, looking at its target."""
        assert case.target is not None
        start, scale = time.perf_counter(), foreground_scale(case.moved)
        moved, clean = ((image / scale).permute(2, 0, 1)[None] for image in (case.moved, case.target))
        with mixed_precision("cpu"):
            drawn = self.network.correct_knowing(moved, clean).float()
        return Output(scale * drawn[0].permute(1, 2, 0), time.perf_counter() - start)


def methods_of(network: MotionCorrector, control: MotionCorrector | None) -> list[Method]:
    """Rows of the table."""
    methods: list[Method] = [
        CorrectorMethod("guided", network, guidance=1.0),
        CorrectorMethod("unguided", network, guidance=0.0),
        CorrectorMethod("codes only", network, fidelity=0.0, guidance=1.0),
        TrueCodes(network),
    ]
    return methods if control is None else [CorrectorMethod("control", control, guidance=0.0), *methods]


def line(summary: Summary, gains: Summary) -> str:
    """A line of the table: means, and the gain over what it is compared with."""
    return (
        f"| {summary.group.label} | {summary.method} | {summary.num_cases} "
        f"| {summary.means['ssim']:.4f} | {summary.means['psnr_db']:.2f} "
        f"| {gains.gains['ssim']:+.4f} |"
    )


def main(
    weights: Path = typer.Option(None, help="Checkpoint; default the released one."),
    control: Path = typer.Option(None, help="The same network trained as long without the prior."),
    subjects: int = typer.Option(6, help="Subjects in each cell of the grid."),
) -> None:
    """Print the table."""
    methods = methods_of(load_corrector(weights), None if control is None else load_corrector(control))
    grid: Grid = builtin_grid()._replace(num_subjects=subjects)
    rows = evaluate_cells(cells_of(grid), methods, progress=True, examples=False).rows
    against = "unguided" if control is None else "control"

    by = GROUPS["population and severity"]
    pairs = zip(in_order(summarise(rows, by)), in_order(summarise(rows, by, against=against)), strict=True)
    print(f"\n| cases | severity | method | number | SSIM | PSNR dB | SSIM gain over {against} |")
    print("|---|---|---|---|---|---|---|")
    print("\n".join(line(*pair) for pair in pairs))


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    typer.run(main)
