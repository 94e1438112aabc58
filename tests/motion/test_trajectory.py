"""Poses: the rotation they stand for, and what is refused."""

import math

import numpy as np
import pytest
import torch
from closed_forms import poses

from mocodis_monai.motion.trajectory import check_trajectory, rotation_angles_deg, rotation_matrices


def test_rotation_matrices_are_rotations_in_the_order_0_1_2():
    angles = torch.tensor([[20.0, -35.0, 50.0]], dtype=torch.float64)
    matrix = rotation_matrices(angles)[0]
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(3, dtype=torch.float64))
    assert torch.linalg.det(matrix).item() == pytest.approx(1)
    point = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    for axis in range(3):
        source, target = (axis + 1) % 3, (axis + 2) % 3
        t = math.radians(angles[0, axis].item())
        a, b = point[source].item(), point[target].item()
        point[source], point[target] = a * math.cos(t) - b * math.sin(t), a * math.sin(t) + b * math.cos(t)
    torch.testing.assert_close(matrix @ torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64), point)


@pytest.mark.parametrize("columns", [1, 3])
def test_the_angles_of_a_rotation_are_read_off_its_matrix(columns):
    angles = torch.from_numpy(np.random.default_rng(0).uniform(-80, 80, (50, columns)))
    torch.testing.assert_close(rotation_angles_deg(rotation_matrices(angles)), angles)


def test_a_positive_angle_turns_the_first_axis_toward_the_second():
    turned = rotation_matrices(torch.tensor([[90.0]], dtype=torch.float64))[0] @ torch.tensor([1.0, 0.0]).double()
    torch.testing.assert_close(turned, torch.tensor([0.0, 1.0]).double())


def test_scaling_to_zero_is_no_motion():
    moving = poses([[1.0, -2.0], [0.5, 0.0]], [[3.0], [0.0]])
    assert not moving.is_still
    assert moving.scaled(0.0).is_still
    assert torch.equal(moving.scaled(2.0).rotation_deg, 2 * moving.rotation_deg)


@pytest.mark.parametrize(
    ("translation", "rotation", "message"),
    [
        ([[0.0] * 4], [[0.0]], r"translation_mm: got shape \(1, 4\)"),
        ([[0.0, 0.0]], [[0.0] * 3], r"rotation_deg: got shape \(1, 3\); allowed is \(1, 1\)"),
        ([[0.0, 0.0]], [[0.0]] * 2, r"rotation_deg: got shape \(2, 1\)"),
        ([[0.0, 0.0], [0.0, math.inf]], [[0.0]] * 2, "got inf in shot 1, column 1"),
        ([[0.0] * 3], [[60.0, -40.0, 0.0]], r"add up to 100\.0 degrees"),
    ],
)
def test_a_bad_trajectory_is_refused_with_place_and_value(translation, rotation, message):
    with pytest.raises(ValueError, match=message):
        check_trajectory(poses(translation, rotation))
