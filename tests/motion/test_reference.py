"""The co-registered target, checked with scikit-image's registration, which knows nothing of ours."""

import numpy as np
import pytest
import torch
from closed_forms import gaussian, poses
from skimage.registration import phase_cross_correlation

from mocodis_monai.motion import (
    FAMILIES,
    LINE_ORDERS,
    assign_shots,
    coregistered_target,
    line_energy,
    magnitude,
    sample_trajectory,
    scale_to_displacement,
    simulate_motion,
)


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


def residual_shift_px(seed, size=96):
    """Shift that scikit-image still finds between the target and the corrupted image of a random sample.

    Plain cross-correlation: its phase-only variant whitens the spectrum, and the ghosts' noise then outvotes
    the image.
    """
    rng = np.random.RandomState(seed)
    image, axis, num_shots = body(rng, size), rng.randint(2), rng.randint(6, 25)
    shots = assign_shots(size, num_shots, LINE_ORDERS[1])
    trajectory = sample_trajectory(FAMILIES[seed % 3], num_shots, 2, rng)
    trajectory = scale_to_displacement(trajectory, rng.uniform(0.5, 4), shots, line_energy(image, axis, 2))
    moved = magnitude(simulate_motion(image, trajectory, shots, axis, (1, 1)))
    target = coregistered_target(image, moved, trajectory, shots, axis, (1, 1)).image
    shift, _, _ = phase_cross_correlation(
        target[0].numpy(), moved[0].numpy(), upsample_factor=20, normalization=None
    )
    return float(np.linalg.norm(shift))


def test_scikit_image_finds_next_to_no_shift_left():
    residual = [residual_shift_px(seed) for seed in range(60)]
    assert np.median(residual) < 0.1
    assert np.percentile(residual, 95) < 0.5


@pytest.mark.parametrize("dims", [2, 3])
def test_a_pose_held_for_all_shots_is_the_target_pose(dims):
    image = gaussian((32, 30, 28)[:dims], [0.0] * (1 if dims == 2 else 3))[None]
    angle = [4.0] if dims == 2 else [2.0, -3.0, 4.0]
    held = poses([[1.2, -0.7, 0.4][:dims]] * 4, [angle] * 4)
    acquired = (held, assign_shots(32, 4, "linear"), 0, [1.0] * dims)
    moved = magnitude(simulate_motion(image, *acquired))
    target = coregistered_target(image, moved, *acquired)
    torch.testing.assert_close(target.image, moved, atol=2e-3, rtol=0)
    torch.testing.assert_close(target.pose.translation_mm[0], held.translation_mm[0], atol=0.02, rtol=0)


def test_registration_improves_on_the_mean_pose_in_3d():
    image = gaussian((32, 30, 28), [0.0] * 3)[None]
    moving = poses([[0.0, 0.0, 0.0], [3.0, -2.0, 1.0]], [[0.0, 0.0, 0.0], [4.0, 2.0, -3.0]])
    acquired = (moving, assign_shots(30, 2, "linear"), 1, (1.0, 1.0, 1.0))
    moved = magnitude(simulate_motion(image, *acquired))
    target = coregistered_target(image, moved, *acquired).image
    assert (target - moved).norm() < (image - moved).norm()


def test_without_motion_the_target_is_the_clean_image():
    image = torch.rand(2, 16, 15)
    still = poses([[0.0, 0.0]] * 3, [[0.0]] * 3)
    target = coregistered_target(image, image, still, assign_shots(15, 3, "linear"), 1, (1, 1))
    assert torch.equal(target.image, image)
    assert not target.pose.translation_mm.any() and not target.pose.rotation_deg.any()


def test_a_blank_image_has_a_finite_target():
    blank = torch.zeros(1, 16, 16)
    moving = poses([[0.0, 0.0], [2.0, 1.0]], [[0.0], [3.0]])
    target = coregistered_target(blank, blank, moving, assign_shots(16, 2, "linear"), 0, (1, 1))
    assert torch.equal(target.image, blank)
    assert torch.isfinite(target.pose.translation_mm).all()
