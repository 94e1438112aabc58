"""Motion as an augmentation: ``RandKSpaceMotiond`` in a MONAI pipeline, read back from its metadata, and made again.

For who wants nothing but the transform. No download: the images are the package's own phantoms.

    python examples/motion_in_a_pipeline.py OUT
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from monai.data import DataLoader, Dataset
from monai.transforms import Compose, ToTensord

from mocodis_monai.data.records import phantom_records
from mocodis_monai.metrics import ForegroundSSIM
from mocodis_monai.transforms import KSpaceMotion, LoadSourced, RandKSpaceMotiond


def main(out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)

    # 1. Records. With files of your own this is a list such as [{"image": "t1.nii.gz"}], and LoadImaged and
    #    EnsureChannelFirstd take the place of LoadSourced.
    records = phantom_records(6, regions=("head", "abdomen", "knee"), size=(128, 128))

    # 2. The pipeline. A patient moves while the phase-encode lines are acquired: three families of motion, with a
    #    displacement score of 1 to 2.5 mm ("moderate"). `target` is the image without motion, at the pose that fits
    #    the moved one best, so that a metric measures the artifact and not a shift.
    pipeline = Compose(
        [
            LoadSourced("image"),
            RandKSpaceMotiond(
                "image",
                target_keys="target",
                prob=1.0,
                families=("sudden", "drift", "tremor"),
                displacement_mm="moderate",
                phase_encode_axis=1,
            ),
        ]
    ).set_random_state(seed=0)  # the same motion in every run; in a DataLoader, torch.manual_seed does this
    samples = [pipeline(record) for record in records]

    # 3. What happened to an image travels with it.
    for record, sample in zip(records, samples):
        motion = sample["image"].meta["motion"]
        print(
            f"{record['region']:<8} {motion['family']:<7} {motion['displacement_mm']:.2f} mm, "
            f"{motion['corrupted_line_fraction']:.0%} of the lines"
        )

    # 4. A sample can be made again from its metadata, bit for bit.
    clean = LoadSourced("image")(records[0])["image"]
    again = KSpaceMotion.from_metadata(samples[0]["image"].meta["motion"])(clean)
    print("made again, equal:", torch.equal(again.as_tensor(), samples[0]["image"].as_tensor()))

    # 5. On into training: plain tensors, since a training needs no metadata.
    plain = ToTensord(("image", "target"), track_meta=False)
    batches = DataLoader(Dataset([{k: s[k] for k in ("image", "target")} for s in samples], plain), batch_size=3)
    ssim = ForegroundSSIM()
    for batch in batches:
        ssim(batch["image"], batch["target"])
    print(f"SSIM of the moved images: {ssim.aggregate().item():.3f}")

    # 6. A look.
    figure, axes = plt.subplots(2, len(samples), figsize=(2 * len(samples), 4))
    for column, sample in zip(axes.T, samples):
        for axis, key in zip(column, ("target", "image")):
            axis.imshow(sample[key][0], cmap="gray", vmin=0, vmax=1)
            axis.set_axis_off()
    figure.savefig(out / "motion.png", bbox_inches="tight")
    print(out / "motion.png")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "example_motion"))
