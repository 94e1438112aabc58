"""The displacement score: its closed forms, and getting what was asked for."""

import math

import numpy as np
import pytest
import torch
from closed_forms import gaussian, poses

from mocodis_monai.motion import (
    NON_RIGID_FAMILIES,
    RIGID_FAMILIES,
    Acquisition,
    Deformation,
    Mode,
    Profile,
    band_of,
    displacement_range,
    excursion_mm,
    line_energy,
    motion_severity,
    plan_acquisition,
    reachable_mm,
    sample_deformation,
    sample_trajectory,
    scale_to_displacement,
    to_kspace,
)
from mocodis_monai.motion.severity import shot_displacement_mm


def lines_of(shots):
    shot_of_line = torch.tensor(shots)
    return Acquisition((0,), None, shot_of_line, torch.zeros_like(shot_of_line))


def plan(shape, num_shots=8, line_order="interleaved", **options):
    return plan_acquisition(shape, num_shots, line_order, (0,), **options)


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
        acquisition = plan_acquisition((12, 9), 3, "linear", (axis,))
        torch.testing.assert_close(line_energy(image, acquisition, 2), wanted / wanted.sum())
    even = line_energy(torch.ones(1, 4, 4), plan((4, 4), 2), 2)
    assert torch.equal(even, torch.full((4,), 0.25, dtype=torch.float64))


def test_the_energy_of_a_very_bright_image_is_that_of_a_dim_one():
    image = torch.rand(2, 12, 9)
    for bright in (2.0**59, 2.0**62):  # squares beyond float32: their sum, and each
        torch.testing.assert_close(line_energy(bright * image, plan((12, 9)), 2), line_energy(image, plan((12, 9)), 2))


@pytest.mark.parametrize("axes", [(0, 2), (2, 1)])
def test_the_energy_of_a_sample_of_the_plane_is_that_of_the_spectrum(axes):
    image = torch.rand(2, 6, 5, 7, dtype=torch.float64)
    spectrum = to_kspace(image - image.mean((1, 2, 3), keepdim=True), (1, 2, 3)).abs().square()
    rest = ({0, 1, 2} - set(axes)).pop()
    wanted = spectrum.sum((0, 1 + rest))
    wanted = wanted if axes[0] < axes[1] else wanted.T
    acquisition = plan_acquisition((6, 5, 7), 3, "centric", axes)
    torch.testing.assert_close(line_energy(image, acquisition, 3), wanted / wanted.sum())


@pytest.mark.parametrize(("phase_encode_axis", "slice_axis"), [(0, 2), (2, 0), (1, 0)])
def test_the_energy_of_a_line_of_a_slice_is_that_of_the_slice_alone(phase_encode_axis, slice_axis):
    image = torch.rand(6, 5, 7, dtype=torch.float64)
    acquisition = plan_acquisition((6, 5, 7), 2, "linear", (phase_encode_axis,), slice_axis, num_packages=2)
    energy = line_energy(image, acquisition, 3)
    assert energy.shape == acquisition.shot_of_line.shape
    in_slice = plan_acquisition((1, 1), 1, "linear", (phase_encode_axis - (phase_encode_axis > slice_axis),))
    for number, picture in enumerate(image.unbind(slice_axis)):
        # The energy of a slice's contrast over that of all slices.
        contrast = (picture - picture.mean()).square().sum()
        alone = line_energy(picture, in_slice, 2) * contrast
        total = sum((other - other.mean()).square().sum() for other in image.unbind(slice_axis))
        torch.testing.assert_close(energy[:, number], alone / total)


