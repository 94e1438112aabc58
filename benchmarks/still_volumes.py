"""What becomes of the slices of whole still scans, those at the rim of the head too, and what motion there would gain.

    python -m benchmarks.still_volumes uih_b.nii.gz /usr/share/mricron/templates/ch2.nii.gz

Every fourth slice of each NIfTI volume, on the volume's intensity scale as in `mocodis correct`, cut across the
thickest voxels, in all three directions where they are cubes. Slices with less than LEAST_TISSUE of the fullest one's
tissue apart from the others: how many the network holds for moved though none is, the largest change that it would make
(of the intensity scale), and the mean gain in SSIM where motion is simulated. `mocodis correct` leaves those with
little tissue alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import typer
from tqdm import tqdm

from mocodis_monai.data.files import stem
from mocodis_monai.data.intensity import foreground_mask, foreground_scale
from mocodis_monai.data.slices import read_canonical
from mocodis_monai.inferers import slices_to_judge
from mocodis_monai.metrics import foreground_ssim
from mocodis_monai.networks import MotionCorrector
from mocodis_monai.precision import mixed_precision
from mocodis_monai.release import load_corrector
from mocodis_monai.transforms import RandKSpaceMotion

VIEWS = ("sagittal", "coronal", "axial")
DISPLACEMENTS_PX = (1.75, 3.5)
FAMILIES = ("sudden", "drift", "breathing_rigid", "nod")
EVERY = 4


class Cut(NamedTuple):
    """Slices of a volume across one axis.

    Attributes:
        view: which axis.
        images: (slices, H, W), one is the intensity scale.
        masks: their tissue, (slices, H, W) bool.
        judged: (slices,) bool, whether `mocodis correct` judges them.
    """

    view: str
    images: torch.Tensor
    masks: torch.Tensor
    judged: torch.Tensor


class Seen(NamedTuple):
    """What the network makes of one slice: is it held for moved, largest change, gain at each displacement."""

    moved: float
    change: float
    gains: list[float]


def cuts(path: Path) -> Iterator[Cut]:
    """The volume's slices with tissue."""
    data, spacing_mm = read_canonical(str(path))
    values = torch.tensor(data)
    scaled, mask = values / foreground_scale(values), foreground_mask(values[None])[0]
    for axis in (axis for axis in range(3) if spacing_mm[axis] > 0.99 * max(spacing_mm)):
        images, masks = scaled.movedim(axis, 0), mask.movedim(axis, 0)
        filled = masks.flatten(1).any(1)
        yield Cut(VIEWS[axis], images[filled], masks[filled], slices_to_judge(images, masks)[filled])


@torch.no_grad()
def look(network: MotionCorrector, image: torch.Tensor, mask: torch.Tensor, seed: int) -> Seen:
    """Correct a slice (H, W) as it is, and after motion of one family at each displacement."""
    still = _corrected(network, image)
    gains = []
    for displacement_px in DISPLACEMENTS_PX:
        move = RandKSpaceMotion(
            1.0, families=FAMILIES[seed % len(FAMILIES)], displacement_mm=displacement_px, spacing_mm=(1.0, 1.0)
        ).set_random_state(seed)
        moved = move(image[None]).as_tensor()[0]
        before, after = (
            foreground_ssim(one.numpy(), image.numpy(), mask.numpy())
            for one in (moved, _corrected(network, moved).corrected)
        )
        gains.append(after - before)
    return Seen(float(still.gate > 0), float((still.corrected - image).abs().max()), gains)


class _Result(NamedTuple):
    corrected: torch.Tensor
    gate: float


def _corrected(network: MotionCorrector, image: torch.Tensor) -> _Result:
    with mixed_precision("cpu"):
        result = network.correct(image[None, None].contiguous(memory_format=torch.channels_last))
    return _Result(result.corrected[0, 0].float(), float(result.gate[0]))


def main(
    volume: list[Path] = typer.Argument(..., help="NIfTI volumes of people who lay still."),
    weights: Path = typer.Option(None, help="Checkpoint; default the released one."),
) -> None:
    """Print the table."""
    network = load_corrector(weights)
    print("| volume | cut | tissue | slices | held for moved | largest change "
          f"| {' | '.join(f'gain at {px:g} px' for px in DISPLACEMENTS_PX)} |\n|{'---|' * (6 + len(DISPLACEMENTS_PX))}")
    for path in volume:
        for cut in cuts(path):
            chosen = range(0, len(cut.images), EVERY)
            seen = [look(network, cut.images[k], cut.masks[k], k) for k in tqdm(chosen, unit="slice", leave=False)]
            for name, judged in (("little", False), ("enough", True)):
                rows = [row for k, row in zip(chosen, seen, strict=True) if bool(cut.judged[k]) == judged]
                if rows:
                    gains = np.array([row.gains for row in rows]).mean(0)
                    print(f"| {stem(path)} | {cut.view} | {name} | {len(rows)} | {sum(row.moved for row in rows):.0f} "
                          f"| {max(row.change for row in rows):.3f} | {' | '.join(f'{x:+.3f}' for x in gains)} |",
                          flush=True)


if __name__ == "__main__":
    typer.run(main)
