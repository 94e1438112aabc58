"""The forward model against closed forms and against slow, plain computations of the same acquisition."""

import numpy as np
import pytest
import torch
from closed_forms import drawn, gaussian, poses

from mocodis_monai.motion import (
    LINE_ORDERS,
    RigidTrajectory,
    deform,
    magnitude,
    move_image,
    plan_acquisition,
    sample_deformation,
    simulate_motion,
    t2_decay,
    to_image,
    to_kspace,
)

SHAPE = (12, 10, 9)
SPACING = (1.0, 1.3, 0.8)
ACQUISITIONS = {
    "2d": (SHAPE[:2], (1,), None, 1),
    "3d": (SHAPE, (1,), None, 1),
    "two axes": (SHAPE, (2, 0), None, 1),
    "slices": (SHAPE, (0,), 1, 1),
    "packages": (SHAPE, (2,), 0, 3),
}


def planned(name, num_shots=3, line_order="random", seed=0):
    """Spatial shape and acquisition of one of the kinds above."""
    shape, axes, slice_axis, packages = ACQUISITIONS[name]
    rng = np.random.RandomState(seed)
    return shape, plan_acquisition(shape, num_shots, line_order, axes, slice_axis, packages, rng)


def line(shape, num_shots, line_order="linear", axis=0):
    return plan_acquisition(shape, num_shots, line_order, (axis,))


def full_kspace_loop(image, motion, acquisition, spacing):
    """Every shot's whole k-space, masked and added up; along a slice axis the image is not transformed."""
    dims = motion.spatial_dims
    transformed = [axis - dims for axis in range(dims) if axis != acquisition.slice_axis]
    kspace = 0
    for shot in range(motion.num_shots):
        held = RigidTrajectory(*(part[shot : shot + 1] for part in motion))
        one_shot = line(image.shape[-dims:], 1, axis=acquisition.phase_encode_axes[0])
        moved = simulate_motion(image, held, one_shot, spacing)
        layout = [1] * dims
        for axis, size in zip(acquisition.encoded_axes, acquisition.shot_of_line.shape, strict=True):
            layout[axis] = size
        mask = acquisition.shot_of_line == shot
        if list(acquisition.encoded_axes) != sorted(acquisition.encoded_axes):
            mask = mask.T
        kspace = kspace + to_kspace(moved, transformed) * mask.reshape(layout)
    return to_image(kspace, transformed)


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
    moved = simulate_motion(image, still, line(image.shape[1:], 4), [1.0] * dims)
    assert torch.equal(moved, image.to(torch.complex64))
    assert moved.data_ptr() != image.data_ptr()


@pytest.mark.parametrize("line_order", LINE_ORDERS)
@pytest.mark.parametrize("name", ACQUISITIONS)
def test_without_motion_the_order_of_the_lines_keeps_image_and_energy(name, line_order):
    shape, acquisition = planned(name, 4, line_order)
    image = torch.rand(2, *shape, dtype=torch.float64)
    dims, shots = len(shape), acquisition.num_shots
    # All the way through the transforms: with equal echo weights nothing is copied.
    still = RigidTrajectory(torch.zeros(shots, dims), torch.zeros(shots, 1 if dims == 2 else 3))
    weights = torch.ones(acquisition.num_echoes)
    acquired = simulate_motion(image, still, acquisition, SPACING[:dims], echo_weights=weights)
    torch.testing.assert_close(acquired.norm(), image.norm())
    torch.testing.assert_close(acquired.real, image)


def test_vanishing_motion_returns_the_input_to_float_precision():
    image, tiny = torch.rand(1, 32, 33), drawn(4, 2, factor=1e-9)
    moved = simulate_motion(image, tiny, line((32, 33), 4), (1, 1))
    torch.testing.assert_close(magnitude(moved), image, atol=2e-6, rtol=0)


@pytest.mark.parametrize("name", ["3d", "two axes", "slices", "packages"])
def test_a_whole_pixel_translation_of_all_shots_is_a_roll(name):
    shape, acquisition = planned(name)
    image = torch.rand(2, *shape, dtype=torch.float64)
    shift = [pixels * mm for pixels, mm in zip((2, -3, 1), SPACING, strict=True)]
    shots = acquisition.num_shots
    moved = simulate_motion(image, poses([shift] * shots, [[0.0] * 3] * shots), acquisition, SPACING)
    torch.testing.assert_close(moved.real, image.roll((2, -3, 1), (1, 2, 3)))