def test_the_score_weights_shots_with_their_energy():
    # Two shots 4 mm apart with energies 3 : 1: the mean pose lies 1 mm from the first, so 3/4 x 1 + 1/4 x 3.
    acquisition = lines_of([0, 0, 1, 1])
    energy = torch.tensor([0.5, 0.25, 0.125, 0.125], dtype=torch.float64)
    severity = motion_severity(poses([[0.0, 0.0], [4.0, 0.0]], [[0.0], [0.0]]), acquisition, energy)
    assert severity.displacement_mm == pytest.approx(1.5)
    assert severity.corrupted_line_fraction == 1.0
    small = motion_severity(poses([[0.0, 0.0], [0.6, 0.0]], [[0.0], [0.0]]), acquisition, energy * 0 + 0.25)
    assert small.corrupted_line_fraction == 0.0


def test_slices_that_lie_apart_make_a_corrupted_volume():
    # Each package holds still, so that every slice is sharp; but the two lie 3 mm apart.
    acquisition = plan((8, 7, 4), 2, slice_axis=2, num_packages=2)
    apart = poses([[0.0] * 3] * 2 + [[3.0, 0.0, 0.0]] * 2, [[0.0] * 3] * 4)
    energy = torch.full((8, 4), 1 / 32, dtype=torch.float64)
    assert motion_severity(apart, acquisition, energy).displacement_mm == pytest.approx(1.5)


def test_a_uniform_deformation_has_the_score_of_the_translation():
    shifts = np.random.RandomState(0).normal(size=(4, 2))
    mode = Mode("shift", (Profile(), Profile()), (1.0, 0.0))
    other = Mode("shift", (Profile(), Profile()), (0.0, 1.0))
    acquisition, image = plan((24, 20), 4), gaussian((24, 20), [0.0])
    energy = line_energy(image, acquisition, 2)
    rigid = motion_severity(poses(shifts.tolist(), [[0.0]] * 4), acquisition, energy)
    deformation = Deformation(torch.from_numpy(shifts), (mode, other))
    soft = motion_severity(deformation, acquisition, energy, image)
    assert soft.displacement_mm == pytest.approx(rigid.displacement_mm, rel=1e-12)
    assert soft.corrupted_line_fraction == rigid.corrupted_line_fraction
    assert excursion_mm(deformation, image) == pytest.approx(excursion_mm(poses(shifts.tolist(), [[0.0]] * 4)))


def test_only_tissue_counts_and_bright_tissue_most():
    # The lower half of the rows moves by 2 mm in one of two shots, hence by 1 mm from the mean in both.
    half = Mode("shift", (Profile("ramp", 0.5, 1e-9), Profile()), (0.0, 1.0))
    moving = Deformation(torch.tensor([[0.0], [2.0]], dtype=torch.float64), (half,))
    acquisition, energy = plan((20, 20), 2), torch.full((20,), 0.05, dtype=torch.float64)
    for upper, lower, wanted in [(1.0, 1.0, 0.5), (3.0, 1.0, 0.25), (1.0, 0.0, 0.0), (0.0, 1.0, 1.0), (1.0, 0.05, 0.0)]:
        image = torch.full((20, 20), upper)
        image[10:] = lower
        assert motion_severity(moving, acquisition, energy, image).displacement_mm == pytest.approx(wanted)


@pytest.mark.parametrize("family", RIGID_FAMILIES)
@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("asked_mm", [0.5, 4.0])
def test_the_displacement_asked_for_is_the_one_got(family, dims, asked_mm):
    shape = (32, 30, 28)[:dims]
    image, acquisition = gaussian(shape, [0.0] * (1 if dims == 2 else 3)), plan(shape)
    energy = line_energy(image, acquisition, dims)
    drawn = sample_trajectory(family, 8, dims, np.random.RandomState(5))
    scaled = scale_to_displacement(drawn, asked_mm, acquisition, energy)
    assert motion_severity(scaled, acquisition, energy).displacement_mm == pytest.approx(asked_mm, rel=0.01)


