"""The displacement score: its closed forms, and getting what was asked for."""

import math

import numpy as np
import pytest
import torch
from closed_forms import gaussian, poses

from mocodis_monai.motion import (
    FAMILIES,
    assign_shots,
    band_of,
    line_energy,
    motion_severity,
    sample_trajectory,
    scale_to_displacement,
    to_kspace,
)
from mocodis_monai.motion.severity import shot_displacement_mm


@pytest.mark.parametrize("angle", [[3.0], [0.0, 3.0, 0.0]])
def test_the_displacement_is_the_formula_of_tisdall(angle):
    dims = 2 if len(angle) == 1 else 3
    shift = [1.0, 2.0, 2.0][:dims]
    still = poses([[0.0] * dims], [[0.0] * len(angle)])
    t = math.radians(3.0)
    wanted = 64 * math.hypot(1 - math.cos(t), math.sin(t)) + math.hypot(*shift)
    assert shot_displacement_mm(poses([shift], [angle]), still).item() == pytest.approx(wanted)


def test_the_energy_of_a_line_is_that_of_the_centred_spectrum_without_the_mean():
    image = torch.rand(2, 12, 9, dtype=torch.float64)
    spectrum = to_kspace(image - image.mean((1, 2), keepdim=True), (1, 2)).abs().square()
    for axis in (0, 1):
        wanted = spectrum.sum((0, 2 - axis))
        torch.testing.assert_close(line_energy(image, axis, 2), wanted / wanted.sum())
    assert torch.equal(line_energy(torch.ones(1, 4, 4), 0, 2), torch.full((4,), 0.25, dtype=torch.float64))


def test_the_score_weights_shots_with_their_energy():
    # Two shots 4 mm apart with energies 3 : 1: the mean pose lies 1 mm from the first, so 3/4 x 1 + 1/4 x 3.
    shots = torch.tensor([0, 0, 1, 1])
    energy = torch.tensor([0.5, 0.25, 0.125, 0.125], dtype=torch.float64)
    severity = motion_severity(poses([[0.0, 0.0], [4.0, 0.0]], [[0.0], [0.0]]), shots, energy)
    assert severity.displacement_mm == pytest.approx(1.5)
    assert severity.corrupted_line_fraction == 1.0
    small = motion_severity(poses([[0.0, 0.0], [0.6, 0.0]], [[0.0], [0.0]]), shots, energy * 0 + 0.25)
    assert small.corrupted_line_fraction == 0.0


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("asked_mm", [0.5, 4.0])
def test_the_displacement_asked_for_is_the_one_got(family, dims, asked_mm):
    image = gaussian((32, 30, 28)[:dims], [0.0] * (1 if dims == 2 else 3))
    energy, shots = line_energy(image, 0, dims), assign_shots(32, 8, "interleaved")
    drawn = sample_trajectory(family, 8, dims, np.random.RandomState(5))
    scaled = scale_to_displacement(drawn, asked_mm, shots, energy)
    assert motion_severity(scaled, shots, energy).displacement_mm == pytest.approx(asked_mm, rel=0.01)


def test_bands():
    assert [band_of(mm) for mm in (0.0, 0.99, 1.0, 2.5, 2.6, 5.0, 5.1)] == [
        "mild", "mild", "moderate", "moderate", "severe", "severe", "extreme"
    ]  # fmt: skip


def test_a_trajectory_that_never_moves_cannot_be_scaled():
    energy, shots = torch.full((8,), 0.125).double(), assign_shots(8, 2, "linear")
    with pytest.raises(ValueError, match="energy-weighted displacement is zero"):
        scale_to_displacement(poses([[1.0, 0.0]] * 2, [[0.0]] * 2), 3.0, shots, energy)
    with pytest.raises(ValueError, match="displacement_mm: got -1"):
        scale_to_displacement(poses([[1.0, 0.0], [0.0, 0.0]], [[0.0]] * 2), -1, shots, energy)
