"""The co-registered target, checked with scikit-image's registration, which knows nothing of ours."""

import numpy as np
import pytest
import torch
from closed_forms import ellipse, gaussian, poses
from skimage.registration import phase_cross_correlation

from mocodis_monai.motion import (
    RIGID_FAMILIES,
    Deformation,
    Mode,
    Profile,
    coregistered_target,
    deform,
    line_energy,
    magnitude,
    plan_acquisition,
    reachable_mm,
    sample_deformation,
    sample_trajectory,
    scale_to_displacement,
    simulate_motion,
)
from mocodis_monai.motion.forward import move_image
from mocodis_monai.motion.reference import _LONGEST_TURN_DEG, _STEPS, held_in_place
from mocodis_monai.motion.severity import mean_pose, shot_weights


def body(rng, size):
    """Random overlapping soft-edged ellipses inside an outline, ``(1, size, size)``."""
    grid = torch.stack(torch.meshgrid(*[torch.linspace(-1, 1, size)] * 2, indexing="ij"), -1)

    def disc(centre, radii):
        reach = ((grid - torch.tensor(centre).float()) / torch.tensor(radii).float()).norm(dim=-1)
        return torch.sigmoid((1 - reach) * size * min(radii) / 1.5)

    outline = disc([0.0, 0.0], rng.uniform(0.6, 0.8, 2))
    image = outline * 0.5
    for _ in range(15):
        one = disc(rng.uniform(-0.6, 0.6, 2), rng.uniform(0.05, 0.3, 2))
        image = image * (1 - one) + one * rng.uniform()
    return (image * outline)[None]


def weighted_mean(image, moving, acquisition):
    """The pose that the registration starts from."""
    energy = line_energy(image, acquisition, moving.spatial_dims)
    return mean_pose(moving, shot_weights(energy, acquisition))


def residual_shift_px(target, moved):
    """Shift that scikit-image still finds between the target and the corrupted image.

    Plain cross-correlation: its phase-only variant whitens the spectrum, and the ghosts' noise then outvotes
    the image.
    """
    shift, _, _ = phase_cross_correlation(target[0].numpy(), moved[0].numpy(), upsample_factor=20, normalization=None)
    return float(np.linalg.norm(shift))


def rigid_sample(seed, size=96):
    """Target and corrupted image of a random rigid motion."""
    rng = np.random.RandomState(seed)
    image, axis, num_shots = body(rng, size), rng.randint(2), rng.randint(6, 25)
    acquisition = plan_acquisition((size, size), num_shots, "interleaved", (axis,))
    trajectory = sample_trajectory(RIGID_FAMILIES[seed % len(RIGID_FAMILIES)], num_shots, 2, rng)
    energy = line_energy(image, acquisition, 2)
    trajectory = scale_to_displacement(trajectory, rng.uniform(0.5, 4), acquisition, energy)
    moved = magnitude(simulate_motion(image, trajectory, acquisition, (1, 1)))
    return coregistered_target(image, moved, trajectory, acquisition, (1, 1)).image, moved


def breathing_sample(seed, size=96):
    """Target and corrupted image of a random breath."""
    rng = np.random.RandomState(seed)
    image, axis, num_shots = body(rng, size), rng.randint(2), rng.randint(6, 25)
    acquisition = plan_acquisition((size, size), num_shots, "interleaved", (axis,))
    breath = sample_deformation("breathing", num_shots, 2, rng)
    scored = (acquisition, line_energy(image, acquisition, 2), image)
    most_mm = 0.9 * reachable_mm(breath, *scored, (3, 3))
    breath = scale_to_displacement(breath, min(rng.uniform(0.5, 4), most_mm), *scored, (3, 3))
    moved = magnitude(simulate_motion(image, breath, acquisition, (3, 3)))
    return coregistered_target(image, moved, breath, acquisition, (3, 3)).image, moved


@pytest.mark.parametrize("sample", [rigid_sample, breathing_sample])
def test_scikit_image_finds_next_to_no_shift_left(sample):
    residual = [residual_shift_px(*sample(seed)) for seed in range(60)]
    assert np.median(residual) < 0.1
    assert np.percentile(residual, 95) < 0.5


