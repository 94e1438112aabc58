"""What the content codes alone can carry: a clean, held-out brain coded and decoded again, and the codebooks in use.

    python -m benchmarks.codes

Colin27 is never trained on. This is the ceiling of everything that passes through the codes: report it first.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import typer
from tqdm import tqdm

from mocodis_monai.data.intensity import foreground_mask
from mocodis_monai.data.packaged import colin27_path
from mocodis_monai.data.records import slice_records
from mocodis_monai.metrics import foreground_psnr, foreground_ssim
from mocodis_monai.release import load_corrector
from mocodis_monai.transforms import LoadSourced


@torch.no_grad()
def main(
    volume: Path = typer.Option(None, help="NIfTI volume; default Colin27."),
    weights: Path = typer.Option(None, help="Checkpoint; default the released one."),
    step: int = typer.Option(20, help="Every how many slices of each orientation."),
) -> None:
    """Print the table."""
    network = load_corrector(weights)
    quality, used = [], {}
    for record in tqdm(slice_records(colin27_path() if volume is None else volume, step=step), unit="slice"):
        clean = LoadSourced("image")(record)["image"].as_tensor()[None].float()
        drawn, content = network.draw_codes(clean)
        mask = foreground_mask(clean[0])[0].numpy()
        pair = drawn[0, 0].numpy(), clean[0, 0].numpy()
        quality.append((foreground_ssim(*pair, mask), foreground_psnr(*pair, mask)))
        for name, book in content.codebooks().items():
            used.setdefault(name, []).append(book.indices.unique())
    ssim, psnr_db = np.mean(quality, axis=0)
    print(f"\n{len(quality)} slices: SSIM {ssim:.3f}, PSNR {psnr_db:.1f} dB from the codes alone\n")
    print("| codebook | share of codes in use |\n|---|---|")
    for name, seen in used.items():
        size = network.num_embeddings[0 if name == "coarse" else 1]
        print(f"| {name} | {len(torch.cat(seen).unique()) / size:.0%} |")


if __name__ == "__main__":
    typer.run(main)
