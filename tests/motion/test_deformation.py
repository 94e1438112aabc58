"""Non-rigid motion: closed forms of the resampling, and the physiology of each family."""

import json
import math

import numpy as np
import pytest
import torch
from closed_forms import gaussian

from mocodis_monai.motion import (
    NON_RIGID_FAMILIES,
    BodyAxes,
    Deformation,
    Mode,
    Profile,
    RigidTrajectory,
    deform,
    displacement_field,
    plan_acquisition,
    sample_deformation,
    simulate_motion,
)
from mocodis_monai.motion.deformation import (
    MIN_JACOBIAN,
    check_deformation,
    from_numbers,
    largest_factor,
    to_numbers,
    volume_ratios,
)

SHAPES = {2: (40, 37), 3: (20, 19, 18)}


def one_shot(amplitude_mm, *modes):
    return Deformation(torch.tensor([amplitude_mm], dtype=torch.float64), modes)


def uniform(direction):
    """A displacement that is the same everywhere."""
    return Mode("shift", (Profile(),) * len(direction), tuple(direction))


def drawn(family, dims, num_shots=16, seed=0, axes=None):
    return sample_deformation(family, num_shots, dims, np.random.RandomState(seed), axes)


def places(shape, spacing_mm):
    axes = [(torch.arange(n, dtype=torch.float64) + 0.5) * mm for n, mm in zip(shape, spacing_mm, strict=True)]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex64])
@pytest.mark.parametrize("family", NON_RIGID_FAMILIES)
def test_zero_amplitude_is_the_identity_to_float_precision(dims, dtype, family):
    image = torch.rand(2, *SHAPES[dims]).to(dtype)
    still = drawn(family, dims).scaled(0.0)
    assert still.is_still and not drawn(family, dims).is_still
    got = deform(image, still, torch.tensor([3, 0]), [1.0] * dims)
    assert got.dtype == dtype
    atol = 1e-12 if dtype == torch.float64 else 3e-5
    torch.testing.assert_close(got, image.expand(2, *image.shape), atol=atol, rtol=0)


@pytest.mark.parametrize("family", NON_RIGID_FAMILIES)
@pytest.mark.parametrize("dims", [2, 3])
def test_a_ramp_becomes_the_ramp_at_where_the_tissue_came_from(family, dims):
    shape, spacing = (60, 50, 48)[:dims], [2.0, 1.5, 2.5][:dims]
    place = places(shape, spacing)
    slope = torch.tensor([1.0, -0.7, 0.4][:dims], dtype=torch.float64).reshape(-1, *[1] * dims)
    moving = drawn(family, dims, num_shots=3)
    moving = moving.scaled(min(0.5 * largest_factor(moving, shape, spacing), 5.0))
    got = deform((slope * place).sum(0), moving, torch.arange(3), spacing)
    field = torch.tensordot(moving.amplitude_mm, displacement_field(moving.modes, shape), dims=1)
    wanted = (slope * (place - field)).sum(1)
    # At the border the ramp breaks off to zero; the spline rings on from there, less by 3.7 with every pixel.
    inside = (..., *[slice(14, -14)] * dims)
    assert field[inside].abs().max() > 0.5
    torch.testing.assert_close(got[inside], wanted[inside], atol=1e-4, rtol=0)


@pytest.mark.parametrize("dims", [2, 3])
def test_a_uniform_displacement_is_the_moved_gaussian_and_nearer_than_linear_or_bicubic(dims):
    shape, shift = (48, 45, 44)[:dims], [1.3, -2.6, 0.7][:dims]
    still, wanted = gaussian(shape, [0.0] * (2 * dims - 3)), gaussian(shape, [0.0] * (2 * dims - 3), shift)
    norm = math.hypot(*shift)
    moved = deform(still, one_shot([norm], uniform([s / norm for s in shift])), torch.tensor([0]), [1.0] * dims)[0]
    error = (moved - wanted).abs().max().item()
    assert error < 6e-4
    theta = torch.eye(dims, dims + 1, dtype=torch.float64)
    theta[:, -1] = torch.tensor([-2 * s / n for s, n in zip(shift, shape, strict=True)]).flip(0)
    grid = torch.nn.functional.affine_grid(theta[None], (1, 1, *shape), align_corners=False)
    for mode in ["bilinear"] + ["bicubic"] * (dims == 2):
        other = torch.nn.functional.grid_sample(still[None, None], grid, mode, align_corners=False)[0, 0]
        assert error < 0.2 * (other - wanted).abs().max()


