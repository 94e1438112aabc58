"""The motion transforms and the rest of the acquisition: line orders, slices, receiver, echoes, tables, orientation."""

from __future__ import annotations

import itertools
import json

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, EnsureChannelFirstd, Flipd, Invertd, LoadImaged

from mocodis_monai.data.nifti import Volume
from mocodis_monai.data.records import phantom_records
from mocodis_monai.motion import (
    LINE_ORDERS,
    RigidTrajectory,
    coregistered_target,
    displacement_field,
    line_energy,
    write_trajectory,
)
from mocodis_monai.motion.severity import shot_weights
from mocodis_monai.simulation import simulate_volume
from mocodis_monai.transforms import (
    EchoTrain,
    KSpaceMotion,
    LoadSourced,
    RandKSpaceMotion,
    RandKSpaceMotiond,
    ReceiverOptions,
)


def blob(*shape, affine=None):
    """A smooth off-centre object with an edge, ``(1, *shape)`` MetaTensor."""
    axes = torch.meshgrid(*[torch.linspace(-1, 1, n) for n in shape], indexing="ij")
    radius = sum((axis * 2 - 0.2 * number) ** 2 for number, axis in enumerate(axes))
    image = torch.exp(-radius) + 0.5 * (radius < 1)
    return MetaTensor(image[None], affine=torch.eye(4) if affine is None else affine)


def still(num_shots, dims):
    return RigidTrajectory(torch.zeros(num_shots, dims), torch.zeros(num_shots, 1 if dims == 2 else 3))


EVERYTHING = [
    {"line_orders": "random"},
    {"line_orders": "centric", "echo_train": {"echo_spacing_ms": 8.0, "t2_ms": 80.0}},
    {"receiver": {"num_coils": 3, "phase_rad": 1.0, "noise_std": 0.02}},
    {"complex_output": True, "receiver": ReceiverOptions(phase_rad=2.0, noise_std=0.01)},
]


@pytest.mark.parametrize("options", EVERYTHING)
def test_whatever_the_scanner_does_the_metadata_replays_it_bit_for_bit(options):
    image = blob(32, 28)
    sample = RandKSpaceMotion(1.0, displacement_mm=2.0, **options).set_random_state(5).simulate(image, with_target=True)
    stored = json.loads(json.dumps(sample.image.meta["motion"]))
    again = KSpaceMotion.from_metadata(stored).simulate(image, with_target=True)
    assert torch.equal(again.image, sample.image) and torch.equal(again.target, sample.target)
    assert again.metadata == sample.metadata


@pytest.mark.parametrize(
    "options", [{"slice_axis": 2, "num_packages": 2}, {"phase_encode_axis": [(0, 1)]}, {"families": ("breathing",)}]
)
def test_volumes_replay_bit_for_bit_too(options):
    image = blob(20, 18, 12, affine=torch.diag(torch.tensor([15.0, 12.0, 20.0, 1.0])))
    sample = RandKSpaceMotion(1.0, displacement_mm=0.5, **options).set_random_state(2).simulate(image)
    again = KSpaceMotion.from_metadata(json.loads(json.dumps(sample.metadata))).simulate(image)
    assert torch.equal(again.image, sample.image) and again.metadata == sample.metadata


@pytest.mark.parametrize("order", LINE_ORDERS)
def test_without_motion_the_order_of_the_lines_does_not_show(order):
    image = blob(24, 20)
    seen = KSpaceMotion(still(6, 2), 0, order, seed=3)(image)
    torch.testing.assert_close(seen.as_tensor(), image.as_tensor())


def test_a_slice_stack_is_the_slices_one_by_one():
    # Motion within the slice: each slice of the stack is a 2D acquisition of its own package of shots.
    volume, packages = blob(20, 18, 4), 2
    rng = np.random.RandomState(0)
    poses = RigidTrajectory(torch.from_numpy(rng.normal(size=(8, 3))), torch.from_numpy(rng.normal(size=(8, 3))))
    poses.translation_mm[:, 2] = 0
    poses.rotation_deg[:, :2] = 0
    stack = KSpaceMotion(poses, 0, "interleaved", slice_axis=2, num_packages=packages)(volume)
    for z in range(4):
        rows = slice(4 * (z % packages), 4 * (z % packages) + 4)
        alone = RigidTrajectory(poses.translation_mm[rows, :2], poses.rotation_deg[rows, 2:])
        one = KSpaceMotion(alone, 0, "interleaved", spacing_mm=(1.0, 1.0))(volume[..., z])
        torch.testing.assert_close(stack[..., z].as_tensor(), one.as_tensor(), atol=1e-4, rtol=0)


