"""What the README says of the released weights, on a few slices of the held-out brain."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.held_out import FAMILIES, slice_grid
from mocodis_monai.data.intensity import foreground_scale
from mocodis_monai.data.packaged import colin27_path
from mocodis_monai.data.phantom import make_phantom
from mocodis_monai.data.slices import read_canonical
from mocodis_monai.evaluation import CorrectorMethod, cells_of, evaluate_cells
from mocodis_monai.inferers import LEFT_ALONE, VolumeCorrector
from mocodis_monai.losses import prior_nats
from mocodis_monai.networks.guidance import guide
from mocodis_monai.release import default_weights_path, load_corrector
from mocodis_monai.transforms import RandKSpaceMotion

SLICES_OF_A_VIEW = 2


@pytest.fixture(scope="module")
def ssim():
    """SSIM by severity of each slice, before and after."""
    try:
        grid = slice_grid(colin27_path(), SLICES_OF_A_VIEW)
    except FileNotFoundError as missing:
        pytest.skip(str(missing))
    cells = [cell for cell in cells_of(grid) if cell[0].severity in ("none", "moderate", "severe")]
    rows = evaluate_cells(cells, [CorrectorMethod("ours", load_corrector())], examples=False).rows
    before, after = (
        {(row.severity, row.case): row.ssim for row in rows if row.method == name} for name in ("uncorrected", "ours")
    )
    return [(severity, before[severity, case], after[severity, case]) for severity, case in before]


def test_a_clean_image_comes_back_as_it_was(ssim):
    assert min(after for severity, _, after in ssim if severity == "none") >= 0.999  # the README says 1.000


@pytest.mark.parametrize("wanted", ["moderate", "severe"])
def test_a_moved_image_gains_on_average(ssim, wanted):
    gain = [after - before for severity, before, after in ssim if severity == wanted]
    assert len(gain) == 3 * SLICES_OF_A_VIEW * len(FAMILIES)
    assert np.mean(gain) > 0


@pytest.fixture(scope="module")
def still_head() -> torch.Tensor:
    try:
        return torch.tensor(read_canonical(colin27_path()).data)
    except FileNotFoundError as missing:
        pytest.skip(str(missing))


@pytest.mark.parametrize(
    ("axis", "slices"),
    [(0, (0, 2, 4, 178, 180, 90)), (1, (3, 5, 7, 9, 212, 214, 110)), (2, (169, 171, 173, 80))],
    ids=["sagittal", "coronal", "axial"],
)
def test_a_still_head_is_left_alone_to_its_rim(still_head, axis, slices):
    volume = still_head.movedim(axis, 0)[list(slices)]
    found = VolumeCorrector(load_corrector(), slice_axis=0).correct(volume, (1.0, 1.0, 1.0))
    assert found.decision == LEFT_ALONE and torch.equal(found.corrected, volume)


def test_the_network_by_itself_holds_some_of_the_rim_for_moved(still_head):
    volume = still_head.movedim(1, 0)[[3, 5, 7, 9, 212, 214]]
    assert load_corrector().correct(volume.unsqueeze(1) / foreground_scale(volume)).gate.max() == 1


@pytest.mark.parametrize("axis", [0, 2], ids=["sagittal", "axial"])
def test_noise_is_not_taken_for_motion(still_head, axis):
    """With Rician noise of .02 of the intensity scale slices that hold enough are left alone."""
    rng = torch.Generator().manual_seed(0)
    slices = still_head.movedim(axis, 0)[40:140:20] / foreground_scale(still_head)
    real, imaginary = 0.02 * torch.randn((2, *slices.shape), generator=rng)
    assert not load_corrector().correct(torch.hypot(slices + real, imaginary).unsqueeze(1)).gate.any()


@torch.no_grad()
def test_the_prior_makes_more_codes_right_and_the_true_ones_no_less_likely():
    """On moved phantoms of validation seeds; fed its most likely codes instead of its belief, it makes them less so."""
    network, nats, right = load_corrector(), [], []
    for seed in range(98_000, 98_006):
        clean = make_phantom("head", seed, (96, 96)).image
        move = RandKSpaceMotion(1.0, displacement_mm=1.75, phase_encode_axis=1, spacing_mm=(1.0, 1.0))
        moved = move.set_random_state(seed)(clean).as_tensor()
        read = network.read_codes(moved[None], clean[None])
        guided = guide(network.prior, read.evidence, read.condition, torch.ones(1))
        both = (read.evidence, guided)
        nats.append([float(prior_nats(levels, read.indices).total) for levels in both])
        right.append([float((levels.fine.argmax(1) == read.indices.fine).float().mean()) for levels in both])
    assert np.diff(np.mean(nats, 0)) < 0 and np.diff(np.mean(right, 0)) > 0.005


def test_the_file_is_a_plain_state_dict_of_less_than_25_mb():
    state = torch.load(default_weights_path(), weights_only=True)
    assert all(isinstance(value, torch.Tensor) for value in state.values())
    assert default_weights_path().stat().st_size < 25e6