@pytest.mark.parametrize("dims", [2, 3])
def test_a_pose_held_for_all_shots_is_the_target_pose(dims):
    shape = (32, 30, 28)[:dims]
    image = gaussian(shape, [0.0] * (1 if dims == 2 else 3))[None]
    angle = [4.0] if dims == 2 else [2.0, -3.0, 4.0]
    held = poses([[1.2, -0.7, 0.4][:dims]] * 4, [angle] * 4)
    acquired = (held, plan_acquisition(shape, 4, "linear", (0,)), [1.0] * dims)
    moved = magnitude(simulate_motion(image, *acquired))
    target = coregistered_target(image, moved, *acquired)
    torch.testing.assert_close(target.image, moved, atol=2e-3, rtol=0)
    torch.testing.assert_close(target.pose.translation_mm[0], held.translation_mm[0], atol=0.02, rtol=0)
    assert target.deformation is None


@pytest.mark.parametrize("dims", [2, 3])
def test_a_deformation_held_for_all_shots_is_the_target(dims):
    shape = (32, 30, 28)[:dims]
    image = gaussian(shape, [0.0] * (1 if dims == 2 else 3))[None]
    held = sample_deformation("breathing", 1 + 1, dims, np.random.RandomState(0))
    held = held._replace(amplitude_mm=torch.full((4, len(held.modes)), 1.5, dtype=torch.float64))
    acquired = (held, plan_acquisition(shape, 4, "linear", (0,)), [1.0] * dims)
    moved = magnitude(simulate_motion(image, *acquired))
    target = coregistered_target(image, moved, *acquired)
    torch.testing.assert_close(target.image, moved, atol=1e-3, rtol=0)
    torch.testing.assert_close(target.deformation.amplitude_mm[0], held.amplitude_mm[0])
    torch.testing.assert_close(target.pose.translation_mm, torch.zeros(1, dims).double(), atol=0.01, rtol=0)


def test_the_registration_takes_out_the_shift_that_the_mean_deformation_leaves():
    # The centre of k-space is acquired in one shot of four, so that the image lies near that shot's place and not at
    # the energy-weighted mean.
    image = body(np.random.RandomState(1), 64)
    mode = Mode("shift", (Profile(), Profile()), (1.0, 0.0))
    sway = Deformation(torch.tensor([[0.0], [0.0], [4.0], [0.0]], dtype=torch.float64), (mode,))
    acquired = (sway, plan_acquisition((64, 64), 4, "linear", (0,)), (1, 1))
    moved = magnitude(simulate_motion(image, *acquired))
    target = coregistered_target(image, moved, *acquired)
    mean = deform(image, target.deformation, torch.tensor([0]), (1, 1))[0]
    assert residual_shift_px(target.image, moved) < 0.5 * residual_shift_px(mean, moved)


def test_one_pose_for_the_slices_of_a_volume():
    image = torch.stack([body(np.random.RandomState(seed), 32) for seed in range(8)], dim=-1)
    acquisition = plan_acquisition((32, 32, 8), 3, "interleaved", (0,), slice_axis=2, num_packages=2)
    moving = sample_trajectory("drift", 6, 3, np.random.RandomState(2))
    moved = magnitude(simulate_motion(image, moving, acquisition, (1, 1, 4)))
    target = coregistered_target(image, moved, moving, acquisition, (1, 1, 4))
    assert target.pose.translation_mm.shape == (1, 3)
    # The rest are ghosts, which no pose takes away.
    at_mean = move_image(image, weighted_mean(image, moving, acquisition), (1, 1, 4))
    assert (target.image - moved).norm() < 0.99 * (at_mean - moved).norm()


def test_a_volume_that_is_the_same_along_an_axis_is_not_shifted_along_it_by_metres():
    image = body(np.random.RandomState(2), 32)[..., None].repeat(1, 1, 1, 8)
    acquisition = plan_acquisition((32, 32, 8), 3, "interleaved", (0,), slice_axis=2, num_packages=2)
    moving = sample_trajectory("drift", 6, 3, np.random.RandomState(2))
    moved = magnitude(simulate_motion(image, moving, acquisition, (1, 1, 4)))
    [translation_mm] = coregistered_target(image, moved, moving, acquisition, (1, 1, 4)).pose.translation_mm
    assert translation_mm[:2].abs().max() < 0.1 and abs(translation_mm[2]) < 50  # it was 10 m


