"""RandKSpaceMotiond and KSpaceMotiond: one motion for all keys, targets, scores, Compose and the data loader."""

import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset, MetaTensor, decollate_batch, get_track_meta, set_track_meta
from monai.transforms import Compose, EnsureTyped

from mocodis_monai.transforms import (
    KSpaceMotion,
    KSpaceMotionD,
    KSpaceMotiond,
    KSpaceMotionDict,
    RandKSpaceMotion,
    RandKSpaceMotiond,
)


def blob(offset=0.2):
    axes = torch.meshgrid(torch.linspace(-1, 1, 32), torch.linspace(-1, 1, 28), indexing="ij")
    return MetaTensor(
        torch.exp(-sum((3 * axis - offset) ** 2 for axis in axes))[None], affine=2 * torch.eye(4)
    )


def test_keys_share_one_motion_and_the_rest_is_left_alone():
    move = RandKSpaceMotiond(("image", "other"), prob=1.0).set_random_state(0)
    data = {"image": blob(), "other": 2 * blob(), "name": "a"}
    moved = move(data)
    assert moved["name"] == "a" and set(moved) == set(data)
    assert torch.equal(data["image"], blob())
    torch.testing.assert_close(moved["other"].as_tensor(), 2 * moved["image"].as_tensor())
    assert moved["image"].meta["motion"]["trajectory"] == moved["other"].meta["motion"]["trajectory"]
    assert torch.equal(moved["image"].affine, blob().affine)


@pytest.mark.parametrize("named", [{"target_keys": "image"}, {"target_keys": "t", "displacement_keys": "t"}])
def test_a_key_for_two_things_is_refused(named):
    with pytest.raises(ValueError, match="twice"):
        RandKSpaceMotiond("image", **named)


def test_target_and_score_are_those_of_the_array_version():
    image = blob()
    move = RandKSpaceMotiond("image", 1.0, target_keys="target", displacement_keys="displacement")
    d = move.set_random_state(4)({"image": image})
    replay = KSpaceMotion.from_metadata(d["image"].meta["motion"]).simulate(image, with_target=True)
    assert torch.equal(d["image"], replay.image) and torch.equal(d["target"], replay.target)
    assert d["displacement"].dtype == torch.float32 and d["displacement"].ndim == 0
    assert d["displacement"].item() == pytest.approx(replay.metadata["displacement_mm"])
    # The target lies where the moved image does, which the clean image does not.
    assert (d["target"] - d["image"]).norm() < (image - d["image"]).norm()


def test_without_motion_the_target_is_the_image():
    d = RandKSpaceMotiond("image", target_keys="target", displacement_keys="displacement", prob=0.0)({"image": blob()})
    assert torch.equal(d["image"], blob()) and torch.equal(d["target"], blob())
    assert d["displacement"].item() == 0.0
    assert d["image"].meta["motion"]["family"] == "none"


def test_the_probability_is_met():
    move = RandKSpaceMotiond("image", prob=0.3).set_random_state(0)
    applied = [move({"image": blob()})["image"].meta["motion"]["family"] != "none" for _ in range(200)]
    assert 0.2 < np.mean(applied) < 0.4


def test_a_schedule_may_change_the_probability():
    move = RandKSpaceMotiond("image", prob=1.0).set_random_state(0)
    move.prob = 0.0
    assert move({"image": blob()})["image"].meta["motion"]["family"] == "none"


@pytest.mark.parametrize("family", ["sudden", "breathing"])
def test_an_empty_crop_passes(family):
    empty = MetaTensor(torch.zeros(1, 32, 28), affine=torch.eye(4))
    moved = RandKSpaceMotiond("image", prob=1.0, families=family, displacement_mm="extreme")({"image": empty})
    assert torch.equal(moved["image"], empty) and moved["image"].meta["motion"]["family"] == "none"


def test_a_seeded_compose_repeats_itself():
    pipeline = Compose([EnsureTyped("image"), RandKSpaceMotiond("image", target_keys="target", prob=0.5)])
    runs = []
    for seed in (0, 0, 1):
        pipeline.set_random_state(seed)
        runs.append(torch.stack([pipeline({"image": blob()})["image"].as_tensor() for _ in range(4)]))
    assert torch.equal(runs[0], runs[1]) and not torch.equal(runs[0], runs[2])


