"""Train a corrector on a folder of scans and compare it with the released one: manifest, training, evaluation, report.

For who trains and compares correctors. No download: phantoms, written as NIfTI files, stand in for a folder of yours.
Half a minute of training shows the road and makes no corrector: the table will say so.

    python examples/train_and_compare.py OUT

The same with the bundle's own network, from the command line (docs/training.md):

    mocodis manifest build SCANS --out manifest.json
    python -m monai.bundle run training \
        --config_file "['bundle/configs/train.yaml','bundle/configs/train_own.yaml']" --manifest manifest.json
    mocodis evaluate --manifest manifest.json --weights bundle/runs/own/model.pt --out report
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from monai.data import DataLoader, Dataset
from monai.networks.nets import BasicUNet
from monai.transforms import Compose, SelectItemsd, ToTensord

from mocodis_monai.data.intensity import foreground_scale
from mocodis_monai.data.manifest import volumes_of
from mocodis_monai.data.manifest_build import build_manifest, counted
from mocodis_monai.data.phantom import make_phantom
from mocodis_monai.data.records import slice_records
from mocodis_monai.evaluation import Case, CorrectorMethod, Output, cells_of_still_scans, evaluate_cells, read_scans
from mocodis_monai.release import load_corrector
from mocodis_monai.report.evaluation import save_evaluation
from mocodis_monai.transforms import LoadSourced, RandKSpaceMotiond

SIZE, STEPS, BATCH = 96, 60, 4


def write_scans(folder: Path, subjects: int = 6, slices: int = 8) -> None:
    """What you have already: a folder of scans without motion, here a stack of phantom slices for each subject."""
    folder.mkdir(parents=True, exist_ok=True)
    for subject in range(subjects):
        stack = [make_phantom("head", 100 * subject + k, (SIZE, SIZE)).image[0].numpy() for k in range(slices)]
        image = nib.Nifti1Image(500 * np.stack(stack, axis=-1).astype(np.float32), np.diag([2.0, 2.0, 5.0, 1.0]))
        nib.save(image, folder / f"subject{subject}_T1w.nii.gz")


class Residual(torch.nn.Module):
    """A corrector to be compared: output = input + what a U-Net makes of it; images (B, 1, H, W)."""

    def __init__(self) -> None:
        super().__init__()
        self.unet = BasicUNet(spatial_dims=2, in_channels=1, out_channels=1, features=(16, 16, 32, 64, 64, 16))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image + self.unet(image)


class ResidualMethod:
    """The network as a row of the table: a name, the number of its parameters, and ``correct``."""

    name = "residual U-Net"

    def __init__(self, network: torch.nn.Module) -> None:
        self.network = network.eval()
        self.num_parameters = sum(weight.numel() for weight in network.parameters())

    def correct(self, case: Case) -> Output:
        start = time.perf_counter()
        slices = case.moved.movedim(case.slice_axis, 0).unsqueeze(1)
        scale = foreground_scale(case.moved)  # that of the images of the training
        with torch.no_grad():
            corrected = self.network(slices / scale) * scale
        image = corrected.squeeze(1).movedim(0, case.slice_axis)
        return Output(image, time.perf_counter() - start)


def train(network: torch.nn.Module, volumes: list[str]) -> None:
    """Any loop will do; this one is short. The motion is simulated as the samples are asked for."""
    simulate = Compose(
        [
            LoadSourced("image"),
            RandKSpaceMotiond("image", target_keys="target", prob=0.9, displacement_mm=(0.5, 6.0), phase_encode_axis=1),
            ToTensord(("image", "target"), track_meta=False),
            SelectItemsd(("image", "target")),
        ]
    )
    records = [record for path in volumes for record in slice_records(path, axes=(2,))]
    # The loader seeds the transform from torch's seed, with data workers too; a function around it would hide it.
    dataset = Dataset([{"image": record["image"]} for record in records], simulate)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    sampler = torch.utils.data.RandomSampler(dataset, replacement=True, num_samples=STEPS * BATCH)
    for step, batch in enumerate(DataLoader(dataset, batch_size=BATCH, sampler=sampler), 1):
        loss = torch.nn.functional.l1_loss(network(batch["image"]), batch["target"])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 20 == 0:
            print(f"step {step}: mean absolute error {loss.item():.4f}")


def main(out: Path) -> None:
    torch.manual_seed(0)
    out.mkdir(parents=True, exist_ok=True)
    write_scans(out / "scans")

    # 1. Each subject on one side, for good: built again after scans were added, nobody changes sides.
    manifest = out / "manifest.json"
    print("\n".join(counted(build_manifest(out / "scans", manifest, validation=0, test=0.4))))

    # 2. Train on the subjects of `train`.
    network = Residual()
    train(network, volumes_of(manifest, "train", progress=False))
    torch.save(network.state_dict(), out / "unet.pt")

    # 3. Measure on those of `test`, together with the released corrector: the same cases, the same metrics. The report
    #    is about the first method; each other one is compared with it, case by case.
    methods = [ResidualMethod(network), CorrectorMethod("MoCoDis", load_corrector())]
    cells = cells_of_still_scans(read_scans(manifest).still, quick=True)
    evaluation = evaluate_cells(cells, methods, about={"data": manifest.name, "weights": "unet.pt"})
    files = save_evaluation(evaluation, out / "report")

    # 4. The gains by severity; the whole story, with the worst cases, is in the report.
    for group in json.loads(files.summary.read_text())["groups"]["severity"]:
        gain = group["gains"]["ssim"]["mean"]
        print(f"{group['group']:<10} {group['method']:<16} SSIM {group['means']['ssim']:.3f}  gain {gain:+.3f}")
    print(files.report)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "example_training"))
