"""Do content codes describe the anatomy and motion codes the motion? Four questions, on phantoms never trained on.

    python -m benchmarks.disentanglement

Pairs of different anatomies go through one trajectory each. Asked is

a. whether a linear probe reads the displacement score from the motion codes, and not from the content codes (R2 of
   ridge regression of log(1 + displacement in pixels), five-fold cross-validation); beside them the motion score that
   users see, as it is;
b. whether a linear probe tells the region of the body from the motion codes (accuracy of logistic regression, likewise,
   beside chance, and beside the content codes as a positive control);
c. how near the content of one anatomy drawn with the motion codes of the other comes to the simulator's own answer,
   against drawing it with its own motion codes (mean absolute error); beside them two controls, without which the
   ratio of the two says little: the motion codes of another trajectory (the next pair's), and no motion codes;
d. how often the content codes read off a moved image are those of the still one, against those of another image.

A probe sees how often each code occurs in the image.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import typer
from sklearn.linear_model import LogisticRegressionCV, RidgeCV
from sklearn.model_selection import StratifiedKFold, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tqdm import tqdm

from mocodis_monai.data.records import twin_records
from mocodis_monai.motion import band_of
from mocodis_monai.networks import ContentCodes, MotionCodes, MotionCorrector
from mocodis_monai.networks.hierarchical_vqvae import Embeddings, embeddings_of
from mocodis_monai.precision import mixed_precision
from mocodis_monai.release import load_corrector
from mocodis_monai.transforms import LoadSourced, RandKSpaceMotiond, SeededCompose

REGIONS = ("head", "thorax", "abdomen", "pelvis", "dead_leaves")
FAMILIES = ("sudden", "drift", "breathing_rigid", "nod")
FIRST_SEED = 9_000_000
"""Far from the seeds of training and validation."""
SIZE = (160, 160)
FOLDS = 5


class Looked(NamedTuple):
    """What the network makes of one moved image; codes as histograms (codes,), errors as mean absolute differences."""

    region: str
    displacement_px: float
    score_px: float
    motion: np.ndarray
    content: np.ndarray
    own_error: float
    swapped_error: float
    other_error: float
    null_error: float
    agreement: float
    chance_agreement: float


def pairs(count: int) -> Iterator[tuple[dict[str, torch.Tensor], tuple[str, str]]]:
    """Moved images and targets of two anatomies under one trajectory, and their regions."""
    move = RandKSpaceMotiond(
        ("image", "partner"),
        target_keys=("target", "partner_target"),
        displacement_keys=("displacement_px", "partner_displacement_px"),
        prob=1.0,
        families=FAMILIES,
        displacement_mm=(0.3, 6.0),
        spacing_mm=(1.0, 1.0),
    )
    simulate = SeededCompose([LoadSourced(("image", "partner")), move])
    for record in twin_records(count, FIRST_SEED, REGIONS, SIZE):
        yield simulate(record), (record["image"]["region"], record["partner"]["region"])


@torch.no_grad()
def look(
    network: MotionCorrector, sample: dict[str, torch.Tensor], other: dict[str, torch.Tensor], regions: tuple[str, str]
) -> list[Looked]:
    """Both images of a pair; ``other`` is a pair under another trajectory."""
    moved, clean = _both(sample, "image", "partner"), _both(sample, "target", "partner_target")
    with mixed_precision("cpu"):
        content, motion = network.vqvae.encode_content(clean), network.vqvae.encode_motion(moved)
        own = embeddings_of(motion)
        swapped = Embeddings(*(level.flip(0) for level in own))
        of_others = embeddings_of(network.vqvae.encode_motion(_both(other, "image", "partner")))
        drawn = [
            network.vqvae.decode(embeddings_of(content), lent).float() for lent in (own, swapped, of_others, None)
        ]
        read = network.read_codes(moved, clean)
    found = [level.argmax(1) for level in read.evidence]
    looked = []
    for k, region in enumerate(regions):
        same = [read_off[k] == true[k] for read_off, true in zip(found, read.indices, strict=True)]
        elsewhere = [read_off[k] == true[1 - k] for read_off, true in zip(found, read.indices, strict=True)]
        key = ("displacement_px", "partner_displacement_px")[k]
        looked.append(
            Looked(
                region,
                float(sample[key]),
                float(read.score_px[k]),
                _histogram(network, motion, k),
                _histogram(network, content, k),
                *(float((image[k] - moved[k]).abs().mean()) for image in drawn),
                float(torch.cat([level.flatten() for level in same]).float().mean()),
                float(torch.cat([level.flatten() for level in elsewhere]).float().mean()),
            )
        )
    return looked


def _both(sample: dict[str, torch.Tensor], *keys: str) -> torch.Tensor:
    """The two images of a pair, (2, 1, H, W)."""
    return torch.stack([sample[key].as_tensor().float() for key in keys])


def _histogram(network: MotionCorrector, codes: ContentCodes | MotionCodes, k: int) -> np.ndarray:
    """Share of each code of each codebook in image ``k``, one after the other."""
    books = codes.codebooks().values()
    most = max(network.num_embeddings)
    counts = [torch.bincount(book.indices[k].flatten(), minlength=most).float() for book in books]
    return torch.cat([count / count.sum() for count in counts]).numpy()


def score_r2(features: np.ndarray, displacement_px: np.ndarray) -> float:
    """Cross-validated R2 of a linear reading of log(1 + displacement)."""
    probe = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-1, 5, 13)))
    wanted = np.log1p(displacement_px)
    return r2(cross_val_predict(probe, features, wanted, cv=FOLDS), wanted)


def r2(read: np.ndarray, wanted: np.ndarray) -> float:
    """Share of the variance of ``wanted`` that ``read`` explains."""
    return 1 - float(np.square(read - wanted).sum() / np.square(wanted - wanted.mean()).sum())


def region_accuracy(features: np.ndarray, regions: np.ndarray) -> float:
    """Cross-validated accuracy of a linear classification of the region."""
    probe = make_pipeline(StandardScaler(), LogisticRegressionCV(Cs=np.logspace(-4, 0, 5), max_iter=300, cv=3))
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    return float(cross_val_score(probe, features, regions, cv=folds).mean())


def motion_lines(looked: list[Looked]) -> list[str]:
    """Answer c: mean errors with own motion codes, with the twin's, and of the controls."""
    names = ("own_error", "swapped_error", "other_error", "null_error")
    own, swapped, other, null = (float(np.mean([getattr(row, name) for row in looked])) for name in names)
    twins, others = ((null - error) / (null - own) for error in (swapped, other))
    return [
        f"c. mean absolute error with own motion codes {own:.4f}, with the twin's {swapped:.4f}: "
        f"{swapped / own:.2f} times",
        f"   with those of another trajectory {other:.4f}: {other / own:.2f} times, with none {null:.4f}: "
        f"{null / own:.2f} times",
        f"   of what own codes gain over none, the twin's keep {twins:.0%}, those of another trajectory {others:.0%}",
    ]