def test_samples_with_different_shots_collate_and_replay_after_decollating():
    torch.manual_seed(0)  # MONAI's DataLoader seeds the transforms from it
    pipeline = RandKSpaceMotiond("image", target_keys="target", displacement_keys="displacement", prob=0.7)
    batch = next(iter(DataLoader(Dataset([{"image": blob()}] * 6, pipeline), batch_size=6)))
    assert batch["image"].shape == batch["target"].shape == (6, 1, 32, 28)
    items = decollate_batch(batch)
    motions = [item["image"].meta["motion"] for item in items]
    assert {motion["family"] for motion in motions} >= {"none"} and len(
        {int(m["num_shots"]) for m in motions}
    ) > 2
    for item, motion in zip(items, motions, strict=True):
        if motion["family"] != "none":
            assert torch.equal(KSpaceMotion.from_metadata(motion)(blob()), item["image"])


def test_keys_that_do_not_pair_up_are_refused():
    with pytest.raises(ValueError, match="target_keys: got"):
        RandKSpaceMotiond(("a", "b"), target_keys="t")
    with pytest.raises(KeyError):
        RandKSpaceMotiond("missing", prob=1.0)({"image": blob()})
    assert set(RandKSpaceMotiond("missing", prob=1.0, allow_missing_keys=True)({"image": blob()})) == {
        "image"
    }
    assert isinstance(RandKSpaceMotiond("image").rand_motion, RandKSpaceMotion)


def test_an_empty_first_image_does_not_hold_the_others_still():
    move = RandKSpaceMotiond(("image", "other"), prob=1.0).set_random_state(0)
    moved = move({"image": torch.zeros_like(blob()), "other": blob()})
    assert not moved["image"].any() and (moved["other"] - blob()).abs().max() > 0.01
    alone = RandKSpaceMotiond("other", prob=1.0).set_random_state(0)({"other": blob()})
    assert moved["other"].meta["motion"]["trajectory"] == alone["other"].meta["motion"]["trajectory"]


@pytest.mark.parametrize("prob", [1.0, 0.0])
def test_without_tracked_metadata_the_voxel_size_still_counts(prob):
    move = RandKSpaceMotiond("image", prob, target_keys="target", displacement_mm=1.0)
    with_metadata = move.set_random_state(0)({"image": blob()})
    image, before = blob(), get_track_meta()
    try:
        set_track_meta(False)
        without = move.set_random_state(0)({"image": image})
    finally:
        set_track_meta(before)
    for key in ("image", "target"):
        assert not isinstance(without[key], MetaTensor)
        assert torch.equal(without[key], with_metadata[key].as_tensor())


@pytest.mark.parametrize("options", [{}, {"receiver": {"num_coils": 2, "phase_rad": 0.5, "noise_std": 0.01}}])
def test_the_metadata_of_the_first_image_make_the_whole_sample_again(options):
    names = {"target_keys": ("t", "u"), "displacement_keys": ("d", "e")}
    data = {"image": blob(), "other": 2 * blob(-0.1), "name": "a"}
    moved = RandKSpaceMotiond(("image", "other"), 1.0, **names, **options).set_random_state(1)(data)
    motion = KSpaceMotion.from_metadata(moved["image"].meta["motion"])
    replay = KSpaceMotiond(("image", "other"), motion, **names)
    for _ in range(2):  # a second time too: it keeps no state
        again = replay(data)
        assert set(again) == set(moved) and again["name"] == "a"
        assert all(torch.equal(again[key], moved[key]) for key in ("image", "other", "t", "u", "d", "e"))
        assert all(again[key].meta["motion"] == moved[key].meta["motion"] for key in ("image", "other"))


def test_a_given_motion_needs_no_targets_and_leaves_out_missing_keys():
    motion = RandKSpaceMotion(1.0).set_random_state(0)
    motion.randomize(blob())
    moved = KSpaceMotionD(("image", "missing"), motion.drawn, allow_missing_keys=True)({"image": blob()})
    assert set(moved) == {"image"} and torch.equal(moved["image"], motion.drawn(blob()))
    with pytest.raises(ValueError, match="target_keys: got"):
        KSpaceMotionDict(("image", "other"), motion.drawn, target_keys="t")
    with pytest.raises(RuntimeError, match="KSpaceMotiond cannot be inverted"):
        KSpaceMotiond("image", motion.drawn).inverse(moved)
