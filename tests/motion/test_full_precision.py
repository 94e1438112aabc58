"""Under autocast the physics is what it is without."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mocodis_monai.motion import (
    RigidTrajectory,
    coregistered_target,
    deform,
    magnitude,
    plan_acquisition,
    sample_deformation,
    simulate_motion,
)
from mocodis_monai.motion.full_precision import at_full_precision
from mocodis_monai.transforms import KSpaceMotion, RandKSpaceMotion, RandKSpaceMotiond

SHAPE, SPACING_MM = (40, 36), (1.0, 1.0)
IMAGE = torch.rand(1, *SHAPE, generator=torch.Generator().manual_seed(0))
TRAJECTORY = RigidTrajectory(torch.tensor([[0.0, 0.0], [1.5, -2.0]]), torch.tensor([[0.0], [4.0]]))


def acquired() -> torch.Tensor:
    acquisition = plan_acquisition(SHAPE, 2, "linear", (0,))
    return magnitude(simulate_motion(IMAGE, TRAJECTORY, acquisition, SPACING_MM))


def target() -> torch.Tensor:
    acquisition = plan_acquisition(SHAPE, 2, "linear", (0,))
    moved = magnitude(simulate_motion(IMAGE, TRAJECTORY, acquisition, SPACING_MM))
    return coregistered_target(IMAGE, moved, TRAJECTORY, acquisition, SPACING_MM).image


def replayed() -> torch.Tensor:
    return KSpaceMotion(TRAJECTORY, 0, spacing_mm=SPACING_MM)(IMAGE)


def deformed() -> torch.Tensor:
    deformation = sample_deformation("breathing", 2, 2, np.random.RandomState(0))
    return deform(IMAGE, deformation, torch.arange(2), SPACING_MM)


def drawn(family: str) -> torch.Tensor:
    motion = RandKSpaceMotion(1.0, family, 0.5, spacing_mm=SPACING_MM, orientation="PL").set_random_state(0)
    return motion.simulate(IMAGE, with_target=True).target


def drawn_for_a_dictionary() -> torch.Tensor:
    move = RandKSpaceMotiond("image", prob=1.0, families="nod", spacing_mm=SPACING_MM, centred=True)
    return move.set_random_state(0)({"image": IMAGE})["image"].as_tensor()


@pytest.mark.parametrize(
    "work",
    [acquired, target, deformed, replayed, lambda: drawn("nod"), lambda: drawn("breathing"), drawn_for_a_dictionary],
    ids=["simulate", "target", "deform", "transform", "drawn", "drawn, non-rigid", "dictionary"],
)
def test_the_result_under_autocast_is_the_one_without(work):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.is_autocast_enabled("cpu")
        under = work()
    assert under.dtype == torch.float32 and torch.equal(under, work())


def test_autocast_is_off_inside_and_on_again_outside():
    states = []

    @at_full_precision
    def look() -> str:
        """What it says of itself stays."""
        states.append(torch.is_autocast_enabled("cpu"))
        return "seen"

    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert look() == "seen" and look.__doc__ == "What it says of itself stays."
        assert torch.is_autocast_enabled("cpu")
    assert states == [False]
