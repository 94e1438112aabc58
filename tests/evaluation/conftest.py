"""A pair of scans on disk; lets the tests of this folder import ``pair_of_heads`` from beside them."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from pair_of_heads import AFFINE, CARRIED_MM, SHAPE, TURNED, head, positions, write


@pytest.fixture(scope="module")
def pair(tmp_path_factory) -> tuple[Path, Path]:
    """The same head at two poses, on two grids, with another gain: 5 and 3 degrees and some mm apart."""
    folder = tmp_path_factory.mktemp("pair")
    moved = write(folder / "moved.nii.gz", head(positions(AFFINE, SHAPE)))
    turned = TURNED.as_matrix()
    affine, shape = np.diag([2.5, 3.0, 3.0, 1.0]), (44, 50, 36)
    affine[:3, 3] = (-52, -74, -52)
    world = np.einsum("ij,jxyz->ixyz", turned, positions(affine, shape)) + np.reshape(CARRIED_MM, (3, 1, 1, 1))
    still = write(folder / "still.nii.gz", 1.7 * head(world), affine)
    (folder / "again.nii.gz").write_bytes(still.read_bytes())
    (folder / "alone.nii.gz").write_bytes(moved.read_bytes())
    return moved, still
