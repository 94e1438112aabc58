"""What is drawn can be done, whatever the family, the seed and the options."""

from __future__ import annotations

import pytest
import torch

from mocodis_monai.data.records import phantom_records
from mocodis_monai.transforms import LoadSourced, OutOfReachError, RandKSpaceMotion, RandKSpaceMotiond


def blob(*shape: int) -> torch.Tensor:
    """A bright ellipse beside the centre, (1, *shape)."""
    grids = torch.meshgrid(*(torch.linspace(-1, 1, size) for size in shape), indexing="ij")
    return (sum((grid - 0.2) ** 2 for grid in grids) < 0.3).float()[None]


@pytest.mark.parametrize("family", ["breathing", "cardiac", "peristalsis"])
def test_a_centred_deformation_is_drawn_from_any_seed(family):
    image = LoadSourced("image")(phantom_records(1, 7, ("abdomen",), (64, 64))[0])["image"]
    draw = RandKSpaceMotion(1.0, families=family, displacement_mm=(0.02, 3.0), centred=True)
    for seed in range(20):
        draw.set_random_state(seed).randomize(image)
        assert draw.drawn is not None


def test_a_score_that_would_take_a_somersault_is_out_of_reach():
    draw = RandKSpaceMotion(
        1.0, families=("nod", "sudden", "swallow"), displacement_mm=(8, 12), num_shots=(2, 4), line_orders="centric"
    )
    drawn = 0
    for seed in range(30):
        try:
            draw.set_random_state(seed).randomize(blob(48, 40))
        except OutOfReachError:
            continue
        assert draw.drawn.motion.rotation_deg.abs().sum(1).max() <= 90
        drawn += 1
    assert drawn > 5


@pytest.mark.parametrize("prob", [-0.1, 2, "target", float("nan")])
def test_a_probability_that_is_none_is_refused(prob):
    with pytest.raises(ValueError, match=r"prob: got .*allowed is 0 to 1"):
        RandKSpaceMotiond("image", prob)


def test_the_probability_comes_second_as_in_monai():
    moved = RandKSpaceMotiond("image", 1.0).set_random_state(0)({"image": blob(24, 20)})
    assert set(moved) == {"image"} and not torch.equal(moved["image"], blob(24, 20))
