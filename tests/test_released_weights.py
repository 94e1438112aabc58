"""What the README says of the released weights, on a few slices of the held-out brain."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.held_out import cases, correct_slice
from mocodis_monai.data.packaged import colin27_path
from mocodis_monai.data.records import slice_records
from mocodis_monai.release import default_weights_path, load_corrector
from mocodis_monai.transforms import LoadSourced

NUM_SLICES = 6


@pytest.fixture(scope="module")
def outcomes():
    try:
        path = colin27_path()
    except FileNotFoundError as missing:
        pytest.skip(str(missing))
    records = slice_records(path, step=1)
    chosen = [records[k] for k in np.linspace(0, len(records) - 1, NUM_SLICES).astype(int)]
    network, load = load_corrector(), LoadSourced("image")
    return [
        correct_slice(network, case, network.guidance)
        for seed, record in enumerate(chosen)
        for case in cases(load(record)["image"], seed, displacements_mm=(1.75, 3.5))
    ]


def test_a_clean_image_comes_back_as_it_was(outcomes):
    assert min(outcome.ssim_after for outcome in outcomes if outcome.severity == "none") >= 0.97


@pytest.mark.parametrize("severity", ["moderate", "severe"])
def test_a_moved_image_gains_on_average(outcomes, severity):
    gain = [outcome.ssim_after - outcome.ssim_before for outcome in outcomes if outcome.severity == severity]
    assert len(gain) == 3 * NUM_SLICES
    assert np.mean(gain) > 0


def test_the_file_is_a_plain_state_dict_of_less_than_20_mb():
    state = torch.load(default_weights_path(), weights_only=True)
    assert all(isinstance(value, torch.Tensor) for value in state.values())
    assert default_weights_path().stat().st_size < 20e6