def test_a_positive_displacement_moves_content_up_the_axis_as_a_translation_does():
    image = torch.rand(1, 12, 11, dtype=torch.float64)
    moved = deform(image, one_shot([4.0], uniform([1.0, 0.0])), torch.tensor([0]), [2.0, 1.0])[0]
    torch.testing.assert_close(moved[:, 2:], image[:, :-2])
    assert moved[:, :2].abs().max() < 1e-9


@pytest.mark.parametrize("dims", [2, 3])
def test_batch_and_shots_agree_with_the_loop_and_complex_with_its_parts(dims):
    shape, spacing = SHAPES[dims], [4.0] * dims
    image = torch.rand(2, 3, *shape, dtype=torch.float64)
    moving, shots = drawn("breathing", dims).scaled(2.0), torch.tensor([5, 1, 5])
    whole = deform(image, moving, shots, spacing)
    assert whole.shape == (3, 2, 3, *shape)
    for number, shot in enumerate(shots):
        for batch in range(2):
            alone = deform(image[batch, 1], moving, shot[None], spacing)[0]
            torch.testing.assert_close(whole[number, batch, 1], alone)
    both = deform(torch.complex(image[0], image[1]), moving, shots, spacing)
    torch.testing.assert_close(both, torch.complex(whole[:, 0], whole[:, 1]))


@pytest.mark.parametrize(("family", "dims"), [("breathing", 2), ("cardiac", 2), ("breathing", 3), ("cardiac", 3)])
def test_gradients_reach_image_and_amplitude(family, dims):
    image = torch.rand((6, 5, 4)[:dims], dtype=torch.float64, requires_grad=True)
    modes = drawn(family, dims).modes
    amplitude = torch.rand(2, len(modes), dtype=torch.float64, requires_grad=True)

    def run(image, amplitude):
        return deform(image, Deformation(amplitude, modes), torch.tensor([1, 0]), [5.0] * dims)

    assert torch.autograd.gradcheck(run, (image, amplitude))


@pytest.mark.parametrize("family", NON_RIGID_FAMILIES)
def test_numbers_in_json_replay_bit_for_bit(family):
    moving = drawn(family, 3)
    again = from_numbers(json.loads(json.dumps(to_numbers(moving))))
    assert again.modes == moving.modes
    assert torch.equal(again.amplitude_mm, moving.amplitude_mm)


SAGITTAL = BodyAxes(superior_inferior=0, anterior_posterior=1, left_right=None)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, -1, 1)])
def test_breathing_leaves_the_spine_where_it_is_and_is_strongest_at_the_diaphragm(seed, signs):
    moving = drawn("breathing", 2, seed=seed, axes=SAGITTAL._replace(signs=signs))
    down, forward = displacement_field(moving.modes, (200, 200))
    if signs[0] == -1:
        down, forward = down.flip(1, 2), forward.flip(1, 2)
    # Now rows run to superior, columns to anterior.
    assert not down[1].any()
    assert not forward[0].any()
    assert not down[:, :, :72].any()
    assert not forward[:, :, :72].any()
    strength = -down[0] * signs[0]
    assert strength.min() >= 0
    assert strength.max() == pytest.approx(1, abs=1e-3)
    level = strength[:, 150].argmax().item()
    assert 80 < level < 140
    assert (strength[: level + 1, 150].diff() >= 0).all()
    assert (strength[level:, 150].diff() <= 0).all()
    wall = (forward[1] * signs[1]).amax(0)
    assert (wall.diff() >= 0).all()
    assert wall.argmax() > 145


def loop_area(amplitude_mm):
    """Area that the two displacements go around, by the shoelace formula."""
    x, y = amplitude_mm.T
    return 0.5 * (x * y.roll(-1) - y * x.roll(-1)).sum().item()