@pytest.mark.parametrize("dims", [2, 3])
def test_one_pose_for_all_shots_is_the_moved_object(dims):
    shape = (48, 45, 44)[:dims]
    angle = [8.0] if dims == 2 else [4.0, -6.0, 8.0]
    shift = [1.3, -2.6, 0.7][:dims]
    moved = move_image(gaussian(shape, [0.0] * len(angle)), poses([shift], [angle]), [1.0] * dims)
    torch.testing.assert_close(moved, gaussian(shape, angle, shift), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["3d", "two axes", "slices", "packages"])
def test_the_phase_encode_axis_does_not_matter_to_an_object_that_is_held(name):
    shape, held = (48, 45, 44), ([[1.3, -0.6, 0.7]], [[4.0, -3.0, 2.0]])
    _, axes, slice_axis, packages = ACQUISITIONS[name]
    acquisition = plan_acquisition(shape, 2, "interleaved", axes, slice_axis, packages)
    image, shots = gaussian(shape, [0.0] * 3), acquisition.num_shots
    moved = simulate_motion(image, poses(*(rows * shots for rows in held)), acquisition, (1, 1, 1))
    torch.testing.assert_close(magnitude(moved), move_image(image, poses(*held), (1, 1, 1)), atol=1e-5, rtol=0)


@pytest.mark.parametrize("line_order", LINE_ORDERS)
@pytest.mark.parametrize("name", ["2d", "3d", "two axes"])
def test_motion_in_one_shot_changes_only_its_lines(name, line_order):
    shape, acquisition = planned(name, 4, line_order)
    dims, axes = len(shape), tuple(range(len(shape)))
    image = torch.rand(shape, dtype=torch.float64)
    still, moving = [0.0] * dims, [1.4, -0.6, 0.4][:dims]
    angles = [[0.0] * (1 if dims == 2 else 3)] * 4
    angles[2] = [5.0] * len(angles[0])
    one = poses([still, still, moving, still], angles)
    moved = simulate_motion(image, one, acquisition, SPACING[:dims])
    change = (to_kspace(moved, axes) - to_kspace(image, axes)).abs()
    lead = acquisition.encoded_axes
    change = change.movedim(lead, tuple(range(len(lead)))).flatten(len(lead)).amax(-1)
    assert change[acquisition.shot_of_line != 2].max() < 1e-12
    assert change[acquisition.shot_of_line == 2].min() > 1e-3


@pytest.mark.parametrize("line_order", LINE_ORDERS)
@pytest.mark.parametrize("name", ACQUISITIONS)
def test_the_acquisition_is_the_sum_of_every_shots_masked_kspace(name, line_order):
    shape, acquisition = planned(name, 3, line_order)
    image, moving = torch.rand(shape, dtype=torch.float64), drawn(acquisition.num_shots, len(shape))
    got = simulate_motion(image, moving, acquisition, SPACING[: len(shape)])
    wanted = full_kspace_loop(image, moving, acquisition, SPACING[: len(shape)])
    torch.testing.assert_close(got, wanted)
    assert (got - image).abs().max() > 0.05


def test_every_slice_is_the_2d_acquisition_of_its_own_slice_of_the_moved_volume():
    shape = (48, 45, 44)
    acquisition = plan_acquisition(shape, 4, "linear", (0,), slice_axis=2, num_packages=2)
    image, moving = gaussian(shape, [0.0] * 3), drawn(8, 3, factor=1.5)
    got = simulate_motion(image, moving, acquisition, (1, 1, 1))
    held = [RigidTrajectory(*(part[shot : shot + 1] for part in moving)) for shot in range(8)]
    moved = [simulate_motion(image, pose, line(shape, 1), (1, 1, 1)) for pose in held]
    for number in (21, 24):
        lines = torch.zeros(48, 45, dtype=got.dtype)
        for shot in range(4):
            mine = slice(12 * shot, 12 * shot + 12)
            lines[mine] = to_kspace(moved[4 * (number % 2) + shot][..., number], (0, 1))[mine]
        torch.testing.assert_close(got[..., number], to_image(lines, (0, 1)), atol=1e-6, rtol=0)


