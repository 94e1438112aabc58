"""How much memory ``mocodis correct`` takes for a large volume.

    python -m benchmarks.memory
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nibabel as nib
import numpy as np


def save_volume(path: Path, shape: tuple[int, int, int]) -> None:
    """An ellipsoid with an inner structure in noise, int16, 0.5 x 0.5 x 0.6 mm."""
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n, dtype=np.float32) for n in shape), indexing="ij", sparse=True)
    inside = x**2 / 0.7 + y**2 / 0.8 + z**2 < 0.9
    data = inside * (600 + 200 * np.cos(9 * x) * np.cos(7 * y) * np.cos(5 * z))
    data += np.random.default_rng(0).integers(0, 20, shape)
    nib.save(nib.Nifti1Image(data.astype(np.int16), np.diag([0.5, 0.5, 0.6, 1])), path)


def main() -> None:
    """Make the volume, correct it in a process of its own, say its peak."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", type=int, nargs=3, default=(512, 512, 300))
    parser.add_argument("options", nargs="*", help="of mocodis correct, after --")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder) / "in.nii.gz", Path(folder) / "out.nii.gz"
        save_volume(source, tuple(asked.shape))
        command = [sys.executable, "-m", "mocodis_monai.cli", "correct", str(source), str(out), *asked.options]
        start = time.monotonic()
        subprocess.run(command, check=True)
        seconds = time.monotonic() - start
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    print(f"{' x '.join(map(str, asked.shape))}: peak {peak / 1e9:.1f} GB, {seconds:.0f} s")


if __name__ == "__main__":
    main()
