"""What makes each family of rigid motion the one it is, on many draws."""

import numpy as np
import pytest
import torch

from mocodis_monai.motion import (
    FAMILIES,
    NON_RIGID_FAMILIES,
    RIGID_FAMILIES,
    BodyAxes,
    sample_deformation,
    sample_motion,
    sample_trajectory,
)
from mocodis_monai.motion.severity import HEAD_RADIUS_MM

DRAWS = 40


def draws(family, num_shots, dims):
    """``(shots, degrees of freedom)`` of many trajectories, angles in mm of the head's surface."""
    for seed in range(DRAWS):
        translation, rotation = sample_trajectory(family, num_shots, dims, np.random.RandomState(seed))
        yield torch.cat([translation, torch.deg2rad(rotation) * HEAD_RADIUS_MM], 1)


def roughness(poses):
    """Von Neumann's ratio: near 0 for a smooth course, 2 for white noise, up to 4 for one that alternates."""
    return (poses.diff(dim=0).square().sum() / (poses - poses.mean(0)).square().sum()).item()


@pytest.mark.parametrize(
    ("family", "dims", "translation_mm", "rotation_deg"),
    [
        ("sudden", 2, [-0.4845651322211443, -2.653318559261479], [0.3071180390527611]),
        (
            "sudden",
            3,
            [-0.4845651322211443, -2.653318559261479, -0.00828462937293584],
            [-0.7953648564476934, 0.15305294796669122, 0.876594844458978],
        ),
        ("drift", 2, [1.3266592796307395, 0.004142314686467884], [0.2054790099139524]),
        (
            "drift",
            3,
            [0.26831468111736506, -0.15770133421284852, -0.21052535812773918],
            [2.4355037314821, -0.6209443049028209, -0.3633038841176575],
        ),
        ("breathing_rigid", 2, [0.029588600202352454, 0.29595779070768463], [-0.0007206367800656548]),
        (
            "breathing_rigid",
            3,
            [0.028873413910903426, 0.28880419258833706, -0.06499971888428963],
            [-0.0007804375856146372, 0.001598669271531905, -0.001078217688325704],
        ),
    ],
)
def test_samples_drawn_with_earlier_versions_stay_what_they_were(family, dims, translation_mm, rotation_deg):
    drawn = sample_trajectory(family, 9, dims, np.random.RandomState(11))
    assert drawn.translation_mm[4].tolist() == pytest.approx(translation_mm, abs=1e-12)
    assert drawn.rotation_deg[8].tolist() == pytest.approx(rotation_deg, abs=1e-12)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dims", [2, 3])
def test_a_seed_is_a_motion_and_no_other_generator_is_touched(family, dims):
    before = np.random.get_state()[1].copy()  # noqa: NPY002

    def draw(seed):
        return sample_motion(family, 12, dims, np.random.RandomState(seed))

    assert torch.equal(draw(3)[0], draw(3)[0])
    assert draw(3)[1] == draw(3)[1] if family in NON_RIGID_FAMILIES else torch.equal(draw(3)[1], draw(3)[1])
    assert not torch.equal(draw(3)[0], draw(4)[0][:, : draw(3)[0].shape[1]])
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("num_shots", [2, 3, 40])
def test_every_draw_moves_and_is_of_order_one(family, dims, num_shots):
    for seed in range(DRAWS):
        moved = sample_motion(family, num_shots, dims, np.random.RandomState(seed))
        values = torch.cat([moved[0]] if family in NON_RIGID_FAMILIES else list(moved), 1)
        assert values.dtype == torch.float64
        assert torch.isfinite(values).all()
        assert 1e-4 < (values - values.mean(0)).abs().max() < 20


@pytest.mark.parametrize("dims", [2, 3])
def test_tremor_is_rough_in_time_and_drift_is_smooth(dims):
    tremor = [roughness(poses) for poses in draws("tremor", 24, dims)]
    drift = [roughness(poses) for poses in draws("drift", 24, dims)]
    assert np.median(tremor) > 1.0
    assert min(tremor) > max(drift)


@pytest.mark.parametrize("dims", [2, 3])
def test_tremor_turns_little(dims):
    share = [p[:, dims:].std(0).norm() / p.std(0).norm() for p in draws("tremor", 24, dims)]
    assert np.median(share) < 0.5


@pytest.mark.parametrize("dims", [2, 3])
def test_a_nod_is_led_by_one_rotation(dims):
    for poses in draws("nod", 24, dims):
        spread = poses.std(0)
        assert spread[dims:].norm() > 2 * spread[:dims].norm()
        assert spread.argmax() == dims


def test_a_nod_turns_about_the_left_right_axis_wherever_that_is():
    axes = BodyAxes(superior_inferior=0, anterior_posterior=1, left_right=2)
    nod = sample_trajectory("nod", 24, 3, np.random.RandomState(0), axes)
    assert nod.rotation_deg.std(0).argmax() == 2


@pytest.mark.parametrize("dims", [2, 3])
def test_a_swallow_returns_to_where_it_was(dims):
    for poses in draws("swallow", 24, dims):
        assert not poses[-1].any()
        assert poses.any()
        assert (poses.norm(dim=1) < 1e-12).double().mean() > 0.1
        spread = poses.std(0)
        assert spread[:dims].norm() > spread[dims:].norm()
        assert spread[:dims].max() > 0.8 * spread.norm()


def test_a_swallow_rises_faster_than_it_returns():
    ups, downs = 0, 0
    for poses in draws("swallow", 64, 2):
        away = poses.norm(dim=1).diff()
        ups, downs = ups + int((away > 1e-9).sum()), downs + int((away < -1e-9).sum())
    assert ups < 0.6 * downs


def test_errors_name_argument_value_and_remedy():
    rng = np.random.RandomState(0)
    with pytest.raises(ValueError, match=r"family: got 'jump'; allowed is one of .*Choose one"):
        sample_trajectory("jump", 4, 2, rng)
    with pytest.raises(ValueError, match=r"family: got 'breathing'.*Draw it with sample_deformation"):
        sample_trajectory("breathing", 4, 2, rng)
    with pytest.raises(ValueError, match=r"family: got 'nod'.*Draw it with sample_trajectory"):
        sample_deformation("nod", 4, 2, rng)
    with pytest.raises(ValueError, match="num_shots: got 1"):
        sample_trajectory("drift", 1, 2, rng)
    with pytest.raises(ValueError, match="spatial_dims: got 4"):
        sample_trajectory("drift", 4, 4, rng)
    with pytest.raises(ValueError, match=r"axes: got .*allowed are the 2 spatial axes"):
        sample_trajectory("nod", 4, 2, rng, BodyAxes(2, 1, 0))
    with pytest.raises(ValueError, match=r"axes\.signs: got \(1, 0, 1\)"):
        sample_deformation("breathing", 4, 3, rng, BodyAxes(2, 1, 0, (1, 0, 1)))
    assert set(RIGID_FAMILIES) | set(NON_RIGID_FAMILIES) == set(FAMILIES)