def test_the_wall_lags_behind_the_diaphragm():
    for seed in range(10):
        rng = np.random.RandomState(seed)
        moving = sample_deformation("breathing", 400, 2, rng, SAGITTAL)
        diaphragm, wall = moving.amplitude_mm.T
        # The loop of one breath has an area: the way in is not the way out.
        ends = (diaphragm < 0.05).nonzero()[:, 0]
        longest = ends.diff().argmax()
        breath = moving.amplitude_mm[ends[longest] : ends[longest + 1] + 1]
        assert abs(loop_area(breath)) > 0.02 * diaphragm.max() * wall.max()
        assert torch.dot(diaphragm[1:-1], wall[2:]) > torch.dot(diaphragm[1:-1], wall[:-2])


def test_breathing_shows_what_a_slice_can_show():
    axial = drawn("breathing", 2, axes=BodyAxes(None, 0, 1, (1, -1, 1)))
    coronal = drawn("breathing", 2, axes=BodyAxes(0, None, 1))
    # The wall of an axial slice with anterior on top rises to the top; the organs of a coronal one go down.
    assert [mode.direction for mode in axial.modes] == [(-1.0, 0.0)]
    assert [mode.direction for mode in coronal.modes] == [(-1.0, 0.0)]
    assert [len(drawn("breathing", 3).modes), drawn("breathing", 3).num_shots] == [2, 16]


@pytest.mark.parametrize("dims", [2, 3])
def test_the_heart_contracts_toward_its_centre_and_nothing_else_moves(dims):
    shape = (60, 50, 40)[:dims]
    moving = drawn("cardiac", dims)
    (mode,) = moving.modes
    field = displacement_field(moving.modes, shape)[0]
    offset = (
        places(shape, [1 / n for n in shape]).movedim(0, -1) - torch.tensor([p.centre for p in mode.profiles])
    ) / (torch.tensor([p.width for p in mode.profiles], dtype=torch.float64))
    inward = -(field.movedim(0, -1) * offset).sum(-1)
    outside = offset.norm(dim=-1) >= 1
    assert outside.any()
    assert not field[:, outside].any()
    assert (inward[~outside] > 0).all()
    assert field.norm(dim=0).max() == pytest.approx(1, abs=0.02)
    assert (moving.amplitude_mm >= 0).all()
    assert moving.amplitude_mm.std() > 0.1


def test_gut_waves_are_local_slow_and_travel():
    moving = drawn("peristalsis", 2, num_shots=64)
    field = displacement_field(moving.modes, (64, 64)).norm(dim=1)
    assert (field.amax((1, 2)) > 0.9).all()
    assert ((field > 0).double().mean((1, 2)) < 0.05).all()
    steps = moving.amplitude_mm.diff(dim=0).square().sum() / moving.amplitude_mm.square().sum()
    assert steps < 0.1
    first, second = moving.amplitude_mm[:, 0], moving.amplitude_mm[:, 1]
    lagged = [torch.dot(first[: 64 - k], second[k:]) / (64 - k) for k in range(20)]
    assert int(torch.stack(lagged).argmax()) > 0


@pytest.mark.parametrize("family", NON_RIGID_FAMILIES)
@pytest.mark.parametrize("dims", [2, 3])
def test_the_volume_ratio_is_the_jacobian_and_stays_positive(family, dims):
    shape, spacing = (64, 64, 64)[:dims], [3.0, 2.0, 4.0][:dims]
    moving = drawn(family, dims)
    moving = moving.scaled(0.9 * largest_factor(moving, shape, spacing))
    # Of the inverse map x - displacement, by differences on a finer grid.
    fine = [n * (4 if dims == 2 else 1) for n in shape]
    step = [n * mm / f for n, mm, f in zip(shape, spacing, fine, strict=True)]
    fields = displacement_field(moving.modes, fine)
    least = []
    for row in moving.amplitude_mm:
        displaced = torch.tensordot(row, fields, dims=1)
        slopes = torch.stack(torch.gradient(displaced, spacing=step, dim=list(range(1, dims + 1))), 1)
        jacobian = torch.eye(dims, dtype=torch.float64) - slopes.movedim((0, 1), (-2, -1))
        least.append(torch.linalg.det(jacobian).min())
    ratios = volume_ratios(moving, shape, spacing)
    assert (torch.stack(least) > MIN_JACOBIAN).all()
    torch.testing.assert_close(ratios, torch.stack(least), atol=0.05, rtol=0)


