"""How well the co-registered target lies on the corrupted image, measured with an independent method.

    python -m benchmarks.target_registration

Draws phantom slices, and slices of Colin27 where it is installed, moves them with every family at every severity, and
asks three judges, in steps of 1/20 pixel, for the shift that is left between target and corrupted magnitude:

- scikit-image's `phase_cross_correlation`, as the peak of the plain cross-correlation
  (`normalization=None`). The bar is set for this one: median below .1 pixel, 95th percentile below .5. The last step
  of our registration goes to that peak too, so that this judge tells whether it is found, not whether it is the right
  place; the other two tell how sharp an answer there is;
- the same of the edges (Sobel), which has another idea of what fits: not the bright areas but where they end, and
  ghosts have edges too;
- `phase_cross_correlation` as it comes, phase-only: it gives every frequency the same say, so that the ghosts and the
  noise, which most frequencies hold, outvote the object. It is here to be seen, not to be trusted.

Organs that move locally reach the score that is asked for only up to where tissue would fold; they get nine tenths of
that where it is less.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
import typer
from skimage.filters import sobel
from skimage.registration import phase_cross_correlation
from tqdm import tqdm

from mocodis_monai.data.packaged import COLIN27_PATH
from mocodis_monai.data.phantom import make_phantom
from mocodis_monai.data.records import slice_records
from mocodis_monai.motion import (
    FAMILIES,
    LINE_ORDERS,
    NON_RIGID_FAMILIES,
    SEVERITY_BANDS,
    BodyAxes,
    coregistered_target,
    displacement_range,
    excursion_mm,
    line_energy,
    magnitude,
    plan_acquisition,
    reachable_mm,
    sample_motion,
    scale_to_displacement,
    simulate_motion,
)
from mocodis_monai.transforms import LoadSourced

SIZE = 128
REGIONS = {
    "breathing": ("thorax", "abdomen"),
    "cardiac": ("thorax",),
    "peristalsis": ("abdomen", "pelvis"),
}
"""Where non-rigid motion is looked at; rigid motion everywhere."""
ANYWHERE = ("head", "thorax", "abdomen", "pelvis", "knee")

AXIAL = BodyAxes(None, 0, 1, (1, -1, -1))
"""The phantoms: anterior on top, the patient's right on the left."""

MAX_EXCURSION_MM = 20.0
"""No patient moves farther from the mean pose; see RandKSpaceMotion."""


class Subject(NamedTuple):
    """A clean image ``(1, H, W)`` and its pixel size."""

    image: torch.Tensor
    spacing_mm: tuple[float, float]


class Residual(NamedTuple):
    """Shift left in one sample, in pixels."""

    source: str
    family: str
    band: str
    correlation_px: float
    edges_px: float
    phase_only_px: float


def phantom(region: str, seed: int) -> Subject:
    """A phantom slice."""
    made = make_phantom(region, seed, (SIZE, SIZE))
    return Subject(made.image, made.spacing_mm)


def brains(count: int) -> list[Subject]:
    """Slices of Colin27 in three orientations; none where it is not installed."""
    if not COLIN27_PATH.is_file():
        return []
    records = slice_records(COLIN27_PATH, step=12)
    chosen = np.linspace(0, len(records) - 1, min(count, len(records))).round().astype(int)
    slices = [LoadSourced("image")(records[number])["image"] for number in chosen]
    return [Subject(image.as_tensor().float(), tuple(float(mm) for mm in image.pixdim)) for image in slices]


def residual(source: str, subject: Subject, family: str, band: str, rng: np.random.RandomState) -> Residual:
    """Move a subject and measure the shift between its target and itself."""
    image, spacing_mm = subject
    shape = image.shape[1:]
    while True:
        axis, num_shots = rng.randint(2), rng.randint(6, 33)
        order = LINE_ORDERS[rng.randint(len(LINE_ORDERS))]
        acquisition = plan_acquisition(shape, num_shots, order, (axis,), rng=rng)
        scored = (acquisition, line_energy(image, acquisition, 2), image)
        motion = sample_motion(family, num_shots, 2, rng, AXIAL)
        wanted_mm = rng.uniform(*displacement_range(band))
        if family in NON_RIGID_FAMILIES:
            wanted_mm = min(wanted_mm, 0.9 * reachable_mm(motion, *scored, spacing_mm))
        try:
            motion = scale_to_displacement(motion, wanted_mm, *scored, spacing_mm)
        except ValueError:
            # The moving shots acquired next to no energy.
            continue
        if excursion_mm(motion, image) <= MAX_EXCURSION_MM:
            break
    moved = magnitude(simulate_motion(image, motion, acquisition, spacing_mm))
    target = coregistered_target(image, moved, motion, acquisition, spacing_mm).image
    pair = target[0].numpy(), moved[0].numpy()
    edges = sobel(pair[0]), sobel(pair[1])
    shifts = correlation_shift(*pair, None), correlation_shift(*edges, None), correlation_shift(*pair, "phase")
    return Residual(source, family, band, *(float(np.linalg.norm(shift)) for shift in shifts))


def correlation_shift(fixed: np.ndarray, moving: np.ndarray, normalization: str | None) -> np.ndarray:
    """Shift that scikit-image finds, in pixels."""
    return phase_cross_correlation(fixed, moving, upsample_factor=20, normalization=normalization)[0]


def samples(per_cell: int) -> Iterator[Residual]:
    """``per_cell`` phantoms of every family and severity, and up to as many brain slices where the family is rigid."""
    heads = brains(per_cell)
    for number, family in enumerate(FAMILIES):
        # Local organs move little of the body: all bands would be the same motion.
        bands = SEVERITY_BANDS[:1] if family in ("cardiac", "peristalsis") else SEVERITY_BANDS
        for place, (band, _) in enumerate(bands):
            cell = 1000 * number + 100 * place
            for seed in range(per_cell):
                rng = np.random.RandomState(cell + seed)
                regions = REGIONS.get(family, ANYWHERE)
                yield residual("phantoms", phantom(regions[seed % len(regions)], seed), family, band, rng)
            if family not in NON_RIGID_FAMILIES:
                for seed, head in enumerate(heads):
                    yield residual("Colin27", head, family, band, np.random.RandomState(cell + seed))


def line(name: str, found: list[Residual]) -> str:
    """One row of the table."""
    shifts = np.array([sample[3:] for sample in found])
    columns = np.stack([np.median(shifts, 0), np.percentile(shifts, 95, axis=0)], 1).flatten()
    return f"| {name} | {len(found)} | " + " | ".join(f"{value:.3f}" for value in columns) + " |"


def main(per_cell: int = typer.Option(8, help="Samples of every family and severity.")) -> None:
    """Print the table."""
    found = list(tqdm(samples(per_cell), desc="samples", unit="sample"))
    judges = ("cross-correlation", "edges", "phase-only")
    print("| sample | n | " + " | ".join(f"{judge}, median px | 95 % px" for judge in judges) + " |")
    print("|---" * 8 + "|")
    cells = {f"{sample.family}, {sample.band}": [] for sample in found}
    for sample in found:
        cells[f"{sample.family}, {sample.band}"].append(sample)
    for name, chosen in cells.items():
        print(line(name, chosen))
    for source in dict.fromkeys(sample.source for sample in found):
        print(line(f"all {source}", [sample for sample in found if sample.source == source]))
    print(line("all", found))


if __name__ == "__main__":
    typer.run(main)
