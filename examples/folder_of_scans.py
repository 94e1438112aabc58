"""Correct a folder of scans, see what was done to each, and go on after an interruption.

For the clinic or cohort study with a folder of bad scans. No download: phantoms with simulated motion, written as NIfTI
files, stand in for yours. Research use only: never read a corrected image without the original beside it.

    python examples/folder_of_scans.py OUT

All of it is one command, `mocodis correct SCANS CORRECTED --report REPORT.html`; what comes after shows how to use its
list of results.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np

from mocodis_monai.data.phantom import make_phantom
from mocodis_monai.transforms import RandKSpaceMotion


def write_scans(folder: Path) -> None:
    """What you have already: here a still scan, a moved one, and a file that is damaged."""
    folder.mkdir(parents=True, exist_ok=True)
    slices = [make_phantom("head", seed, (96, 96)).image for seed in (1, 2, 3)]
    move = RandKSpaceMotion(1.0, families="sudden", displacement_mm=6.0, phase_encode_axis=1, spacing_mm=(1.0, 1.0))
    move.set_random_state(0)
    for name, images in (("still", slices), ("moved", [move(image) for image in slices])):
        stack = 500 * np.stack([image[0].numpy() for image in images], axis=-1).astype(np.float32)
        nib.save(nib.Nifti1Image(stack, np.diag([1.0, 1.0, 4.0, 1.0])), folder / f"{name}.nii.gz")
    (folder / "damaged.nii.gz").write_bytes((folder / "moved.nii.gz").read_bytes()[:2000])


def correct(scans: Path, corrected: Path, report: Path) -> int:
    """The command. Exit status 1: some scan could not be corrected; the others were."""
    command = [sys.executable, "-m", "mocodis_monai.cli", "correct", scans, corrected, "--report", report]
    return subprocess.run([str(word) for word in command], check=False).returncode


def score(record: dict) -> float:
    """The motion score in mm; 0 where nothing in the scan holds enough tissue to judge."""
    return record["motion_score_mm"] or 0.0


def main(out: Path) -> None:
    write_scans(out / "scans")
    print("exit status:", correct(out / "scans", out / "corrected", out / "report.html"))

    # One line per scan: what was decided, and why where there is no result.
    records = [json.loads(line) for line in (out / "corrected" / "results.jsonl").read_text().splitlines()]
    for record in records:
        said = record.get("error") or record.get("reason") or f"{record['decision']}, {score(record):.1f} mm"
        print(f"{record['scan']:<16} {record['status']:<7} {said}")

    # Results that deserve a look first: those that were changed most.
    done = [record for record in records if record["status"] == "done"]
    for record in sorted(done, key=score, reverse=True):
        print("look at", out / "corrected" / record["picture"])

    # The same command again goes on where it stopped: finished scans are not corrected again.
    before = {path: path.stat().st_mtime_ns for path in (out / "corrected").glob("*.nii.gz")}
    correct(out / "scans", out / "corrected", out / "report.html")
    after = {path: path.stat().st_mtime_ns for path in (out / "corrected").glob("*.nii.gz")}
    print("nothing done twice:", before == after)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "example_folder"))
