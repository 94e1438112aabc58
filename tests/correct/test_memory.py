"""Memory grows with the number of voxels by so little that 512 x 512 x 300 stays under 6 GB; see docs/correct.md."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
RUN = """
import sys, torch
from mocodis_monai import cli
from mocodis_monai.correct import run as correct_run
from mocodis_monai.networks import Correction

class Network(torch.nn.Module):  # takes no memory of its own
    def __init__(self):
        super().__init__()
        self.weight, self.guidance = torch.nn.Parameter(torch.zeros(1)), 0.0
    def correct(self, image, **options):
        one = torch.ones(len(image))
        return Correction(image * 0.9, image * 0.1, one, image * 0.5, one)

correct_run.load_corrector = lambda weights, device: Network()
sys.argv = ["mocodis", "correct", *sys.argv[1:]]
try:
    cli.main()
finally:
    # ru_maxrss would count what the process that started this one had in memory.
    print(*(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""
KIB = 1024


def peak_bytes(folder: Path, num_slices: int) -> int:
    x, y = np.meshgrid(np.linspace(-1, 1, 128), np.linspace(-1, 1, 128))
    plane = ((x**2 + y**2 < 0.7) * (700 + 200 * np.cos(9 * x)) + 3).astype(np.int16)
    path = folder / f"{num_slices}.nii.gz"
    nib.save(nib.Nifti1Image(np.repeat(plane[..., None], num_slices, 2), np.diag([1, 1, 2, 1])), path)
    command = [sys.executable, "-c", RUN, str(path), str(folder / f"{num_slices}_out.nii"), "--uncertainty"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-1]) * KIB


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process's memory is read from /proc")
def test_memory_per_voxel_is_bounded(tmp_path):
    few, many = 20, 620
    small, large = peak_bytes(tmp_path, few), peak_bytes(tmp_path, many)
    per_voxel = (large - small) / (128 * 128 * (many - few))
    # 2 GB are kept for Python, torch and the network at work on 8 slices of 512 x 512.
    assert per_voxel * 512 * 512 * 300 < 4e9
    assert per_voxel > 12  # input, output and map as float32: less would mean that this measures nothing
