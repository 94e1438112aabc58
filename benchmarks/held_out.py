"""A held-out brain with simulated motion, before and after: guidance by strength, or 3D motion of whole volumes.

    python -m benchmarks.held_out                              # slices in three orientations, motion within the slice
    python -m benchmarks.held_out --volumes                    # 3D motion, whole volumes
    python -m benchmarks.held_out --guidance 0 --guidance 1

The table of all regions and families is that of `mocodis evaluate`, whose cases, metrics and statistics these are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
import typer
from monai.data import MetaTensor
from nibabel.orientations import aff2axcodes

from mocodis_monai.data.nifti import read_volume
from mocodis_monai.data.packaged import colin27_path
from mocodis_monai.evaluation import Case, Cell, CorrectorMethod, Evaluation, Grid, cells_of, evaluate_cells
from mocodis_monai.evaluation.cases import NO_MOTION
from mocodis_monai.evaluation.grid import LINE_ORDERS, VIEWS
from mocodis_monai.evaluation.summaries import as_json, summaries
from mocodis_monai.inferers import thickest_axis
from mocodis_monai.motion import band_of
from mocodis_monai.release import facts_of, load_corrector
from mocodis_monai.report.findings import markdown
from mocodis_monai.transforms import RandKSpaceMotiond

FAMILIES = ("sudden", "drift", "breathing_rigid")
DISPLACEMENTS_MM = (1.75, 3.5)
"""Displacement scores of whole volumes, which take long: moderate and severe."""
NAME = "volume"


def slice_grid(path: Path, num_slices: int) -> Grid:
    """Slices of each view of a volume, spread over it, as the built-in grid takes them of Colin27."""
    regions = tuple(f"{NAME} {view}" for view in VIEWS)
    return Grid(regions, FAMILIES, num_subjects=num_slices, volumes=((NAME, str(path)),))


def volume_cells(path: Path) -> Iterator[tuple[Cell, list[Case]]]:
    """The whole volume without motion, and with each family of 3D motion at each displacement score."""
    volume = read_volume(path)
    clean = MetaTensor(torch.from_numpy(volume.data)[None], affine=torch.from_numpy(volume.affine))
    still = Case(
        cell=Cell(NAME, NO_MOTION, NO_MOTION, "subject"),
        subject=NAME,
        name=NAME,
        moved=clean.as_tensor()[0],
        target=clean.as_tensor()[0],
        spacing_mm=volume.spacing_mm,
        slice_axis=thickest_axis(volume.spacing_mm),
        displacement_mm=0.0,
        motion={},
        orientation="".join(aff2axcodes(volume.affine)),
    )
    yield still.cell, [still]
    for family in FAMILIES:
        for displacement_mm in DISPLACEMENTS_MM:
            yield _moved(still, clean, family, displacement_mm)


def _moved(still: Case, clean: MetaTensor, family: str, displacement_mm: float) -> tuple[Cell, list[Case]]:
    move = RandKSpaceMotiond(
        "image",
        target_keys="target",
        prob=1.0,
        families=family,
        displacement_mm=displacement_mm,
        line_orders=LINE_ORDERS,
    ).set_random_state(0)
    done = move({"image": clean})
    moved, target = (done[key].as_tensor()[0].float() for key in ("image", "target"))
    cell = still.cell._replace(family=family, severity=band_of(displacement_mm))
    name = f"{NAME} {family} {cell.severity}"
    return cell, [still._replace(cell=cell, name=name, moved=moved, target=target, displacement_mm=displacement_mm)]


def evaluate(cells: Iterable[tuple[Cell, list[Case]]], guidance: list[float], weights: Path | None) -> Evaluation:
    """Each strength of the prior on each case."""
    network = load_corrector(weights)
    methods = [CorrectorMethod(f"guidance {strength:g}", network, guidance=strength) for strength in guidance]
    return evaluate_cells(cells, methods, facts_of(weights), progress=True, examples=False)


def score_correlation(evaluation: Evaluation) -> float:
    """Correlation of the motion score with the true displacement."""
    found = [(row.displacement_mm, row.score_mm) for row in evaluation.rows if row.method == evaluation.methods[1]]
    return float(np.corrcoef(np.array(found).T)[0, 1])


def main(
    volume: Path = typer.Option(None, help="NIfTI volume; default Colin27."),
    weights: Path = typer.Option(None, help="Checkpoint; default the released one."),
    guidance: list[float] = typer.Option([0.0], help="Strength of the prior; may be given more than once."),
    volumes: bool = typer.Option(False, "--volumes", help="3D motion and whole volumes instead of slices."),
    slices: int = typer.Option(5, min=1, help="Slices of each view."),
) -> None:
    """Print the table."""
    path = colin27_path() if volume is None else volume
    evaluation = evaluate(volume_cells(path) if volumes else cells_of(slice_grid(path, slices)), guidance, weights)
    print(f"\n{path.name}\n\n{markdown(as_json(evaluation, summaries(evaluation)))}")
    print(f"correlation of the motion score with the true displacement: {score_correlation(evaluation):.2f}")


if __name__ == "__main__":
    typer.run(main)
