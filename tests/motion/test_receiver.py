"""The receiver stands still while the object moves."""

import math

import numpy as np
import pytest
import torch
from closed_forms import drawn, gaussian

from mocodis_monai.motion import (
    Receiver,
    RigidTrajectory,
    coil_maps,
    combine,
    plan_acquisition,
    random_phase,
    simulate_motion,
    to_image,
    to_kspace,
)

SHAPE, SPACING = (14, 11), (1.0, 1.2)


def full_receiver(noise_std=0.0):
    return Receiver(random_phase(SHAPE, np.random.RandomState(0), 1.5), coil_maps(3, SHAPE), noise_std)


@pytest.mark.parametrize("line_order", ["linear", "centric"])
@pytest.mark.parametrize("complex_image", [False, True])
def test_coils_and_phase_stand_still_while_the_object_moves(line_order, complex_image):
    image = torch.rand(2, *SHAPE, dtype=torch.float64)
    image = image * torch.exp(1j * image) if complex_image else image
    acquisition, moving = plan_acquisition(SHAPE, 4, line_order, (1,)), drawn(4, 2)
    receiver = full_receiver()
    got = simulate_motion(image, moving, acquisition, SPACING, receiver)
    assert got.shape == (3, 2, *SHAPE)
    for coil in range(3):
        kspace = torch.zeros(2, *SHAPE, dtype=torch.complex128)
        for shot in range(4):
            held = RigidTrajectory(*(part[shot : shot + 1] for part in moving))
            moved = simulate_motion(image, held, plan_acquisition(SHAPE, 1, "linear", (0,)), SPACING)
            seen = moved * torch.exp(1j * receiver.phase_rad) * receiver.coil_maps[coil]
            lines = acquisition.shot_of_line == shot
            kspace[..., lines] = to_kspace(seen, (-2, -1))[..., lines]
        torch.testing.assert_close(got[coil], to_image(kspace, (-2, -1)))


@pytest.mark.parametrize(
    "plan",
    [{"phase_encode_axes": (0,)}, {"phase_encode_axes": (0, 1)}, {"phase_encode_axes": (0,), "slice_axis": 1}],
)
def test_a_receiver_that_changes_nothing_gives_what_no_receiver_gives(plan):
    shape = (12, 10, 9)
    image, moving = torch.rand(shape, dtype=torch.float64), drawn(3, 3)
    acquisition = plan_acquisition(shape, 3, "interleaved", **plan)
    flat = Receiver(torch.zeros(shape), torch.ones(1, *shape, dtype=torch.complex64))
    bare = simulate_motion(image, moving, acquisition, (1, 1, 1))
    torch.testing.assert_close(simulate_motion(image, moving, acquisition, (1, 1, 1), flat)[0], bare)


def test_without_motion_the_object_comes_back_from_phase_coils_and_their_combination():
    image = torch.rand(2, *SHAPE, dtype=torch.float64)
    still = RigidTrajectory(torch.zeros(3, 2), torch.zeros(3, 1))
    receiver = full_receiver()
    coils = simulate_motion(image, still, plan_acquisition(SHAPE, 3, "linear", (0,)), SPACING, receiver)
    torch.testing.assert_close(combine(coils), image)
    wanted = image * torch.exp(1j * receiver.phase_rad)
    torch.testing.assert_close(combine(coils, receiver.coil_maps), wanted)


def test_a_phase_changes_the_ghosts_of_a_moving_object():
    # The reason for it: with a phase the spectrum is not Hermitian, and lines k and -k differ.
    image, moving = gaussian((32, 32), [0.0]), drawn(4, 2, factor=4.0)
    acquisition = plan_acquisition((32, 32), 4, "linear", (0,))
    phase = random_phase((32, 32), np.random.RandomState(1), 2.0)
    bare, phased = (
        simulate_motion(image, moving, acquisition, (1, 1), receiver).abs()
        for receiver in (None, Receiver(phase_rad=phase))
    )
    assert (bare - phased).abs().max() > 0.02


@pytest.mark.parametrize("coils", [0, 4])
def test_noise_has_the_standard_deviation_asked_for_and_is_white(coils):
    shape = (64, 64)
    image, moving = torch.zeros(16, *shape), drawn(4, 2)
    receiver = Receiver(coil_maps=coil_maps(coils, shape) if coils else None, noise_std=0.3)
    acquisition = plan_acquisition(shape, 4, "linear", (0,))
    # The noise is not weighted: it is added to what the coil receives.
    echo_weights = torch.linspace(2, 1, acquisition.num_echoes)
    noise = simulate_motion(
        image, moving, acquisition, (1, 1), receiver, echo_weights, torch.Generator().manual_seed(0)
    )
    # Within five standard errors of an estimate from n samples: 5 / sqrt(2 n).
    bound = 5 / math.sqrt(2 * noise.numel())
    for part in (noise.real, noise.imag):
        assert part.std().item() == pytest.approx(0.3, rel=bound)
    assert abs((noise.real * noise.imag).mean().item()) < 0.09 * bound * 2
    power = to_kspace(noise, (-2, -1)).abs().square().flatten(0, -3).mean(0).mean(1)
    torch.testing.assert_close(power, torch.full_like(power, 2 * 0.09), rtol=0.25, atol=0)


