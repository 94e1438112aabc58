"""No phantom is in two of: training, validation, the grid of the evaluation, the benchmarks."""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path

import pytest
from monai.bundle import ConfigParser

from benchmarks import disentanglement, lesions, prior, residual_share
from mocodis_monai.data.records import phantom_records, twin_records
from mocodis_monai.evaluation.grid import FIRST_SEED, PHANTOM_REGIONS
from mocodis_monai.release import bundle_root

CONFIGS = Path(bundle_root()) / "configs"
CARD = Path(bundle_root()) / "docs" / "README.md"
MOST = 20_000
"""Records of the longest training."""


def trainings() -> set[int]:
    """``first_seed`` of every stage: of the configs, and of the commands of the model card."""
    found = {int(seed) for seed in re.findall(r"first_seed (\d+)", CARD.read_text())}
    for path in sorted(CONFIGS.glob("train*.yaml")):
        parser = ConfigParser()
        parser.read_config([str(CONFIGS / "train.yaml"), str(path)])
        records = parser["train"].get("records", {})
        found |= {records["first_seed"]} if "first_seed" in records else set()
    return found


def phantoms(records: list[dict]) -> range:
    """The seeds of the phantoms of records, from the first to the last."""
    seeds = [record[key]["seed"] for record in records for key in ("image", "partner") if key in record]
    return range(min(seeds), max(seeds) + 1)


@pytest.fixture(scope="module")
def ranges() -> dict[str, range]:
    size = (32, 32)
    drawn = {
        "validation": phantom_records(1000, 0, ("head",), size),
        "share of the residual": phantom_records(1000, residual_share.FIRST_SEED, ("head",), size),
        "lesions": phantom_records(1000, lesions.FIRST_SEED, ("head",), size),
        "prior": phantom_records(1000, prior.FIRST_SEED, ("head",), size),
        "disentanglement": twin_records(1000, disentanglement.FIRST_SEED, ("head",), size),
    }
    drawn |= {f"training from {first}": twin_records(MOST, first, ("head",), size) for first in trainings()}
    found = {name: phantoms(records) for name, records in drawn.items()}
    return found | {"grid": range(FIRST_SEED, FIRST_SEED + 1000 * len(PHANTOM_REGIONS))}


def test_no_phantom_is_in_two_sets(ranges):
    assert len(trainings()) > 4
    for (one, first), (other, second) in combinations(ranges.items(), 2):
        assert not range(max(first[0], second[0]), min(first[-1], second[-1]) + 1), f"{one} and {other}"
