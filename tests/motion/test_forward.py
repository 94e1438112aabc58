"""The forward model against closed forms."""

import math

import numpy as np
import pytest
import torch
from closed_forms import ellipse, gaussian, poses

from mocodis_monai.motion import (
    FAMILIES,
    RigidTrajectory,
    assign_shots,
    magnitude,
    move_image,
    sample_trajectory,
    scale,
    simulate_motion,
    to_image,
    to_kspace,
)


def drawn(num_shots, dims, seed=0, factor=2.0):
    return scale(sample_trajectory("drift", num_shots, dims, np.random.RandomState(seed)), factor)


@pytest.mark.parametrize("shape", [(8, 8), (7, 8), (5, 6, 7)])
def test_the_fourier_pair_is_unitary_and_centred(shape):
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(shape, dtype=torch.complex128, generator=generator)
    axes = tuple(range(len(shape)))
    spectrum = to_kspace(image, axes)
    torch.testing.assert_close(to_image(spectrum, axes), image)
    torch.testing.assert_close(spectrum.norm(), image.norm())
    origin = torch.zeros(shape)
    origin[tuple(n // 2 for n in shape)] = 1
    # An impulse at the origin has a flat, real spectrum.
    torch.testing.assert_close(to_kspace(origin, axes).real, torch.full(shape, origin.numel() ** -0.5))
    assert to_kspace(torch.ones(shape), axes).abs().argmax() == origin.argmax()


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
def test_zero_motion_returns_an_exact_copy(dims, dtype):
    image = torch.rand(2, *(9, 8, 7)[:dims]).to(dtype)
    still = RigidTrajectory(torch.zeros(4, dims), torch.zeros(4, 1 if dims == 2 else 3))
    moved = simulate_motion(image, still, assign_shots(9, 4, "linear"), 0, [1.0] * dims)
    assert torch.equal(moved, image.to(torch.complex64))
    assert moved.data_ptr() != image.data_ptr()


def test_vanishing_motion_returns_the_input_to_float_precision():
    image = torch.rand(1, 32, 33)
    tiny = drawn(4, 2, factor=1e-9)
    moved = magnitude(simulate_motion(image, tiny, assign_shots(32, 4, "linear"), 0, (1, 1)))
    torch.testing.assert_close(moved, image, atol=2e-6, rtol=0)


@pytest.mark.parametrize("phase_encode_axis", [0, 1, 2])
def test_a_whole_pixel_translation_of_all_shots_is_a_roll(phase_encode_axis):
    image = torch.rand(2, 8, 9, 10, dtype=torch.float64)
    spacing = (2.0, 1.0, 0.5)
    held = poses([[2 * 2.0, -3 * 1.0, 1 * 0.5]] * 4, [[0.0] * 3] * 4)
    shots = assign_shots(image.shape[1 + phase_encode_axis], 4, "interleaved")
    moved = simulate_motion(image, held, shots, phase_encode_axis, spacing)
    torch.testing.assert_close(moved.real, image.roll((2, -3, 1), (1, 2, 3)))


@pytest.mark.parametrize("dims", [2, 3])
def test_one_pose_for_all_shots_is_the_moved_object(dims):
    shape = (48, 45, 44)[:dims]
    angle = [8.0] if dims == 2 else [4.0, -6.0, 8.0]
    shift = [1.3, -2.6, 0.7][:dims]
    moved = move_image(gaussian(shape, [0.0] * len(angle)), poses([shift], [angle]), 1, [1.0] * dims)
    torch.testing.assert_close(moved, gaussian(shape, angle, shift), atol=1e-5, rtol=0)


@pytest.mark.parametrize("line_order", ["linear", "interleaved"])
@pytest.mark.parametrize("phase_encode_axis", [0, 1])
def test_motion_in_one_shot_changes_only_its_lines(line_order, phase_encode_axis):
    image = torch.rand(24, 20, dtype=torch.float64)
    shots = assign_shots(image.shape[phase_encode_axis], 4, line_order)
    one = poses([[0.0, 0.0], [0.0, 0.0], [1.4, -0.6], [0.0, 0.0]], [[0.0], [0.0], [5.0], [0.0]])
    moved = simulate_motion(image, one, shots, phase_encode_axis, (1, 1))
    change = (to_kspace(moved, (0, 1)) - to_kspace(image, (0, 1))).movedim(phase_encode_axis, 0).abs().amax(1)
    assert change[shots != 2].max() < 1e-12
    assert change[shots == 2].min() > 1e-3


@pytest.mark.parametrize("size", [40, 41])
@pytest.mark.parametrize("phase_encode_axis", [0, 1])
def test_a_quarter_turn_is_rot90(size, phase_encode_axis):
    image = gaussian((size, size), [0.0])
    # rot90 turns the first axis toward the second, as a positive angle does.
    turned = move_image(image, poses([[0.0, 0.0]], [[90.0]]), phase_encode_axis, (1, 1))
    torch.testing.assert_close(turned, torch.rot90(image, 1, (0, 1)), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("axis", "plane"), [(0, (1, 2)), (1, (2, 0)), (2, (0, 1))])
def test_a_quarter_turn_in_3d_is_rot90(axis, plane):
    image = gaussian((41, 41, 41), [0.0] * 3)
    angles = [90.0 if other == axis else 0.0 for other in range(3)]
    turned = move_image(image, poses([[0.0] * 3], [angles]), 1, (1, 1, 1))
    torch.testing.assert_close(turned, torch.rot90(image, 1, plane), atol=1e-4, rtol=0)


def bicubic(image, angle_deg):
    """The usual resampling of a square image, for comparison."""
    t = math.radians(angle_deg)
    matrix = torch.tensor([[math.cos(t), -math.sin(t), 0], [math.sin(t), math.cos(t), 0]], dtype=image.dtype)
    grid = torch.nn.functional.affine_grid(matrix[None], (1, 1, *image.shape), align_corners=False)
    return torch.nn.functional.grid_sample(image[None, None], grid, mode="bicubic", align_corners=False)[0, 0]


def relative_error(got, wanted):
    # The closed form wraps around the field of view, so that its border is not the object's.
    inner = tuple(slice(4, -4) for _ in got.shape)
    return ((got - wanted)[inner].norm() / wanted[inner].norm()).item()


@pytest.mark.parametrize(("angle", "bound"), [(3.0, 0.02), (10.0, 0.03), (20.0, 0.045)])
def test_a_rotated_ellipse_is_nearer_to_its_closed_form_than_bicubic_resampling(angle, bound):
    # A sharp edge reaches up to Nyquist, where a turned square band cannot be kept: hence per cents.
    still, wanted = ellipse((64, 64), [0.0]), ellipse((64, 64), [angle])
    turned = simulate_motion(
        still, poses([[0.0, 0.0]], [[angle]]), assign_shots(64, 1, "linear"), 0, (1, 1)
    ).real
    assert relative_error(turned, wanted) < min(bound, relative_error(bicubic(still, angle), wanted))


def test_a_rotated_ellipsoid_matches_its_closed_form():
    shape, angles = (48, 44, 46), [5.0, -3.0, 4.0]
    still = ellipse(shape, [0.0] * 3)
    one_shot = assign_shots(44, 1, "linear")
    turned = simulate_motion(still, poses([[0.0] * 3], [angles]), one_shot, 1, (1, 1, 1)).real
    assert relative_error(turned, ellipse(shape, angles)) < 0.03


def test_voxels_that_are_not_cubes_turn_as_the_object_does():
    spacing = [1.0, 1.5]
    wanted = gaussian((64, 48), [12.0], spacing_mm=spacing)
    turned = move_image(
        gaussian((64, 48), [0.0], spacing_mm=spacing), poses([[0.0, 0.0]], [[12.0]]), 0, spacing
    )
    torch.testing.assert_close(turned, wanted, atol=1e-6, rtol=0)


def test_periodic_motion_puts_the_ghost_at_field_of_view_times_cycles_per_line():
    lines, cycles = 64, 12
    image = torch.zeros(lines, 16, dtype=torch.float64)
    image[lines // 2 - 1 : lines // 2 + 2] = 1.0
    sway = 0.3 * torch.sin(2 * torch.pi * cycles * torch.arange(lines).double() / lines)
    along = RigidTrajectory(
        torch.stack([sway, torch.zeros(lines)], 1).double(), torch.zeros(lines, 1).double()
    )
    moved = simulate_motion(image, along, assign_shots(lines, lines, "linear"), 0, (1, 1))
    profile = (moved - image).abs()[:, 8]
    profile[lines // 2 - 5 : lines // 2 + 6] = 0
    ghost = (profile.argmax() - lines // 2).abs().item()
    assert abs(ghost - lines * cycles / lines) <= 2


@pytest.mark.parametrize("dims", [2, 3])
def test_float32_agrees_with_float64_and_the_batch_with_the_loop(dims):
    image = torch.rand(3, *(24, 21, 20)[:dims], dtype=torch.float64)
    shots, moving, spacing = assign_shots(24, 5, "interleaved"), drawn(5, dims), [1.0] * dims
    wide = simulate_motion(image, moving, shots, 0, spacing)
    narrow = simulate_motion(image.float(), moving, shots, 0, spacing)
    assert narrow.dtype == torch.complex64
    torch.testing.assert_close(narrow.to(torch.complex128), wide, atol=1e-5, rtol=0)
    loop = torch.stack([simulate_motion(one, moving, shots, 0, spacing) for one in image])
    torch.testing.assert_close(wide, loop)


def test_the_model_is_linear_in_a_complex_image():
    real, imaginary = torch.rand(2, 16, 15, dtype=torch.float64)
    acquired = (drawn(4, 2), assign_shots(15, 4, "linear"), 1, (1, 1))
    whole = simulate_motion(torch.complex(real, imaginary), *acquired)
    parts = simulate_motion(real, *acquired) + 1j * simulate_motion(imaginary, *acquired)
    torch.testing.assert_close(whole, parts)


@pytest.mark.parametrize("dims", [2, 3])
def test_gradients_reach_image_and_trajectory(dims):
    shape = (5, 4, 4)[:dims]
    image = torch.rand(1, *shape, dtype=torch.float64, requires_grad=True)
    translation, rotation = (part.clone().requires_grad_() for part in drawn(2, dims))
    shots = assign_shots(shape[0], 2, "linear")

    def acquire(image, translation, rotation):
        moved = simulate_motion(image, RigidTrajectory(translation, rotation), shots, 0, [1.0] * dims)
        return torch.view_as_real(moved)

    assert torch.autograd.gradcheck(acquire, (image, translation, rotation))
    # At rest too: the way out of the identity must not be cut off.
    still = torch.zeros_like(rotation, requires_grad=True)
    assert torch.autograd.gradcheck(acquire, (image, torch.zeros_like(translation), still))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dims", [2, 3])
def test_a_seed_is_a_trajectory(family, dims):
    def draw(seed):
        return sample_trajectory(family, 12, dims, np.random.RandomState(seed))

    assert all(torch.equal(a, b) for a, b in zip(draw(3), draw(3), strict=True))
    assert not torch.equal(draw(3).translation_mm, draw(4).translation_mm)
    assert draw(3).rotation_deg.shape == (12, 1 if dims == 2 else 3)


def test_errors_name_argument_value_and_remedy():
    image, shots = torch.rand(1, 8, 8), assign_shots(8, 2, "linear")
    moving = drawn(2, 2)
    with pytest.raises(TypeError, match=r"dtype torch\.int64"):
        simulate_motion(image.long(), moving, shots, 0, (1, 1))
    with pytest.raises(ValueError, match="phase_encode_axis: got 2"):
        simulate_motion(image, moving, shots, 2, (1, 1))
    with pytest.raises(ValueError, match="spacing_mm: got"):
        simulate_motion(image, moving, shots, 0, (1, 0))
    with pytest.raises(ValueError, match="got 3 rows for 2 shots"):
        simulate_motion(image, drawn(3, 2), shots, 0, (1, 1))
    with pytest.raises(ValueError, match="num_shots: got 9 for 8"):
        assign_shots(8, 9, "linear")
    with pytest.raises(ValueError, match="line_order: got 'spiral'"):
        assign_shots(8, 2, "spiral")
    with pytest.raises(ValueError, match="got nan in shot 1, column 0"):
        simulate_motion(image, poses([[0.0, 0.0], [float("nan"), 0.0]], [[0.0], [0.0]]), shots, 0, (1, 1))
    with pytest.raises(ValueError, match=r"rotation_deg: got shape \(2, 3\)"):
        simulate_motion(image, poses([[0.0, 0.0]] * 2, [[0.0] * 3] * 2), shots, 0, (1, 1))
