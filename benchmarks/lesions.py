"""Do lesions survive the correction, and does it invent any?

    python -m benchmarks.lesions

Bright and dark discs of 3 to 12 mm are put into held-out images (phantoms, and Colin27 where it is installed) before
the motion. Contrast is the mean inside the lesion less the mean of the ring around it, relative to the target's; it
counts as kept within 20 per cent of that; its change has a 95 % bootstrap interval over the slices. A spurious blob is
a blob (difference of Gaussians, 3 to 12 mm) in the difference between an image and its target that is stronger than a
tenth of the image's bright end.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import typer
from monai.data import MetaTensor
from scipy.ndimage import binary_dilation, binary_erosion, gaussian_filter, label
from skimage.feature import blob_dog
from tqdm import tqdm

from mocodis_monai.data.intensity import foreground_mask, foreground_scale
from mocodis_monai.data.packaged import COLIN27_PATH
from mocodis_monai.data.records import phantom_records, slice_records
from mocodis_monai.evaluation import paired_interval
from mocodis_monai.networks import MotionCorrector
from mocodis_monai.precision import mixed_precision
from mocodis_monai.release import load_corrector
from mocodis_monai.transforms import LoadSourced, RandKSpaceMotiond

REGIONS = ("head", "abdomen", "pelvis")
FIRST_SEED = 8_000_000
SIZE = (192, 192)
DISPLACEMENTS_MM = {"mild": 0.75, "moderate": 1.75, "severe": 3.5}
FAMILIES = ("sudden", "drift", "breathing_rigid")
DIAMETERS_MM = (3.0, 6.0, 12.0)
CONTRAST = 0.3
"""Of a lesion against the tissue that it lies in, as a share of the image's bright end."""
KEPT = 0.2
BLOB_THRESHOLD = 0.1


class Planted(NamedTuple):
    """A slice with a lesion: the image (1, H, W), and what the lesion adds, (1, H, W)."""

    image: MetaTensor
    added: torch.Tensor
    diameter_mm: float
    sign: int


class Found(NamedTuple):
    """Contrast relative to the target's, and the spurious blobs, before and after the correction, in a slice."""

    slice: int
    severity: str
    diameter_mm: float
    sign: int
    kept_before: float
    kept_after: float
    blobs_before: int
    blobs_after: int


def plant(clean: MetaTensor, rng: np.random.Generator, diameter_mm: float, sign: int) -> Planted | None:
    """Put a disc with a soft edge at a random place well inside even tissue; None where there is none."""
    image = clean.as_tensor()[0].numpy()
    pixel_mm = float(clean.pixdim[:2].mean())
    radius_px = diameter_mm / 2 / pixel_mm
    inside = binary_erosion(foreground_mask(clean.as_tensor())[0].numpy(), iterations=int(2 * radius_px) + 3)
    local = gaussian_filter(image, radius_px)
    spread = np.sqrt(np.maximum(gaussian_filter(image**2, radius_px) - local**2, 0))
    room = local > CONTRAST + 0.05 if sign < 0 else local > 0.15
    places = np.argwhere(inside & room & (spread < 0.12))
    if len(places) == 0:
        return None
    row, column = places[rng.integers(len(places))]
    rows, columns = np.ogrid[: image.shape[0], : image.shape[1]]
    distance = np.hypot(rows - row, columns - column)
    disc = np.clip(radius_px + 0.5 - distance, 0, 1).astype(np.float32)
    added = torch.from_numpy(np.float32(sign * CONTRAST) * disc)[None]
    return Planted((clean + added).clamp(min=0), added, diameter_mm, sign)


def contrast(image: np.ndarray, lesion: np.ndarray) -> float:
    """Mean inside less mean of the ring of 2 to 4 pixels around ``lesion`` (bool)."""
    ring = binary_dilation(lesion, iterations=4) & ~binary_dilation(lesion, iterations=2)
    return float(image[lesion].mean() - image[ring].mean())


