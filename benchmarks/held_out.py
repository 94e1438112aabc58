"""Correction of a held-out brain with simulated motion: before against after, by severity.

    python -m benchmarks.held_out                       # 2D motion, slices in three orientations
    python -m benchmarks.held_out --volumes             # 3D motion, whole volumes
    python -m benchmarks.held_out --guidance 0 --guidance 1

Colin27 is never trained on. SSIM and PSNR are taken inside the foreground against the co-registered target. Intervals
are 95 % paired bootstrap intervals of the mean gain over the cases.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import typer
from monai.data import MetaTensor
from scipy.stats import bootstrap
from tqdm import tqdm

from mocodis_monai.data.intensity import foreground_mask, foreground_scale
from mocodis_monai.data.nifti import read_volume
from mocodis_monai.data.packaged import colin27_path
from mocodis_monai.data.records import slice_records
from mocodis_monai.inferers import VolumeCorrector
from mocodis_monai.metrics import foreground_psnr, foreground_ssim
from mocodis_monai.motion import band_of
from mocodis_monai.networks import MotionCorrector
from mocodis_monai.precision import mixed_precision
from mocodis_monai.release import load_corrector
from mocodis_monai.transforms import LoadSourced, RandKSpaceMotiond

FAMILIES = ("sudden", "drift", "breathing_rigid")
LINE_ORDERS = ("linear", "interleaved")
DISPLACEMENTS_MM = (0.75, 1.75, 3.5, 6.0)
"""One displacement score in each severity band."""


class Case(NamedTuple):
    """A moved image and its target, (*spatial) float32, and what moved it."""

    severity: str
    moved: torch.Tensor
    target: torch.Tensor
    displacement_mm: float
    spacing_mm: tuple[float, ...]


class Outcome(NamedTuple):
    """Quality of one case before and after."""

    severity: str
    ssim_before: float
    ssim_after: float
    psnr_before: float
    psnr_after: float
    displacement_mm: float
    score_mm: float


def cases(clean: MetaTensor, seed: int, displacements_mm: tuple[float, ...]) -> Iterator[Case]:
    """The clean image, then each family at each displacement score; ``clean`` is (1, *spatial)."""
    spacing_mm = tuple(float(size) for size in clean.pixdim)
    plain = clean.as_tensor()[0].float()
    yield Case("none", plain, plain, 0.0, spacing_mm)
    for family in FAMILIES:
        for displacement_mm in displacements_mm:
            simulate = RandKSpaceMotiond(
                "image",
                target_keys="target",
                prob=1.0,
                families=family,
                displacement_mm=displacement_mm,
                line_orders=LINE_ORDERS,
            ).set_random_state(seed)
            done = simulate({"image": clean})
            moved, target = (done[key].as_tensor()[0].float() for key in ("image", "target"))
            yield Case(band_of(displacement_mm), moved, target, displacement_mm, spacing_mm)


def measure(case: Case, corrected: torch.Tensor, score_mm: float) -> Outcome:
    """Quality before and after of one case."""
    target, mask = case.target.numpy(), foreground_mask(case.target[None])[0].numpy()
    before, after = case.moved.numpy(), corrected.numpy()
    return Outcome(
        case.severity,
        foreground_ssim(before, target, mask),
        foreground_ssim(after, target, mask),
        foreground_psnr(before, target, mask),
        foreground_psnr(after, target, mask),
        case.displacement_mm,
        score_mm,
    )


@torch.no_grad()
def correct_slice(network: MotionCorrector, case: Case, guidance: float) -> Outcome:
    """Correct a 2D case."""
    scale = foreground_scale(case.moved)
    with mixed_precision("cpu"):
        images = (case.moved / scale)[None, None]
        result = network.correct(images, float(np.mean(case.spacing_mm[:2])), guidance=guidance)
    return measure(case, result.corrected[0, 0].float() * scale, float(result.motion_score_mm))


def correct_volume(network: MotionCorrector, case: Case, guidance: float) -> Outcome:
    """Correct a 3D case slice by slice."""
    result = VolumeCorrector(network, guidance=guidance).correct(case.moved, case.spacing_mm)
    return measure(case, result.corrected, float(result.motion_score_mm.nanmedian()))


def summarise(outcomes: list[Outcome]) -> str:
    """One line per severity: means, the gain with its interval, the share of cases made worse."""
    lines = ["| severity | cases | SSIM before | SSIM after | gain [95 %] | made worse | PSNR dB before | after |"]
    lines.append("|---|---|---|---|---|---|---|---|")
    for severity in dict.fromkeys(outcome.severity for outcome in outcomes):
        chosen = [outcome for outcome in outcomes if outcome.severity == severity]
        table = np.array([outcome[1:] for outcome in chosen])
        gain = table[:, 1] - table[:, 0]
        spread = "" if len(gain) < 3 else " [{:+.3f}, {:+.3f}]".format(*_interval(gain))
        lines.append(
            f"| {severity} | {len(chosen)} | {table[:, 0].mean():.3f} | {table[:, 1].mean():.3f} "
            f"| {gain.mean():+.3f}{spread} | {(gain < 0).mean():.0%} "
            f"| {table[:, 2].mean():.1f} | {table[:, 3].mean():.1f} |"
        )
    return "\n".join(lines)


def _interval(gain: np.ndarray) -> tuple[float, float]:
    if np.ptp(gain) == 0:
        return float(gain[0]), float(gain[0])
    interval = bootstrap((gain,), np.mean, n_resamples=2000, method="percentile", rng=0).confidence_interval
    return float(interval.low), float(interval.high)


def main(
    volume: Path = typer.Option(None, help="NIfTI volume; default Colin27."),
    weights: Path = typer.Option(None, help="Checkpoint; default the released one."),
    guidance: list[float] = typer.Option([0.0], help="Strength of the prior; may be given more than once."),
    volumes: bool = typer.Option(False, "--volumes", help="3D motion and whole volumes instead of slices."),
    step: int = typer.Option(20, help="Every how many slices."),
) -> None:
    """Print the table."""
    path = colin27_path() if volume is None else volume
    network = load_corrector(weights)
    if volumes:
        loaded = read_volume(path)
        images = [MetaTensor(torch.from_numpy(loaded.data)[None], affine=torch.from_numpy(loaded.affine))]
        severities, correct = (1.75, 3.5), correct_volume
    else:
        images = [LoadSourced("image")(record)["image"] for record in slice_records(path, step=step)]
        severities, correct = DISPLACEMENTS_MM, correct_slice
    total = len(images) * (1 + len(FAMILIES) * len(severities))
    outcomes: dict[float, list[Outcome]] = {strength: [] for strength in guidance}
    with tqdm(total=total, unit="image", desc="correcting") as bar:
        for seed, image in enumerate(images):
            for case in cases(image, seed, severities):
                for strength in guidance:
                    outcomes[strength].append(correct(network, case, strength))
                bar.update()
    for strength, found in outcomes.items():
        print(f"\n{path.name if isinstance(path, Path) else path}, guidance {strength:g}\n\n{summarise(found)}")
        scores = np.array([(outcome.displacement_mm, outcome.score_mm) for outcome in found])
        print(f"\ncorrelation of the motion score with the true displacement: {np.corrcoef(scores.T)[0, 1]:.2f}")


if __name__ == "__main__":
    typer.run(main)