@pytest.mark.parametrize("family", NON_RIGID_FAMILIES)
@pytest.mark.parametrize("dims", [2, 3])
def test_a_deformation_is_scaled_up_to_where_tissue_would_fold(family, dims):
    shape, spacing = (32, 30, 28)[:dims], [8.0] * dims
    image, acquisition = torch.ones(shape), plan(shape)
    energy = torch.full((32,), 1 / 32, dtype=torch.float64)
    drawn = sample_deformation(family, 8, dims, np.random.RandomState(5))
    scored = (acquisition, energy, image)
    most_mm = reachable_mm(drawn, *scored, spacing)
    for asked_mm in (0.1 * most_mm, 0.99 * most_mm):
        scaled = scale_to_displacement(drawn, asked_mm, *scored, spacing)
        assert motion_severity(scaled, *scored).displacement_mm == pytest.approx(asked_mm, rel=0.01)
    with pytest.raises(ValueError, match=r"displacement_mm: got .*this deformation reaches .* mm before it would fold"):
        scale_to_displacement(drawn, 1.05 * most_mm, *scored, spacing)
    assert not scale_to_displacement(drawn, 0, *scored, spacing).amplitude_mm.any()


def test_bands():
    assert [band_of(mm) for mm in (0.0, 0.99, 1.0, 2.5, 2.6, 5.0, 5.1)] == [
        "mild", "mild", "moderate", "moderate", "severe", "severe", "extreme"
    ]  # fmt: skip
    assert band_of(math.inf) == "extreme"


@pytest.mark.parametrize("score", [-0.1, -math.inf, math.nan])
def test_what_is_no_score_has_no_band(score):
    with pytest.raises(ValueError, match=r"displacement_mm: got .*; allowed is 0 mm or more"):
        band_of(score)


def test_a_band_a_score_and_a_range_are_ranges():
    bands = {"mild": (0.3, 1.0), "moderate": (1.0, 2.5), "severe": (2.5, 5.0), "extreme": (5.0, 8.0)}
    for name, (low, high) in bands.items():  # off the ends by as much as a score may be missed
        assert displacement_range(name) == pytest.approx((low * 1.01, high * 0.99))
    assert displacement_range(3) == (3.0, 3.0)
    for numbers in ([0.5, 2], np.array([0.5, 2]), torch.tensor([0.5, 2])):
        assert displacement_range(numbers) == (0.5, 2.0)
    assert displacement_range(np.float64(0.3)) == (0.3, 0.3)
    for low, high in (displacement_range(name) for name in ("mild", "moderate", "severe", "extreme")):
        assert band_of(low + 1e-6) == band_of(high - 1e-6)
    for bad in ("strong", -1, math.nan, math.inf, (2, 1), (1, 2, 3)):
        with pytest.raises(ValueError, match=r"displacement_mm: got .*allowed is"):
            displacement_range(bad)


def test_errors_name_argument_value_and_remedy():
    energy, acquisition = torch.full((8,), 0.125).double(), plan((8, 8), 2)
    with pytest.raises(ValueError, match="energy-weighted displacement is zero"):
        scale_to_displacement(poses([[1.0, 0.0]] * 2, [[0.0]] * 2), 3.0, acquisition, energy)
    with pytest.raises(ValueError, match="displacement_mm: got -1"):
        scale_to_displacement(poses([[1.0, 0.0], [0.0, 0.0]], [[0.0]] * 2), -1, acquisition, energy)
    with pytest.raises(ValueError, match="motion: got 3 rows for 2 shots"):
        motion_severity(poses([[1.0, 0.0]] * 3, [[0.0]] * 3), acquisition, energy)
    moving = sample_deformation("breathing", 2, 2, np.random.RandomState(0))
    with pytest.raises(ValueError, match="image: got None"):
        motion_severity(moving, acquisition, energy)
    with pytest.raises(ValueError, match="spacing_mm: got None"):
        scale_to_displacement(moving, 1.0, acquisition, energy, torch.ones(8, 8))
    assert motion_severity(moving.scaled(0.0), acquisition, energy, torch.ones(8, 8)) == (0.0, 0.0)