def test_noise_has_the_standard_deviation_asked_for():
    image = MetaTensor(torch.zeros(1, 128, 128))
    seen = KSpaceMotion(still(4, 2), 0, receiver={"noise_std": 0.3}, complex_output=True)(image)
    parts = torch.view_as_real(seen.as_tensor())
    # 32768 samples: the standard deviation is known to .4 per cent, one sigma.
    assert parts.std().item() == pytest.approx(0.3, rel=0.02)


def test_coils_and_phase_leave_the_magnitude_of_a_still_object():
    image = blob(32, 28)
    receiver = ReceiverOptions(num_coils=4, phase_rad=1.5)
    seen = KSpaceMotion(still(4, 2), 0, receiver=receiver)(image)
    torch.testing.assert_close(seen.as_tensor(), image.as_tensor(), atol=1e-5, rtol=0)
    complex_image = KSpaceMotion(still(4, 2), 0, receiver=receiver, complex_output=True)(image).as_tensor()
    torch.testing.assert_close(complex_image.abs(), image.as_tensor(), atol=1e-5, rtol=0)
    assert complex_image.imag.abs().max() > 0.1


def test_t2_decay_blurs_along_the_phase_encode_axis_alone():
    image = torch.zeros(1, 32, 32)
    image[0, 16, 16] = 1
    seen = KSpaceMotion(still(4, 2), 0, "centric", echo_train=EchoTrain(10.0, 40.0))(image)
    assert seen[0, 15, 16] > 0.01 and seen[0, 16, 15].abs() < 1e-6


@pytest.mark.parametrize("order", LINE_ORDERS)
def test_t2_decay_gives_a_still_object_no_ghosts(order):
    image = torch.zeros(1, 64, 64)
    image[0, 24:40, 24:40] = 1
    seen = KSpaceMotion(still(8, 2), 0, order, echo_train=EchoTrain(10.0, 80.0), seed=1)(image)
    far = torch.cat([seen[0, :8], seen[0, -8:]])[:, 24:40]  # a ghost of 8 shots lies 8 pixels off, and 16, and 24
    assert far.mean() < 0.02


def test_each_key_has_its_own_noise_and_the_same_phase():
    image = torch.zeros(1, 64, 64)
    receiver = {"noise_std": 0.1, "phase_rad": 1.0}
    move = RandKSpaceMotiond(("a", "b"), prob=0.0, receiver=receiver, complex_output=True).set_random_state(0)
    both = move({"a": image + 1, "b": image + 1})
    one, other = both["a"], both["b"]
    noise = [(seen - (one + other) / 2).abs() for seen in (one, other)]
    assert noise[0].mean() == pytest.approx(0.1 * np.sqrt(np.pi / 4), rel=0.05)  # half the difference of two
    smooth = torch.nn.functional.avg_pool2d(torch.angle(one * other.conj())[None], 16)
    assert smooth.abs().max() < 0.05


def test_noise_and_decay_do_not_tell_motion(tmp_path):
    image = blob(48, 40)
    options = {"receiver": {"noise_std": 0.05}, "echo_train": {"echo_spacing_ms": 8.0, "t2_ms": 80.0}}
    sample = RandKSpaceMotion(0.0, **options).set_random_state(0).simulate(image, with_target=True)
    assert sample.metadata["family"] == sample.metadata["severity"] == "none"
    assert sample.metadata["displacement_mm"] == 0 and torch.equal(sample.target, image)
    air = sample.image[:, :6].as_tensor()
    assert air.std().item() == pytest.approx(0.05 * np.sqrt(2 - np.pi / 2), rel=0.1)  # Rayleigh
    again = KSpaceMotion.from_metadata(sample.metadata)(image)
    assert torch.equal(again, sample.image)


