"""What the prior knows of the codes: nats per token, and how often a code is told right, with it and without it.

    python -m benchmarks.prior

Of the clean content codes of held-out phantoms: by their frequencies alone (unigram), read off the moved image
(evidence), told from the true codes before them (prior), from both, and by guidance, which does not know these. Codes
told right, and the rank correlations of the uncertainty and of the artifact map with the true error, by severity, for
regions that training has seen and not seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import typer
from scipy.stats import spearmanr
from tqdm import tqdm

from mocodis_monai.data.intensity import foreground_mask
from mocodis_monai.data.records import phantom_records
from mocodis_monai.evaluation.grid import trained_on
from mocodis_monai.losses import prior_nats
from mocodis_monai.motion import band_of
from mocodis_monai.networks import LevelIndices, LevelLogits, LevelLogProbs, MotionCorrector
from mocodis_monai.networks.guidance import cut, familiarity, guide, unconditional_nats, window_corners
from mocodis_monai.networks.prior import FINE_PER_COARSE
from mocodis_monai.networks.results import indices_of
from mocodis_monai.precision import mixed_precision
from mocodis_monai.release import load_corrector
from mocodis_monai.transforms import LoadSourced, RandKSpaceMotiond

REGIONS = ("head", "thorax", "abdomen", "pelvis", "knee")
DISPLACEMENTS_PX = (0.75, 1.75, 3.5, 6.0)
FIRST_SEED = 7_000_000
SIZE = (160, 160)


class Told(NamedTuple):
    """How well the codes of one image are told (nats per token, shares told right), and how its maps rank errors."""

    region: str
    severity: str
    evidence: float
    prior: float
    both: float
    guided: float
    right_evidence: float
    right_guided: float
    familiar: float
    uncertainty_rank: float
    artifact_rank: float


DECIMALS = {
    "evidence": 2, "prior": 2, "both": 2, "guided": 2,
    "right_evidence": 3, "right_guided": 3, "familiar": 3,
    "uncertainty_rank": 2, "artifact_rank": 2,
}
"""Of each column of the table, in their order."""


def images(per_region: int) -> Iterator[tuple[str, float, torch.Tensor, torch.Tensor]]:
    """Region, displacement, moved and clean image, (1, 1, H, W) each."""
    load = LoadSourced("image")
    for record in phantom_records(per_region * len(REGIONS), FIRST_SEED, REGIONS, SIZE):
        for displacement_px in DISPLACEMENTS_PX:
            move = RandKSpaceMotiond(
                "image", target_keys="target", prob=1.0, families=trained_on().families,
                displacement_mm=displacement_px, spacing_mm=(1.0, 1.0),
            ).set_random_state(record["image"]["seed"])
            done = move(load(record))
            moved, clean = (done[key].as_tensor()[None].float() for key in ("image", "target"))
            yield record["region"], displacement_px, moved, clean


@torch.no_grad()
def tell(network: MotionCorrector, region: str, displacement_px: float, moved, clean) -> Told:
    """All figures of one image."""
    with mixed_precision("cpu"):
        read = network.read_codes(moved, clean)
        guided = guide(network.prior, read.evidence, read.condition, torch.ones(1))
        corners = window_corners(tuple(read.evidence.coarse.shape[2:]), network.prior.coarse_window)
        channels = [level.unsqueeze(1) for level in read.indices]
        windows = LevelIndices(*(level.squeeze(1) for level in _windows(network, channels, corners)))
        local = LevelLogProbs(*_windows(network, read.evidence, corners))
        both = network.prior(windows, local, read.condition.repeat(len(corners), 1))
        alone = torch.cat([level.flatten(1) for level in unconditional_nats(network.prior, windows)], 1).mean()
        result = network.correct(moved)
    inside = foreground_mask(clean[0])[0].numpy()
    error = (result.corrected - clean).abs()[0, 0].float().numpy()[inside]
    ranks = [
        spearmanr(chart[0, 0].float().numpy()[inside], error).statistic
        for chart in (result.uncertainty, result.artifact_map)
    ]
    return Told(
        region, band_of(displacement_px), float(prior_nats(read.evidence, read.indices).total), float(alone),
        float(prior_nats(both, windows).total), float(prior_nats(guided, read.indices).total),
        _right(read.evidence, read.indices), _right(guided, read.indices),
        float(familiarity(network.prior, windows).mean()), *map(float, ranks),
    )


def _windows(network: MotionCorrector, levels: Sequence[torch.Tensor], corners) -> list[torch.Tensor]:
    """Windows of both levels, each (B, C, *grid), at coarse sites ``corners``."""
    window = network.prior.coarse_window
    return [cut(level, corners, window, factor) for level, factor in zip(levels, (1, FINE_PER_COARSE), strict=True)]


def _right(logits: LevelLogits, indices: LevelIndices) -> float:
    same = [(level.argmax(1) == true).flatten() for level, true in zip(logits, indices, strict=True)]
    return float(torch.cat(same).float().mean())


@torch.no_grad()
def unigram_nats(network: MotionCorrector, cleans: list[torch.Tensor]) -> float:
    """Entropy of the codes' frequencies over all images, in nats per token."""
    with mixed_precision("cpu"):
        found = [indices_of(network.true_codes(clean)) for clean in cleans]
    levels = [torch.cat([codes.flatten() for codes in level]) for level in zip(*found, strict=True)]
    total = 0.0
    for level in levels:
        counts = torch.bincount(level).double()
        total -= float(torch.xlogy(counts, counts / len(level)).sum())
    return total / sum(map(len, levels))


def main(
    weights: Path = typer.Option(None, help="Checkpoint; default the released one."),
    per_region: int = typer.Option(8, help="Phantoms of each region."),
) -> None:
    """Print the tables."""
    network, told, cleans = load_corrector(weights), [], []
    for region, displacement_px, moved, clean in tqdm(
        images(per_region), total=per_region * len(REGIONS) * len(DISPLACEMENTS_PX), unit="image"
    ):
        told.append(tell(network, region, displacement_px, moved, clean))
        cleans.append(clean)
    print(f"\nunigram: {unigram_nats(network, cleans):.2f} nats per token\n")
    print("| regions | severity | evidence | prior | both | guided | right: evidence | guided | familiarity "
          "| rank: uncertainty | artifact map |\n|---|---|---|---|---|---|---|---|---|---|---|")
    seen = set(trained_on().regions)
    for name, wanted in (("seen", True), ("held out", False)):
        for severity in dict.fromkeys(row.severity for row in told):
            rows = [row for row in told if (row.region in seen) == wanted and row.severity == severity]
            means = np.nanmean([[getattr(row, column) for column in DECIMALS] for row in rows], 0)
            cells = [f"{mean:.{decimals}f}" for mean, decimals in zip(means, DECIMALS.values(), strict=True)]
            print(f"| {name} | {severity} | {' | '.join(cells)} |")


if __name__ == "__main__":
    typer.run(main)
