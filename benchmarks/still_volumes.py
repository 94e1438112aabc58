"""What becomes of the slices of whole still scans, those at the rim of the head too, and what motion there would gain.

    python -m benchmarks.still_volumes uih_b.nii.gz /usr/share/mricron/templates/ch2.nii.gz

Slices of each NIfTI volume, on the volume's intensity scale as in `mocodis correct`, cut across the thickest voxels, in
all three directions where they are cubes: every second of those with less than LEAST_TISSUE of the fullest one's
tissue, every tenth of the others. How many the network holds for moved though none is, as they are and with Rician
noise of a share of the intensity scale; the largest change that it would make of them as they are, on that scale; and
the mean gain in SSIM where motion is simulated. `mocodis correct` leaves those with little tissue alone.
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
from mocodis_monai.transforms import RandKSpaceMotiond

VIEWS = ("sagittal", "coronal", "axial")
DISPLACEMENTS_PX = (1.75, 3.5)
NOISE_STD = (0.0, 0.02, 0.04)
FAMILIES = ("sudden", "drift", "breathing_rigid", "nod")
EVERY = {"little": 2, "enough": 10}


class Cut(NamedTuple):
    """Slices of a volume across one axis.

    Attributes:
        view: which axis.
        images: (slices, H, W), one is the intensity scale.
        judged: (slices,) bool, whether `mocodis correct` judges them.
    """

    view: str
    images: torch.Tensor
    judged: torch.Tensor


class Seen(NamedTuple):
    """What the network makes of one slice.

    Attributes:
        moved: whether the still slice is held for moved, at each level of noise.
        change: largest change of the slice as it is.
        gains: gain in SSIM at each displacement.
    """

    moved: list[bool]
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
        yield Cut(VIEWS[axis], images[filled], slices_to_judge(images, masks)[filled])


@torch.no_grad()
def look(network: MotionCorrector, image: torch.Tensor, seed: int) -> Seen:
    """Correct a slice (H, W) as it is, with noise, and after motion of one family at each displacement."""
    rng = torch.Generator().manual_seed(seed)
    still = [_corrected(network, noisy(image, std, rng)) for std in NOISE_STD]
    gains = []
    for displacement_px in DISPLACEMENTS_PX:
        move = RandKSpaceMotiond(
            "image",
            target_keys="target",
            prob=1.0,
            families=FAMILIES[seed % len(FAMILIES)],
            displacement_mm=displacement_px,
            spacing_mm=(1.0, 1.0),
        ).set_random_state(seed)
        done = move({"image": image[None]})
        moved, target = (torch.as_tensor(done[key]).as_subclass(torch.Tensor)[0] for key in ("image", "target"))
        mask = foreground_mask(target[None])[0].numpy()
        before, after = (
            foreground_ssim(one.numpy(), target.numpy(), mask)
            for one in (moved, _corrected(network, moved).corrected)
        )
        gains.append(after - before)
    return Seen([one.gate > 0 for one in still], float((still[0].corrected - image).abs().max()), gains)


def noisy(image: torch.Tensor, std: float, rng: torch.Generator) -> torch.Tensor:
    """Magnitude of the image with complex noise of standard deviation ``std`` in each channel."""
    real, imaginary = std * torch.randn((2, *image.shape), generator=rng)
    return torch.hypot(image + real, imaginary) if std else image


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
    noise = [f"with noise {std:g}" for std in NOISE_STD[1:]]
    head = ["volume", "cut", "tissue", "slices", "held for moved", *noise, "largest change"]
    head += [f"gain at {px:g} px" for px in DISPLACEMENTS_PX]
    print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for path in volume:
        for cut in cuts(path):
            for name, every in EVERY.items():
                places = (cut.judged == (name == "enough")).nonzero().flatten().tolist()[::every]
                rows = [look(network, cut.images[k], k) for k in tqdm(places, unit="slice", leave=False)]
                if rows:
                    start = f"| {stem(path)} | {cut.view} | {name} | {len(rows)} |"
                    print(f"{start} {' | '.join(_cells(rows))} |", flush=True)


def _cells(rows: list[Seen]) -> list[str]:
    moved, gains = (np.array([getattr(row, name) for row in rows]) for name in ("moved", "gains"))
    change = max(row.change for row in rows)
    return [*map(str, moved.sum(0)), f"{change:.3f}", *(f"{gain:+.3f}" for gain in gains.mean(0))]


if __name__ == "__main__":
    typer.run(main)
