"""The Python of the pages runs as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from mocodis_monai.data.phantom import make_phantom
from tests.data.dicom_cases import make_series, stored_volume

ROOT = Path(__file__).parents[1]
PAGES = [p for p in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))) if "```python" in p.read_text()]


def test_pages_with_python_are_found():
    assert {"README.md", "correct.md", "dicom.md", "simulator.md"} <= {page.name for page in PAGES}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_python_of_a_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    phantoms = np.stack([make_phantom("head", seed, (64, 64)).image[0] for seed in range(3)], axis=-1)
    for name in ("t1.nii.gz", "moved.nii.gz"):
        nib.save(nib.Nifti1Image(phantoms.astype(np.float32), np.diag([2.0, 2.0, 5.0, 1.0])), name)
    make_series(tmp_path / "SERIES_DIR", stored_volume())
    Path("poses.csv").write_text("shot,translation_0_mm,translation_1_mm,rotation_deg\n0,0,0,0\n1,2,1,3\n")
    known = {"image": torch.from_numpy(phantoms[None, :, :, 0])}
    for code in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL):
        exec(compile(code, page.name, "exec"), known)