def spurious(image: np.ndarray, target: np.ndarray, pixel_mm: float) -> int:
    """Blobs, bright or dark, in what ``image`` has that ``target`` has not."""
    sigmas = {name: mm / pixel_mm / 2**1.5 for name, mm in (("min_sigma", 3.0), ("max_sigma", 12.0))}
    found = [blob_dog(sign * (image - target), threshold=BLOB_THRESHOLD, **sigmas) for sign in (1, -1)]
    return sum(map(len, found))


def slices() -> Iterator[MetaTensor]:
    """Held-out slices (1, H, W)."""
    load = LoadSourced("image")
    for record in phantom_records(12, FIRST_SEED, REGIONS, SIZE):
        yield load(record)["image"]
    if COLIN27_PATH.is_file():
        for record in slice_records(COLIN27_PATH, step=40, min_foreground=0.3):
            yield load(record)["image"]


def look(network: MotionCorrector, planted: Planted, severity: str, family: str, seed: int) -> Found | None:
    """Move a slice with its lesion, correct it, and see what became of the lesion; None where the target lost it."""
    move = RandKSpaceMotiond(
        ("image", "bare"), target_keys=("target", "bare_target"), prob=1.0, families=family,
        displacement_mm=DISPLACEMENTS_MM[severity], line_orders=("linear", "interleaved"),
    ).set_random_state(seed)
    done = move({"image": planted.image, "bare": planted.image - planted.added})
    moved, target, bare = (done[key].as_tensor()[0].float() for key in ("image", "target", "bare_target"))
    lesion = _largest((target - bare).numpy() * planted.sign > CONTRAST / 2)
    if lesion is None or abs(contrast(target.numpy(), lesion)) < CONTRAST / 2:
        return None
    pixel_mm = float(planted.image.pixdim[:2].mean())
    scale = foreground_scale(moved)
    with torch.no_grad(), mixed_precision("cpu"):
        corrected = network.correct((moved / scale)[None, None], pixel_mm).corrected
    images = moved.numpy(), corrected[0, 0].float().numpy() * scale
    kept = [contrast(image, lesion) / contrast(target.numpy(), lesion) for image in images]
    blobs = [spurious(image, target.numpy(), pixel_mm) for image in images]
    return Found(seed, severity, planted.diameter_mm, planted.sign, *kept, *blobs)


def _largest(mask: np.ndarray) -> np.ndarray | None:
    parts, count = label(mask)
    return None if count == 0 else parts == 1 + np.argmax(np.bincount(parts.ravel())[1:])


def summarise(found: list[Found]) -> str:
    """A line per severity and size."""
    lines = [
        "| severity | diameter | lesions | contrast before | after | change [95 %] | kept before | after "
        "| blobs before | after |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for severity in DISPLACEMENTS_MM:
        for diameter_mm in DIAMETERS_MM:
            chosen = [row for row in found if (row.severity, row.diameter_mm) == (severity, diameter_mm)]
            table = np.array([row[4:] for row in chosen])
            change = paired_interval((table[:, 1] - table[:, 0]).tolist(), [str(row.slice) for row in chosen])
            kept = (np.abs(table[:, :2] - 1) <= KEPT).mean(0)
            before, after, blobs_before, blobs_after = table.mean(0)
            lines.append(
                f"| {severity} | {diameter_mm:g} mm | {len(chosen)} | {before:.2f} | {after:.2f} "
                f"| {change:+.3f} "
                f"| {kept[0]:.0%} | {kept[1]:.0%} | {blobs_before:.1f} | {blobs_after:.1f} |"
            )
    return "\n".join(lines)


def main(weights: Path = typer.Option(None, help="Checkpoint; default the released one.")) -> None:
    """Print the table."""
    network, found = load_corrector(weights), []
    rng = np.random.default_rng(0)
    for seed, clean in enumerate(tqdm(list(slices()), unit="slice")):
        family = FAMILIES[(seed + seed // len(REGIONS)) % len(FAMILIES)]  # the regions come in turn: not in step
        for diameter_mm in DIAMETERS_MM:
            for sign in (1, -1):
                planted = plant(clean, rng, diameter_mm, sign)
                if planted is None:
                    continue
                for severity in DISPLACEMENTS_MM:
                    row = look(network, planted, severity, family, seed)
                    found += [row] if row is not None else []
    print(f"\n{summarise(found)}")


if __name__ == "__main__":
    typer.run(main)