def test_noise_is_its_generator_and_leaves_the_global_one_alone():
    image, moving = torch.rand(SHAPE), drawn(2, 2)
    acquired = (image, moving, plan_acquisition(SHAPE, 2, "linear", (0,)), SPACING, Receiver(noise_std=1.0))
    before = torch.get_rng_state()
    first, again, other = (
        simulate_motion(*acquired, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_gradients_pass_through_the_receiver():
    shape = (5, 4)
    image = torch.rand(shape, dtype=torch.float64, requires_grad=True)
    translation, rotation = (part.clone().requires_grad_() for part in drawn(2, 2))
    receiver = Receiver(random_phase(shape, np.random.RandomState(0), 1.0), coil_maps(2, shape))
    acquisition = plan_acquisition(shape, 2, "linear", (0,))

    def acquire(image, translation, rotation):
        return combine(simulate_motion(image, RigidTrajectory(translation, rotation), acquisition, (1, 1), receiver))

    assert torch.autograd.gradcheck(acquire, (image, translation, rotation))


@pytest.mark.parametrize("shape", [(40, 30), (20, 18, 16)])
@pytest.mark.parametrize("num_coils", [1, 2, 8])
def test_coil_maps_are_normalised_smooth_and_each_strongest_at_its_own_side(shape, num_coils):
    maps = coil_maps(num_coils, shape)
    torch.testing.assert_close(maps.abs().square().sum(0), torch.ones(shape, dtype=torch.float64))
    for axis in range(1, 1 + len(shape)):
        assert maps.diff(dim=axis).abs().max() < 4 / min(shape)
    if num_coils == 8:
        # Coil 0 lies beyond the end of the first axis, coil 4 opposite.
        assert maps[0, -1].abs().mean() > 2 * maps[0, 0].abs().mean()
        assert maps[4, 0].abs().mean() > 2 * maps[4, -1].abs().mean()


@pytest.mark.parametrize("shape", [(40, 30), (20, 18, 16)])
def test_the_random_phase_is_smooth_reaches_its_bound_and_has_mean_zero(shape):
    phase = random_phase(shape, np.random.RandomState(3), 2.0)
    assert phase.shape == shape and phase.abs().max().item() == pytest.approx(2.0)
    assert abs(phase.mean().item()) < 1e-12
    # Two half-cosines over the field of view at most: per pixel the phase cannot change faster than that.
    assert max(phase.diff(dim=axis).abs().max() * shape[axis] for axis in range(len(shape))) < 2 * math.pi * 4
    assert torch.equal(phase, random_phase(shape, np.random.RandomState(3), 2.0))
    assert not random_phase(shape, np.random.RandomState(3), 0.0).any()


def test_errors_name_argument_value_and_remedy():
    image, moving, acquisition = torch.rand(SHAPE), drawn(2, 2), plan_acquisition(SHAPE, 2, "linear", (0,))

    def acquire(**parts):
        return simulate_motion(image, moving, acquisition, SPACING, Receiver(**parts))

    with pytest.raises(ValueError, match=r"phase_rad: got shape \(14, 12\)"):
        acquire(phase_rad=torch.zeros(14, 12))
    with pytest.raises(ValueError, match=r"coil_maps: got shape \(3, 14, 12\)"):
        acquire(coil_maps=coil_maps(3, (14, 12)))
    with pytest.raises(ValueError, match=r"coil_maps: got shape .* torch\.float32"):
        acquire(coil_maps=torch.ones(3, *SHAPE))
    with pytest.raises(ValueError, match="noise_std: got -1"):
        acquire(noise_std=-1.0)
    with pytest.raises(ValueError, match="num_coils: got 0"):
        coil_maps(0, SHAPE)
    with pytest.raises(ValueError, match="max_rad: got nan"):
        random_phase(SHAPE, np.random.RandomState(0), math.nan)
    with pytest.raises(ValueError, match="coil_maps: got 2 maps for 3 coil images"):
        combine(torch.ones(3, *SHAPE, dtype=torch.complex64), coil_maps(2, SHAPE))
