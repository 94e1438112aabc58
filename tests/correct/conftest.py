"""A study of small scans, and the command run on it in this process with a small network."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from mocodis_monai import cli
from mocodis_monai.correct.ledger import LOCK_NAME


def head(shape: tuple[int, int, int] = (40, 36, 3), seed: int = 0) -> np.ndarray:
    """An ellipse with an inner structure in faint noise, whole numbers up to about 1000."""
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) if n > 1 else np.zeros(1) for n in shape), indexing="ij")
    inside = (x**2 + y**2 + 0.3 * z**2 < 0.6) * (700 + 200 * np.cos((5 + seed) * x) * np.cos(7 * y))
    return (inside + np.random.default_rng(seed).integers(0, 9, shape)).astype(np.int16)


def save_head(path: Path, seed: int = 0, **shape) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(head(seed=seed, **shape), np.diag([-1, 1, 4, 1])), path)
    return path


def tree(folder: Path) -> dict[str, str]:
    """Every file below a folder, hidden ones but the lock too, by its content; the records without their times."""
    found = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name != LOCK_NAME):
        content = path.read_bytes()
        if path.name == "results.jsonl":
            records = [{**json.loads(line), "time_s": None} for line in content.splitlines()]
            content = json.dumps(records).encode()
        found[path.relative_to(folder).as_posix()] = hashlib.sha256(content).hexdigest()
    return found


def records(folder: Path) -> dict[str, dict]:
    """The lines of results.jsonl by the name of the scan."""
    lines = (folder / "results.jsonl").read_text().splitlines()
    return {record["scan"]: record for record in map(json.loads, lines)}


@pytest.fixture
def set_threads() -> Iterator[Callable[[int], None]]:
    """Sets the threads that torch computes with; afterwards they are as before."""
    threads = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(threads)


@pytest.fixture
def study(tmp_path) -> Path:
    """Three scans in two folders, and files that are none."""
    folder = tmp_path / "study"
    save_head(folder / "a.nii.gz", 1)
    save_head(folder / "visit 2" / "b.nii", 2)
    save_head(folder / "visit 2" / "c.nii.gz", 3)
    (folder / "notes.txt").write_text("not a scan")
    save_head(folder / ".hidden" / "d.nii", 4)
    return folder


@pytest.fixture
def network(small_corrector, monkeypatch) -> torch.nn.Module:
    """A small network in place of the released one; every image is corrected in full."""
    small = small_corrector().eval()
    monkeypatch.setattr("mocodis_monai.networks.motion_corrector.no_harm_gate", torch.ones_like)
    monkeypatch.setattr("mocodis_monai.correct.run.load_corrector", lambda weights, device: small)
    return small


@pytest.fixture
def correct(network, monkeypatch) -> Callable[..., int]:
    """Runs ``mocodis correct`` with the small network; its exit status."""

    def run(*arguments) -> int:
        monkeypatch.setattr(sys, "argv", ["mocodis", "correct", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        return int(stopped.value.code or 0)

    return run