@pytest.mark.parametrize("shape", [(20, 18, 12), (20, 1, 18)])
def test_the_record_of_the_command_is_replayed(shape):
    data = np.random.default_rng(0).uniform(1, 2, shape).astype(np.float32)
    volume = Volume(data, np.diag([2.0, 3.0, 4.0, 1.0]), (2.0, 3.0, 4.0), "v.nii", shape, None)
    done = simulate_volume(volume, 2, 3, {"families": "drift", "line_orders": "random", "displacement_mm": 1.0})
    record = json.loads(json.dumps(done.motion))
    again = KSpaceMotion.from_metadata(record)(torch.from_numpy(data).squeeze()[None])
    np.testing.assert_array_equal(again[0].numpy().reshape(shape), done.moved)


@pytest.mark.parametrize(
    ("shape", "family"), [((64, 56), "drift"), ((64, 56), "sudden"), ((64, 56), "nod"), ((24, 22, 20), "drift")]
)
def test_a_centred_motion_leaves_the_image_where_its_labels_are(shape, family):
    image = blob(*shape, affine=torch.diag(torch.tensor([3.0, 3.0, 4.0, 1.0])))
    draw, off_mm = RandKSpaceMotion(1.0, families=family, displacement_mm=3.0, centred=True), []
    for seed in range(4):
        sample = draw.set_random_state(seed).simulate(image)
        assert sample.metadata["displacement_mm"] == pytest.approx(3.0, rel=0.011)
        motion, spacing_mm = draw.drawn, (3.0, 3.0, 4.0)[: len(shape)]
        acquisition = motion.scan.plan(shape, motion.motion.num_shots)
        plain = image.as_tensor()
        found = coregistered_target(plain, sample.image.as_tensor(), motion.motion, acquisition, spacing_mm).pose
        off_mm.append(found.translation_mm.norm().item())
    assert np.mean(off_mm) < 0.3


def test_a_centred_deformation_has_no_mean():
    image = LoadSourced("image")(phantom_records(1, 7, ("abdomen",), (96, 96))[0])["image"]
    draw = RandKSpaceMotion(1.0, families="breathing", displacement_mm=1.0, centred=True).set_random_state(0)
    draw.randomize(image)
    acquisition = draw.drawn.scan.plan((96, 96), draw.drawn.motion.num_shots)
    weights = shot_weights(line_energy(image.as_tensor(), acquisition, 2), acquisition)
    amplitude_mm = draw.drawn.motion.amplitude_mm
    assert (weights @ amplitude_mm).abs().max() < 1e-6 * amplitude_mm.abs().max()


def test_a_measured_table_is_followed(tmp_path):
    translation_mm = torch.tensor([[0.0, 0.0], [1.25, -0.5], [3.0, 1.0]], dtype=torch.float64)
    poses = RigidTrajectory(translation_mm, torch.tensor([[0.0], [1.0], [-2.0]], dtype=torch.float64))
    write_trajectory(tmp_path / "poses.csv", poses)
    image = blob(24, 20)
    assert torch.equal(KSpaceMotion(tmp_path / "poses.csv", 1)(image), KSpaceMotion(poses, 1)(image))


@pytest.mark.parametrize(
    ("name", "low", "high"), [("mild", 0, 1), ("moderate", 1, 2.5), ("severe", 2.5, 5), ("extreme", 5, 20)]
)
def test_a_band_can_be_asked_for_by_name(name, low, high):
    rand = RandKSpaceMotion(1.0, displacement_mm=name).set_random_state(0)
    for _ in range(5):
        motion = rand(blob(40, 36)).meta["motion"]
        assert low <= motion["displacement_mm"] <= high and motion["severity"] == name


def test_where_a_family_cannot_reach_the_score_another_is_drawn():
    # The heart alone cannot reach 6 mm, sudden motion can.
    rand = RandKSpaceMotion(1.0, families=("cardiac", "sudden"), displacement_mm=6.0).set_random_state(0)
    drawn = [rand(blob(40, 36)).meta["motion"] for _ in range(6)]
    assert {motion["family"] for motion in drawn} == {"sudden"}
    assert all(motion["displacement_mm"] == pytest.approx(6.0, rel=0.01) for motion in drawn)


def test_more_than_the_organ_can_do_is_refused():
    with pytest.raises(ValueError, match=r"displacement_mm: got 6\.00.*before tissue would fold"):
        RandKSpaceMotion(1.0, "cardiac", 6.0).set_random_state(0)(blob(40, 36))