def main(
    weights: Path = typer.Option(None, help="Checkpoint; default the released one."),
    num_pairs: int = typer.Option(300, help="Pairs of anatomies."),
) -> None:
    """Print the four answers."""
    network = load_corrector(weights)
    looked = []
    for (sample, regions), (other, _) in tqdm(pairwise(pairs(num_pairs + 1)), total=num_pairs, unit="pair"):
        looked += look(network, sample, other, regions)
    table = {name: np.array([getattr(row, name) for row in looked]) for name in Looked._fields}
    moved, regions = table["displacement_px"], table["region"]
    chance = max(np.unique(regions, return_counts=True)[1]) / len(regions)
    print(f"\n{len(looked)} images\n")
    print("| question | motion codes | content codes |\n|---|---|---|")
    print(f"| a. R2 of log(1 + displacement) | {score_r2(table['motion'], moved):.2f} | "
          f"{score_r2(table['content'], moved):.2f} |")
    print(f"| a. the motion score itself | {r2(np.log1p(table['score_px']), np.log1p(moved)):.2f} | |")
    print(f"| b. region told right (chance {chance:.0%}) | {region_accuracy(table['motion'], regions):.0%} | "
          f"{region_accuracy(table['content'], regions):.0%} |")
    print("", *motion_lines(looked), "", sep="\n")
    bands = np.array([band_of(value) for value in moved])
    print("| d. content codes agree | with the still image | with another image |\n|---|---|---|")
    for band in ("mild", "moderate", "severe", "extreme"):
        agreement, by_chance = (table[name][bands == band].mean() for name in ("agreement", "chance_agreement"))
        print(f"| {band} | {agreement:.3f} | {by_chance:.3f} |")


if __name__ == "__main__":
    typer.run(main)