def test_a_contraction_has_the_volume_ratio_of_its_closed_form():
    # Along an axis through the centre, with e = offset / width: d = -A C e (1 - e^2)^2 and dd/dx <= A C 0.8 / W, at
    # e^2 = 0.6, where the other axes keep 1 + A C 0.16 / W.
    mode = Mode("contraction", (Profile("bump", 0.5, 0.4),) * 2, (0.0, 0.0))
    constant, width_mm, amplitude = 25 * math.sqrt(5) / 16, 40.0, 10.0
    along = 1 - amplitude * constant * 0.8 / width_mm
    across = 1 + amplitude * constant * 0.16 / width_mm
    ratio = volume_ratios(one_shot([amplitude], mode), (100, 100), (1.0, 1.0)).item()
    assert ratio == pytest.approx(along * across, abs=0.01)


def test_folding_is_refused_with_the_factor_that_would_do():
    image, moving = torch.rand(64, 64), drawn("cardiac", 2)
    factor = largest_factor(moving, (64, 64), (1.0, 1.0))
    deform(image, moving.scaled(0.98 * factor), torch.arange(16), (1.0, 1.0))
    with pytest.raises(
        ValueError, match=r"amplitude_mm: got up to .* mm, which leaves .*Multiply the amplitudes with 0\.6"
    ):
        deform(image, moving.scaled(1.5 * factor), torch.arange(16), (1.0, 1.0))


@pytest.mark.parametrize("times", [1e-2, 1e6])
def test_the_factor_holds_however_large_the_amplitudes_are(times):
    moving = drawn("cardiac", 2)
    factor = largest_factor(moving, (64, 64), (1.0, 1.0))
    assert times * largest_factor(moving.scaled(times), (64, 64), (1.0, 1.0)) == pytest.approx(factor, rel=0.02)


@pytest.mark.parametrize("numbers", [{}, {"modes": []}, {"modes": [{"kind": "shift"}], "amplitude_mm": [[1.0]]}])
def test_numbers_that_are_not_whole_are_refused(numbers):
    with pytest.raises(ValueError, match="deformation"):
        from_numbers(numbers)


def test_a_motion_without_shape_is_refused_before_it_is_used():
    acquisition = plan_acquisition((8, 8), 1, "linear", (0,))
    for motion in (RigidTrajectory(torch.zeros(3), torch.zeros(3, 1)), Deformation(torch.zeros(1, 0), ())):
        with pytest.raises(ValueError, match=r"(trajectory|deformation)\."):
            simulate_motion(torch.rand(8, 8), motion, acquisition, (1.0, 1.0))


def test_errors_name_argument_value_and_remedy():
    bump = uniform([1.0, 0.0])
    with pytest.raises(ValueError, match=r"amplitude_mm: got shape \(1, 2\) for 1 modes"):
        check_deformation(one_shot([1.0, 2.0], bump))
    with pytest.raises(ValueError, match="got nan in shot 0, mode 0"):
        check_deformation(one_shot([math.nan], bump))
    with pytest.raises(ValueError, match=r"modes\[0\]: got kind 'twist'"):
        check_deformation(one_shot([1.0], bump._replace(kind="twist")))
    with pytest.raises(ValueError, match=r"modes\[1\]: got kind 'shift' with 3 profiles"):
        check_deformation(one_shot([1.0, 1.0], bump, uniform([1.0, 0.0, 0.0])))
    for direction in ((math.nan, 0.0), (3.0, 4.0)):
        with pytest.raises(ValueError, match=r"modes\[0\]\.direction: got .*; allowed is a unit vector"):
            check_deformation(one_shot([1.0], bump._replace(direction=direction)))
    with pytest.raises(ValueError, match=r"modes\[0\]\.profiles\[1\]: got Profile\(shape='bump', centre=0\.5, width=0"):
        check_deformation(one_shot([1.0], bump._replace(profiles=(Profile(), Profile("bump", 0.5, 0.0)))))
