"""Which sample is acquired when."""

import numpy as np
import pytest
import torch

from mocodis_monai.motion import LINE_ORDERS, plan_acquisition, t2_decay

SHAPE = (12, 9, 7)


def plan(num_shots, line_order, axes, slice_axis=None, num_packages=1, seed=0):
    rng = np.random.RandomState(seed)
    return plan_acquisition(SHAPE, num_shots, line_order, axes, slice_axis, num_packages, rng)


@pytest.mark.parametrize("line_order", LINE_ORDERS)
@pytest.mark.parametrize(("axes", "slice_axis"), [((0,), None), ((2, 1), None), ((1,), 0)])
@pytest.mark.parametrize("num_shots", [1, 2, 5, 7])
def test_shots_share_the_samples_evenly_and_their_echoes_count_up(line_order, axes, slice_axis, num_shots):
    acquisition = plan(num_shots, line_order, axes, slice_axis)
    assert acquisition.shot_of_line.shape == tuple(SHAPE[axis] for axis in acquisition.encoded_axes)
    shot, echo = acquisition.shot_of_line, acquisition.echo_of_line
    if slice_axis is not None:
        assert (shot == shot[:, :1]).all() and (echo == echo[:, :1]).all()
        shot, echo = shot[:, 0], echo[:, 0]
    trains = [echo[shot == number].sort().values for number in range(num_shots)]
    lengths = [len(train) for train in trains]
    assert acquisition.num_shots == num_shots and max(lengths) - min(lengths) <= 1
    assert acquisition.num_echoes == max(lengths)
    assert all(torch.equal(train, torch.arange(len(train))) for train in trains)


def test_the_orders_of_one_axis_are_those_of_their_definition():
    assert plan(3, "linear", (0,)).shot_of_line.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    interleaved = plan(5, "interleaved", (0,))
    assert interleaved.shot_of_line.tolist() == [line % 5 for line in range(12)]
    assert interleaved.echo_of_line.tolist() == [line // 5 for line in range(12)]
    centric = plan(3, "centric", (0,))
    # Line 6 is k = 0: acquired are k = 0, -1, 1, -2, then 2, -3, 3, -4, then 4, -5, 5, -6.
    assert centric.shot_of_line.tolist() == [2, 2, 1, 1, 0, 0, 0, 0, 1, 1, 2, 2]
    assert centric.echo_of_line.tolist() == [3, 1, 3, 1, 3, 1, 0, 2, 0, 2, 0, 2]


@pytest.mark.parametrize("line_order", LINE_ORDERS)
def test_with_an_echo_train_each_echo_has_a_band_of_kspace_and_each_shot_one_line_of_it(line_order):
    rng = np.random.RandomState(3)
    found = plan_acquisition((26, 9), 4, line_order, (0,), rng=rng, echo_bands=True)
    lines = torch.arange(26)
    place = (lines - 13).abs() if line_order == "centric" else lines
    for echo in range(6):
        assert place[found.echo_of_line == echo].max() <= place[found.echo_of_line == echo + 1].min()
        assert sorted(found.shot_of_line[found.echo_of_line == echo].tolist()) == list(range(4))
    assert (found.shot_of_line == lines % 4).all() == (line_order in ("linear", "interleaved"))


def test_a_random_order_is_its_seed():
    first, again, other = (plan(4, "random", (0,), seed=seed).shot_of_line for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_in_the_plane_of_two_axes_linear_is_a_raster_and_centric_grows_from_the_centre():
    linear = plan(12, "linear", (0, 1)).shot_of_line
    assert torch.equal(linear, torch.arange(12)[:, None].expand(12, 9))
    assert torch.equal(plan(12, "linear", (1, 0)).shot_of_line.flatten(), torch.arange(108) * 12 // 108)
    centric = plan(6, "centric", (0, 1)).shot_of_line
    radius = torch.hypot((torch.arange(12.0)[:, None] - 6) / 12, (torch.arange(9.0) - 4) / 9)
    assert centric[6, 4] == 0
    for shot in range(5):
        assert radius[centric == shot].max() <= radius[centric == shot + 1].min() + 1e-6


def test_packages_of_slices_follow_each_other():
    acquisition = plan(3, "linear", (0,), slice_axis=2, num_packages=2)
    assert acquisition.num_shots == 6
    for number in range(7):
        wanted = plan(3, "linear", (0,)).shot_of_line + 3 * (number % 2)
        assert torch.equal(acquisition.shot_of_line[:, number], wanted)
    one_by_one = plan(3, "linear", (0,), slice_axis=2, num_packages=7).shot_of_line
    assert torch.equal(one_by_one // 3, torch.arange(7).expand(12, 7))


def test_t2_decay_is_exponential():
    decay = t2_decay(5, 10.0, 80.0)
    torch.testing.assert_close(decay, torch.exp(-torch.tensor([0.0, 10, 20, 30, 40]).double() / 80))
    with pytest.raises(ValueError, match="t2_ms: got 0"):
        t2_decay(5, 10.0, 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_shots": 13}, "num_shots: got 13 for 12"),
        ({"num_shots": 0}, "num_shots: got 0"),
        ({"line_order": "spiral"}, "line_order: got 'spiral'"),
        ({"line_order": "random"}, "rng: got None"),
        ({"phase_encode_axes": (3,)}, "phase_encode_axes: got 3"),
        ({"phase_encode_axes": (-1,)}, "phase_encode_axes: got -1"),
        ({"phase_encode_axes": ()}, r"phase_encode_axes: got \(\)"),
        ({"phase_encode_axes": (0, 1, 2)}, r"phase_encode_axes: got \(0, 1, 2\)"),
        ({"phase_encode_axes": (1, 1)}, "different axes"),
        ({"slice_axis": 0}, "different axes"),
        ({"slice_axis": 3}, "slice_axis: got 3"),
        ({"slice_axis": 2, "phase_encode_axes": (0, 1)}, "slice_axis: got 2"),
        ({"slice_axis": 2, "num_packages": 8}, "num_packages: got 8 for 7 slices"),
        ({"num_packages": 2}, "num_packages: got 2 for 1 slices"),
        ({"shape": (12, 9), "phase_encode_axes": (0, 1)}, "Leave one axis for the readout"),
    ],
)
def test_errors_name_argument_value_and_remedy(change, message):
    arguments = {"shape": SHAPE, "num_shots": 3, "line_order": "linear", "phase_encode_axes": (0,)} | change
    with pytest.raises(ValueError, match=message):
        plan_acquisition(**arguments)