@pytest.mark.parametrize(("cycles", "lines"), [(12, 64), (7, 60)])
def test_periodic_motion_puts_the_ghosts_at_field_of_view_times_cycles_per_acquisition(cycles, lines):
    image = torch.zeros(lines, 16, dtype=torch.float64)
    image[lines // 2] = 1.0
    sway = 0.3 * torch.sin(2 * torch.pi * cycles * torch.arange(lines).double() / lines)
    along = RigidTrajectory(torch.stack([sway, torch.zeros(lines)], 1), torch.zeros(lines, 1))
    # One line a shot in the order of k-space: c cycles over N lines of 1 / N modulate k with a period of 1 / c.
    moved = simulate_motion(image, along, line(image.shape, lines), (1, 1))
    profile = moved.abs()[:, 8]
    profile[lines // 2] = 0
    ghosts = sorted((profile.topk(4).indices - lines // 2).abs().tolist())
    # The phase of line k grows with k: the ghost is the derivative of the object, on both sides of its place.
    assert all(abs(ghost - cycles) <= 1 for ghost in ghosts)


@pytest.mark.parametrize("name", ACQUISITIONS)
def test_float32_agrees_with_float64_and_the_batch_with_the_loop(name):
    shape, acquisition = planned(name)
    image, moving = torch.rand(3, *shape, dtype=torch.float64), drawn(acquisition.num_shots, len(shape))
    spacing = SPACING[: len(shape)]
    wide = simulate_motion(image, moving, acquisition, spacing)
    narrow = simulate_motion(image.float(), moving, acquisition, spacing)
    assert narrow.dtype == torch.complex64
    torch.testing.assert_close(narrow.to(torch.complex128), wide, atol=1e-5, rtol=0)
    loop = torch.stack([simulate_motion(one, moving, acquisition, spacing) for one in image])
    torch.testing.assert_close(wide, loop)


@pytest.mark.parametrize("name", ACQUISITIONS)
def test_the_model_is_linear_and_its_adjoint_passes_the_dot_product_test(name):
    shape, acquisition = planned(name)
    generator = torch.Generator().manual_seed(0)
    moving, spacing = drawn(acquisition.num_shots, len(shape)), SPACING[: len(shape)]
    x, y, z = torch.randn(3, 2, *shape, dtype=torch.complex128, generator=generator)

    def acquire(image):
        return simulate_motion(image, moving, acquisition, spacing)

    torch.testing.assert_close(acquire(x + (2 - 3j) * z), acquire(x) + (2 - 3j) * acquire(z))
    real = acquire(x.real) + 1j * acquire(x.imag)
    torch.testing.assert_close(acquire(x), real)
    acquired = acquire(x.requires_grad_())
    (adjoint,) = torch.autograd.grad(acquired, x, y)
    # <A x, y> = <x, A^H y>, with A^H y from autograd.
    torch.testing.assert_close(torch.vdot(acquired.flatten(), y.flatten()), torch.vdot(x.flatten(), adjoint.flatten()))


@pytest.mark.parametrize("name", ACQUISITIONS)
def test_gradients_reach_image_and_trajectory(name):
    shape, axes, slice_axis, packages = ACQUISITIONS[name]
    dims = len(shape)
    shape = (5, 4, 4)[:dims]
    acquisition = plan_acquisition(shape, 2, "linear", axes, slice_axis, min(packages, 2))
    image = torch.rand(1, *shape, dtype=torch.float64, requires_grad=True)
    translation, rotation = (part.clone().requires_grad_() for part in drawn(acquisition.num_shots, dims))

    def acquire(image, translation, rotation):
        moved = simulate_motion(image, RigidTrajectory(translation, rotation), acquisition, [1.0] * dims)
        return torch.view_as_real(moved)

    # The fast mode compares along random directions.
    assert torch.autograd.gradcheck(acquire, (image, translation, rotation), fast_mode=dims == 3)
    # At rest too: the way out of the identity must not be cut off.
    still = torch.zeros_like(rotation, requires_grad=True)
    assert torch.autograd.gradcheck(acquire, (image, torch.zeros_like(translation), still), fast_mode=dims == 3)


@pytest.mark.parametrize("line_order", LINE_ORDERS)
def test_echoes_are_weighted_relative_to_the_centre_of_kspace(line_order):
    shape, acquisition = planned("3d", 3, line_order)
    image, moving = torch.rand(shape, dtype=torch.float64), drawn(3, 3)
    decay = t2_decay(acquisition.num_echoes, 8.0, 60.0)
    plain, weighted = (simulate_motion(image, moving, acquisition, SPACING, echo_weights=w) for w in (None, decay))
    ratio = (to_kspace(weighted, (0, 1, 2)) / to_kspace(plain, (0, 1, 2))).movedim(1, 0)
    echo = acquisition.echo_of_line
    wanted = torch.exp(-8.0 / 60.0 * (echo - echo[len(echo) // 2]).double())
    torch.testing.assert_close(ratio, wanted[:, None, None].expand_as(ratio).to(ratio))


@pytest.mark.parametrize("name", ["2d", "3d", "two axes", "packages"])
def test_a_deformation_is_acquired_shot_by_shot(name):
    shape, acquisition = planned(name, 3, "interleaved")
    dims, shots = len(shape), acquisition.num_shots
    motion = sample_deformation("breathing", shots, dims, np.random.RandomState(0))
    image = torch.rand(1, *shape, dtype=torch.float64)
    transformed = [axis - dims for axis in range(dims) if axis != acquisition.slice_axis]
    moved = to_kspace(deform(image, motion, torch.arange(shots), SPACING[:dims]), transformed)
    # The encoded axes first, as views: what is written there is written into ``wanted``.
    lead, front = [axis - dims for axis in acquisition.encoded_axes], range(len(acquisition.encoded_axes))
    wanted = torch.zeros_like(moved[0])
    for shot in range(shots):
        mask = acquisition.shot_of_line == shot
        wanted.movedim(lead, list(front))[mask] = moved[shot].movedim(lead, list(front))[mask]
    got = simulate_motion(image, motion, acquisition, SPACING[:dims])
    torch.testing.assert_close(got, to_image(wanted, transformed))
    still = motion._replace(amplitude_mm=torch.zeros_like(motion.amplitude_mm))
    assert torch.equal(simulate_motion(image, still, acquisition, SPACING[:dims]), image.to(torch.complex128))


def test_errors_name_argument_value_and_remedy():
    image, acquisition, moving = torch.rand(1, 8, 8), line((8, 8), 2), drawn(2, 2)
    with pytest.raises(TypeError, match=r"dtype torch\.int64"):
        simulate_motion(image.long(), moving, acquisition, (1, 1))
    with pytest.raises(ValueError, match="phase_encode_axes: got 2"):
        simulate_motion(image, moving, acquisition._replace(phase_encode_axes=(2,)), (1, 1))
    with pytest.raises(ValueError, match=r"acquisition\.shot_of_line: got shape \(8,\)"):
        simulate_motion(torch.rand(9, 8), moving, acquisition, (1, 1))
    with pytest.raises(ValueError, match=r"image: got shape \(8,\)"):
        simulate_motion(torch.rand(8), moving, acquisition, (1, 1))
    with pytest.raises(ValueError, match="spacing_mm: got"):
        simulate_motion(image, moving, acquisition, (1, 0))
    with pytest.raises(ValueError, match="got 3 rows for 2 shots"):
        simulate_motion(image, drawn(3, 2), acquisition, (1, 1))
    with pytest.raises(ValueError, match="got nan in shot 1, column 0"):
        simulate_motion(image, poses([[0.0, 0.0], [float("nan"), 0.0]], [[0.0], [0.0]]), acquisition, (1, 1))
    with pytest.raises(ValueError, match=r"rotation_deg: got shape \(2, 3\)"):
        simulate_motion(image, poses([[0.0, 0.0]] * 2, [[0.0] * 3] * 2), acquisition, (1, 1))
    with pytest.raises(ValueError, match=r"echo_weights: got shape \(3,\)"):
        simulate_motion(image, moving, acquisition, (1, 1), echo_weights=torch.ones(3))
    with pytest.raises(ValueError, match="zero at the echo of the centre"):
        simulate_motion(image, moving, acquisition, (1, 1), echo_weights=torch.tensor([0.0, 1.0, 1.0, 1.0]))
