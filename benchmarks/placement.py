"""Where a moved image lies, off the still one and its labels, with and without ``centred``.

    python -m benchmarks.placement

The pose of the co-registered target of a phantom's head, as a displacement (Tisdall's, of a sphere of 64 mm): median,
90th percentile and most of the draws.
"""

from __future__ import annotations

import numpy as np
import torch
import typer
from monai.data import MetaTensor
from tqdm import tqdm

from mocodis_monai.data.records import phantom_records
from mocodis_monai.motion import coregistered_target, identity_pose
from mocodis_monai.motion.severity import shot_displacement_mm
from mocodis_monai.transforms import LoadSourced, RandKSpaceMotion

BANDS = ("mild", "moderate", "severe")
SIZE = (128, 128)
SEED = 7


def offset_mm(draw: RandKSpaceMotion, image: MetaTensor) -> float:
    """How far off the next moved image lies."""
    moved, motion = draw(image).as_tensor(), draw.drawn
    assert motion is not None  # drawn with probability one
    acquisition = motion.scan.plan(image.shape[1:], motion.motion.num_shots)
    spacing_mm = image.pixdim[:2].tolist()
    pose = coregistered_target(image.as_tensor(), moved, motion.motion, acquisition, spacing_mm).pose
    return float(shot_displacement_mm(pose, identity_pose(2)))


def main(draws: int = typer.Option(120, min=1, help="Of each severity.")) -> None:
    """Print the table."""
    image = LoadSourced("image")(phantom_records(1, SEED, ("head",), SIZE)[0])["image"]
    print("| severity | centred | median, mm | 90 %, mm | most, mm |\n|---|---|---|---|---|")
    for band in BANDS:
        for centred in (False, True):
            draw = RandKSpaceMotion(1.0, displacement_mm=band, centred=centred)
            numbers = tqdm(range(draws), desc=band, leave=False)
            found = [offset_mm(draw.set_random_state(number), image) for number in numbers]
            median, ninth, most = np.percentile(found, (50, 90, 100))
            print(f"| {band} | {'yes' if centred else 'no'} | {median:.2f} | {ninth:.2f} | {most:.2f} |")


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    typer.run(main)
