"""How much of the residual to add: mean gain in SSIM by share and motion, on validation images that are in no table.

    python -m benchmarks.residual_share --array t1_coronal_slice.npy --volume uih_b.nii.gz \\
        --volume ms12_T1W.nii.gz --volume ms12_T2W.nii.gz --volume ms12_FLAIR.nii.gz

Phantoms of validation seeds with texture, as in the evaluation's grid; the sagittal slice of a head in matplotlib's
sample data, a single slice in a NumPy file and four slices of each NIfTI volume (here the coronal slice in dipy's
wheel, the head of data_manifests/uih_b.json and the patient of data_manifests/patients.json whose split is validation;
none was trained on). First the mean motion score and the highest; beside each gain the share of the cases that lost
more than .01. The last column is what the network does: its share, and nothing where its gate holds the image for
still. A second table takes all moved images of either kind together, with the number of those that lost more.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
import typer
from matplotlib import cbook
from monai.data import MetaTensor
from tqdm import tqdm

from mocodis_monai.data.files import stem
from mocodis_monai.data.intensity import foreground_mask, foreground_scale
from mocodis_monai.data.planes import THICK
from mocodis_monai.data.records import phantom_records, slice_records, spread_off_ends
from mocodis_monai.data.slices import read_canonical
from mocodis_monai.evaluation.grid import load_record
from mocodis_monai.evaluation.statistics import CLEARLY_WORSE
from mocodis_monai.inferers import thickest_axis
from mocodis_monai.metrics import foreground_ssim
from mocodis_monai.networks import MotionCorrector
from mocodis_monai.networks.gate import RESIDUAL_SHARE, no_harm_gate
from mocodis_monai.precision import mixed_precision
from mocodis_monai.release import load_corrector
from mocodis_monai.transforms import RandKSpaceMotiond

SHARES = (0.25, 0.5, 0.65, 0.8, 1.0)
DISPLACEMENTS_PX = (0.75, 1.75, 3.5)
FAMILIES = ("sudden", "drift", "breathing_rigid", "nod")
REGIONS = ("head", "abdomen", "pelvis", "thorax")
FIRST_SEED = 98_000
SIZE = (128, 128)
PHANTOMS_NAME = "phantoms"
PHANTOMS = 4  # of each region
SLICES = 4  # of each volume
MIN_FOREGROUND = 0.15


def images(volumes: Sequence[Path], array: Path | None) -> Iterator[tuple[str, MetaTensor]]:
    """Names and clean images (1, H, W)."""
    for record in phantom_records(PHANTOMS * len(REGIONS), FIRST_SEED, REGIONS, SIZE):
        yield PHANTOMS_NAME, load_record(record)
    with gzip.open(cbook.get_sample_data("s1045.ima.gz", asfileobj=False)) as file:
        yield "head in matplotlib", as_image(np.frombuffer(file.read(), np.uint16).reshape(256, 256))
    if array is not None:
        yield array.stem, as_image(np.squeeze(np.load(array)))
    for volume in volumes:
        spacing_mm = read_canonical(str(volume)).spacing_mm
        axes = (thickest_axis(spacing_mm),) if max(spacing_mm) > THICK * min(spacing_mm) else (0, 1, 2)
        records = slice_records(volume, axes, min_foreground=MIN_FOREGROUND)
        for record in spread_off_ends(records, SLICES):
            yield f"slices of {stem(volume)}", load_record(record)


def as_image(values: np.ndarray) -> MetaTensor:
    """(H, W) as (1, H, W) on the scale that the network wants."""
    image = torch.from_numpy(values.astype(np.float32))
    return MetaTensor((image / foreground_scale(image))[None])


@torch.no_grad()
def judge(network: MotionCorrector, moved: torch.Tensor, target: torch.Tensor) -> list[float]:
    """Motion score in pixels of (H, W), gain in SSIM for each share, then for the network's own with its gate."""
    scale, mask = foreground_scale(moved), foreground_mask(target[None])[0].numpy()
    padded = network._pad((moved / scale)[None, None])
    with mixed_precision("cpu"):
        refined = network.refine(padded, padded)
    gate = float(no_harm_gate(refined.score_px)[0])
    shares = (0.0, *SHARES, gate * RESIDUAL_SHARE)
    residual = scale * (refined.refined - padded)[0, 0, : moved.shape[0], : moved.shape[1]]
    before, *after = (
        foreground_ssim((moved + share * residual).clamp(min=0).numpy(), target.numpy(), mask) for share in shares
    )
    return [float(refined.score_px[0]), *(value - before for value in after)]


def main(
    volume: list[Path] = typer.Option([], help="NIfTI volume whose slices are looked at; again for more."),
    array: Path = typer.Option(None, help="A slice in a NumPy file."),
    weights: Path = typer.Option(None, help="Checkpoint; default the released one."),
) -> None:
    """Print the table."""
    network, table = load_corrector(weights), {}
    for number, (name, clean) in enumerate(tqdm(list(images(volume, array)), unit="image")):
        plain = clean.as_tensor()[0].float()
        table.setdefault((name, 0.0), []).append(judge(network, plain, plain))
        for displacement_px in DISPLACEMENTS_PX:
            for family in FAMILIES:
                move = RandKSpaceMotiond(
                    "image",
                    target_keys="target",
                    prob=1.0,
                    families=family,
                    displacement_mm=displacement_px,
                    line_orders=("linear", "interleaved"),
                    spacing_mm=(1.0, 1.0),
                ).set_random_state(number)
                done = move({"image": clean})
                moved, target = (done[key].as_tensor()[0].float() for key in ("image", "target"))
                table.setdefault((name, displacement_px), []).append(judge(network, moved, target))
    shares = " | ".join(f"{share:g}" for share in SHARES)
    print(f"\n| images | displacement, px | score, px (highest) | {shares} | with the gate |")
    print("|---" * (4 + len(SHARES)) + "|")
    for (name, displacement_px), found in table.items():
        scores, gains = np.split(np.asarray(found), [1], axis=1)
        worse = np.mean(gains < -CLEARLY_WORSE, 0)
        cells = (f"{gain:+.3f}, {share:.0%}" for gain, share in zip(np.mean(gains, 0), worse, strict=True))
        print(f"| {name} | {displacement_px:g} | {scores.mean():.2f} ({scores.max():.2f}) | {' | '.join(cells)} |")
    print(f"\n| moved images | number | {shares} | with the gate |")
    print("|---" * (3 + len(SHARES)) + "|")
    for title, wanted in (("phantoms", True), ("real heads", False)):
        moved = [found for (name, px), found in table.items() if px and (name == PHANTOMS_NAME) == wanted]
        gains = np.concatenate(moved)[:, 1:]
        lost = np.sum(gains < -CLEARLY_WORSE, 0)
        cells = (f"{gain:+.4f}, {count}" for gain, count in zip(np.mean(gains, 0), lost, strict=True))
        print(f"| {title} | {len(gains)} | {' | '.join(cells)} |")


if __name__ == "__main__":
    typer.run(main)