def test_registration_improves_on_the_mean_pose_in_3d():
    image = ellipse((32, 30, 28), [0.0] * 3)[None]
    moving = poses([[0.0, 0.0, 0.0], [3.0, -2.0, 1.0]], [[0.0, 0.0, 0.0], [4.0, 2.0, -3.0]])
    acquired = (moving, plan_acquisition((32, 30, 28), 2, "linear", (1,)), (1.0, 1.0, 1.0))
    moved = magnitude(simulate_motion(image, *acquired))
    target = coregistered_target(image, moved, *acquired).image
    # It is 5.8 % less; the rest are ghosts, which no pose takes away.
    at_mean = move_image(image, weighted_mean(image, *acquired[:2]), acquired[2])
    assert (target - moved).norm() < 0.97 * (at_mean - moved).norm()


@pytest.mark.parametrize(
    "still",
    [poses([[0.0, 0.0]] * 3, [[0.0]] * 3), sample_deformation("cardiac", 3, 2, np.random.RandomState(0))],
)
def test_without_motion_the_target_is_the_clean_image(still):
    image = torch.rand(2, 16, 15)
    target = coregistered_target(image, image, still.scaled(0.0), plan_acquisition((16, 15), 3, "linear", (1,)), (1, 1))
    assert torch.equal(target.image, image)
    assert not target.pose.translation_mm.any() and not target.pose.rotation_deg.any()


@pytest.mark.parametrize("sigma_px", [3.0, 6.0, 10.0])
def test_a_round_object_is_turned_no_farther_than_the_steps_and_never_for_the_worse(sigma_px):
    # Ghosts are not round, so that it is turned a little (8 degrees at most). Each step may turn by _LONGEST_TURN_DEG;
    # without this limit one of these objects turns by 400 degrees.
    offset = torch.arange(48.0) - 23.5
    image = torch.exp(-(offset[:, None] ** 2 + offset**2) / (2 * sigma_px**2))[None]
    acquisition = plan_acquisition((48, 48), 6, "interleaved", (0,))
    for seed in range(12):
        drawn = sample_trajectory("drift", 6, 2, np.random.RandomState(seed))
        energy = line_energy(image, acquisition, 2)
        moving = scale_to_displacement(drawn, 3.0, acquisition, energy)
        moved = simulate_motion(image, moving, acquisition, (1, 1))
        target = coregistered_target(image, moved, moving, acquisition, (1, 1))
        mean = weighted_mean(image, moving, acquisition)
        assert (target.pose.rotation_deg - mean.rotation_deg).abs().max() <= _STEPS * _LONGEST_TURN_DEG
        at_mean = move_image(image, mean, (1, 1))
        assert (target.image - magnitude(moved)).norm() <= (at_mean - magnitude(moved)).norm()


def test_a_blank_image_has_a_finite_target():
    blank = torch.zeros(1, 16, 16)
    moving = poses([[0.0, 0.0], [2.0, 1.0]], [[0.0], [3.0]])
    target = coregistered_target(blank, blank, moving, plan_acquisition((16, 16), 2, "linear", (0,)), (1, 1))
    assert torch.equal(target.image, blank)
    assert torch.isfinite(target.pose.translation_mm).all()


@pytest.mark.parametrize(
    "moving",
    [poses([[0.0, 0.0], [2.0, 1.0]], [[0.0], [3.0]]), sample_deformation("breathing", 2, 2, np.random.RandomState(0))],
)
@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("moved", {"moved": torch.rand(1, 16, 14)}),
        ("motion", {"acquisition": plan_acquisition((16, 15), 3, "linear", (1,))}),
        ("acquisition.shot_of_line", {"acquisition": plan_acquisition((16, 12), 2, "linear", (1,))}),
        ("spacing_mm", {"spacing_mm": (1.0,)}),
    ],
)
def test_what_does_not_fit_is_named(moving, name, change):
    image = torch.rand(1, 16, 15)
    fitting = {"acquisition": plan_acquisition((16, 15), 2, "linear", (1,)), "spacing_mm": (1.0, 1.0)}
    with pytest.raises(ValueError, match=f"^{name}: got"):
        coregistered_target(**{"clean": image, "moved": image, "motion": moving, **fitting, **change})
    if name != "moved":
        with pytest.raises(ValueError, match=f"^{name}: got"):
            held_in_place(image, moving, **{**fitting, **change})