def ghosts(image, clean, phase_encode_axis):
    """Energy that left the object along an axis: outside its columns."""
    outside = (clean.amax(1 + phase_encode_axis, keepdim=True) > 0.02).expand_as(clean) & (clean < 0.02)
    return float(image.as_tensor()[outside].square().sum())


@pytest.mark.parametrize("permutation", list(itertools.permutations(range(3)))[::2])
def test_the_axis_asked_for_is_the_axis_moved_in_a_nifti_of_any_orientation(tmp_path, permutation):
    spacing = np.array([1.0, 1.6, 2.5])
    data = blob(30, 24, 16)[0].numpy()
    affine = np.zeros((4, 4))
    affine[3, 3] = 1
    for axis, world in enumerate(permutation):
        affine[world, axis] = (-1) ** axis * spacing[axis]
    nib.save(nib.Nifti1Image(data, affine), tmp_path / "scan.nii.gz")
    for axis in range(3):
        pipeline = Compose(
            [
                LoadImaged("image"),
                EnsureChannelFirstd("image"),
                RandKSpaceMotiond("image", prob=1.0, families="drift", displacement_mm=4.0, phase_encode_axis=axis),
            ]
        ).set_random_state(0)
        sample = pipeline({"image": str(tmp_path / "scan.nii.gz")})["image"]
        clean = torch.from_numpy(data)[None]
        assert sample.meta["motion"]["phase_encode_axis"] == axis
        np.testing.assert_allclose(json.loads(sample.meta["motion"]["trajectory"])["spacing_mm"], spacing, rtol=1e-5)
        leaked = [ghosts(sample, clean, other) for other in range(3)]
        assert leaked[axis] == max(leaked)


def test_breathing_leaves_the_spine_where_it_is_whichever_way_the_slice_lies():
    abdomen = LoadSourced("image")(
        {"image": {"kind": "phantom", "region": "abdomen", "seed": 3, "size": [96, 96]}}
    )["image"]
    flipped = Flipd("image", 0)({"image": abdomen})["image"]
    for image, back in ((abdomen, slice(80, 96)), (flipped, slice(0, 16))):
        motion = RandKSpaceMotion(1.0, "breathing", 0.5, phase_encode_axis=1).set_random_state(0)
        motion.randomize(image)
        deformation = motion.drawn.motion
        fields = displacement_field(deformation.modes, (96, 96))
        assert fields.abs().max() > 0.5 and not fields[:, :, back].any()


def test_letters_of_orientation_are_checked():
    with pytest.raises(ValueError, match="orientation: got 'AP'"):
        RandKSpaceMotion(1.0, orientation="AP")(blob(16, 16))


def test_the_inverse_is_refused_aloud():
    pipeline = Compose([Flipd("image", 0), RandKSpaceMotiond("image", prob=1.0)]).set_random_state(0)
    moved = pipeline({"image": blob(24, 20)})
    invert = Invertd("pred", transform=pipeline, orig_keys="image", nearest_interp=False)
    with pytest.raises(RuntimeError) as raised:
        invert({**moved, "pred": moved["image"].clone()})
    assert "cannot be inverted" in str(raised.value.__cause__)  # MONAI wraps what a transform raises


def test_lazy_transforms_before_the_motion_are_carried_out_first():
    data = {"image": blob(24, 20)}
    steps = [Flipd("image", 0), RandKSpaceMotiond("image", prob=1.0)]
    lazy = Compose(steps, lazy=True).set_random_state(0)(data)["image"]
    eager = Compose(steps).set_random_state(0)(data)["image"]
    torch.testing.assert_close(lazy.as_tensor(), eager.as_tensor())
    pending = Flipd("image", 0, lazy=True)(data)["image"]
    with pytest.raises(ValueError, match="still to be applied"):
        RandKSpaceMotion(1.0)(pending)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"receiver": {"coils": 3}}, "receiver: got"),
        ({"echo_train": {"t2_ms": 80.0}}, "echo_train: got"),
        ({"num_packages": 3}, "num_packages: got 3"),
        ({"line_order": "spiral"}, "line_order: got"),
    ],
)
def test_bad_options_get_a_clear_error(options, message):
    with pytest.raises(ValueError, match=message):
        KSpaceMotion(still(4, 2), 0, **options)(blob(16, 16))
