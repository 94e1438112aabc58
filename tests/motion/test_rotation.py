"""Rotations by shears against closed forms."""

import math

import pytest
import torch
from closed_forms import ellipse, gaussian, poses, relative_error

from mocodis_monai.motion import move_image, plan_acquisition, simulate_motion
from mocodis_monai.motion.rotation import encode_rotated
from mocodis_monai.motion.trajectory import rotation_matrices


def turned(image, angles, phase_encode_axis=0):
    """Complex image held in one rotation, acquired along the axis."""
    acquisition = plan_acquisition(image.shape, 1, "linear", (phase_encode_axis,))
    return simulate_motion(image, poses([[0.0] * image.ndim], [angles]), acquisition, [1.0] * image.ndim)


@pytest.mark.parametrize("size", [40, 41])
@pytest.mark.parametrize("phase_encode_axis", [0, 1])
def test_a_quarter_turn_is_rot90(size, phase_encode_axis):
    image = gaussian((size, size), [0.0])
    # rot90 turns the first axis toward the second, as a positive angle does.
    wanted = torch.rot90(image, 1, (0, 1))
    torch.testing.assert_close(turned(image, [90.0], phase_encode_axis).abs(), wanted, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("axis", "plane"), [(0, (1, 2)), (1, (2, 0)), (2, (0, 1))])
def test_a_quarter_turn_in_3d_is_rot90(axis, plane):
    image = gaussian((41, 41, 41), [0.0] * 3)
    angles = [90.0 if other == axis else 0.0 for other in range(3)]
    torch.testing.assert_close(turned(image, angles, 1).abs(), torch.rot90(image, 1, plane), atol=1e-4, rtol=0)


@pytest.mark.parametrize("phase_encode_axis", [0, 1, 2])
def test_a_smooth_object_turns_to_within_float_precision(phase_encode_axis):
    shape, angles = (48, 45, 44), [7.0, -5.0, 9.0]
    got = turned(gaussian(shape, [0.0] * 3), angles, phase_encode_axis)
    torch.testing.assert_close(got.real, gaussian(shape, angles), atol=1e-7, rtol=0)


def bicubic(image, angle_deg):
    """The usual resampling of a square image, for comparison."""
    t = math.radians(angle_deg)
    matrix = torch.tensor([[math.cos(t), -math.sin(t), 0], [math.sin(t), math.cos(t), 0]], dtype=image.dtype)
    grid = torch.nn.functional.affine_grid(matrix[None], (1, 1, *image.shape), align_corners=False)
    return torch.nn.functional.grid_sample(image[None, None], grid, mode="bicubic", align_corners=False)[0, 0]


@pytest.mark.parametrize(("angle", "bound"), [(3.0, 0.017), (10.0, 0.024), (20.0, 0.039)])
def test_a_rotated_ellipse_is_nearer_to_its_closed_form_than_bicubic_resampling(angle, bound):
    # A sharp edge reaches up to Nyquist, where a turned square band cannot be kept: hence per cents.
    still, wanted = ellipse((64, 64), [0.0]), ellipse((64, 64), [angle])
    got = relative_error(turned(still, [angle]).real, wanted)
    assert got < min(bound, relative_error(bicubic(still, angle), wanted))


def test_a_rotated_ellipsoid_matches_its_closed_form():
    shape, angles = (48, 44, 46), [5.0, -3.0, 4.0]
    got = turned(ellipse(shape, [0.0] * 3), angles, 1).real
    assert relative_error(got, ellipse(shape, angles)) < 0.03


def test_a_rotated_and_translated_ellipse_matches_its_closed_form():
    angle, shift = 5.0, [3.3, -1.6]
    acquisition = plan_acquisition((64, 64), 4, "interleaved", (1,))
    held = poses([shift] * 4, [[angle]] * 4)
    got = simulate_motion(ellipse((64, 64), [0.0]), held, acquisition, (1.0, 1.0)).real
    assert relative_error(got, ellipse((64, 64), [angle], shift)) < 0.025


def test_voxels_that_are_not_cubes_turn_as_the_object_does():
    spacing = [1.0, 1.5]
    wanted = gaussian((64, 48), [12.0], spacing_mm=spacing)
    image = gaussian((64, 48), [0.0], spacing_mm=spacing)
    got = move_image(image, poses([[0.0, 0.0]], [[12.0]]), spacing)
    torch.testing.assert_close(got, wanted, atol=1e-6, rtol=0)


@pytest.mark.parametrize("phase_encode_axis", [0, 1])
def test_what_turns_out_of_the_field_of_view_does_not_come_back(phase_encode_axis):
    image = torch.zeros(64, 64, dtype=torch.float64)
    image[1:5, 1:5] = 1.0
    # The corner turns out of the field of view over the first edge, or over the second.
    for angle in (25.0, -25.0):
        assert turned(image, [angle], phase_encode_axis).abs()[8:].mean() < 2e-3
    # Neither edge sees the other's side.
    assert turned(image, [25.0], phase_encode_axis).abs()[32:, 32:].max() < 0.02


def test_blocks_and_batches_do_not_change_the_result(monkeypatch):
    image = torch.rand(2, 20, 18, 15, dtype=torch.float64)
    rotation = rotation_matrices(torch.tensor([[5.0, 2.0, -3.0], [1.0, -8.0, 4.0], [0.0, 0.0, 6.0]]).double())
    lines = [torch.arange(20), torch.tensor([3, 17]), torch.arange(0, 20, 2)]
    spacing = torch.tensor([1.0, 1.2, 0.8], dtype=torch.float64)
    whole = list(encode_rotated(image, rotation, spacing, lines))
    monkeypatch.setattr("mocodis_monai.motion.blocks._PIXELS_OF_A_BLOCK", 3000)
    monkeypatch.setattr("mocodis_monai.motion.rotation.PIXELS_AT_A_TIME", 2 * image.numel())
    for got, wanted in zip(encode_rotated(image, rotation, spacing, lines), whole, strict=True):
        torch.testing.assert_close(got, wanted)
    # Where a gradient is wanted every step gets memory of its own.
    graded = encode_rotated(image.clone().requires_grad_(), rotation, spacing, lines)
    for got, wanted in zip(graded, whole, strict=True):
        torch.testing.assert_close(got.detach(), wanted)
