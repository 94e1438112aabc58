"""KSpaceMotion and RandKSpaceMotion as MONAI transforms: seeds, replay, metadata, spacing and errors."""

import json

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, SqueezeDim
from scipy.spatial.transform import Rotation

from mocodis_monai.motion import NON_RIGID_FAMILIES, RIGID_FAMILIES, RigidTrajectory
from mocodis_monai.transforms import KSpaceMotion, RandKSpaceMotion, motion_inputs


def blob(*shape, affine=None):
    """A smooth off-centre object, ``(1, *shape)`` MetaTensor."""
    axes = torch.meshgrid(*[torch.linspace(-1, 1, n) for n in shape], indexing="ij")
    radius = sum((axis * 2 - 0.2 * number) ** 2 for number, axis in enumerate(axes))
    image = torch.exp(-radius) + 0.5 * (radius < 1)
    return MetaTensor(image[None], affine=torch.eye(4) if affine is None else affine)


def held(translation_mm):
    """Two shots that share one translation."""
    dims = len(translation_mm)
    angles = torch.zeros(2, 1 if dims == 2 else 3)
    return RigidTrajectory(torch.tensor([translation_mm] * 2), angles)


def test_an_image_of_unknown_voxel_size_is_said_to_be_one_once(caplog):
    motion_inputs._say_that_spacing_is_unknown.cache_clear()
    image = blob(32, 28)
    for known in (RandKSpaceMotion(1.0)(image), RandKSpaceMotion(1.0, spacing_mm=(2, 2))(image.as_tensor())):
        assert not caplog.records and known.shape == image.shape
    for rand in (RandKSpaceMotion(1.0), RandKSpaceMotion(1.0)):
        rand(image.as_tensor())
    (said,) = caplog.records
    assert "Give spacing_mm" in said.getMessage() and "PersistentDataset" in said.getMessage()


@pytest.mark.parametrize("shape", [(32, 28), (24, 20, 18)])
@pytest.mark.parametrize("family", (*RIGID_FAMILIES, *NON_RIGID_FAMILIES))
def test_the_same_seed_is_the_same_sample_and_another_is_not(shape, family):
    image = blob(*shape, affine=torch.diag(torch.tensor([12.0, 12.0, 12.0, 1.0])))

    def draw(seed):
        return RandKSpaceMotion(1.0, family, (0.01, 0.05)).set_random_state(seed)(image)

    first = draw(1)
    assert torch.equal(first, draw(1))
    assert first.meta["motion"] == draw(1).meta["motion"]
    assert not torch.equal(first, draw(2))
    assert first.shape == image.shape and first.dtype == image.dtype


@pytest.mark.parametrize("shape", [(32, 28), (24, 20, 18)])
def test_the_metadata_replays_the_sample_bit_for_bit(shape):
    image = blob(*shape, affine=torch.diag(torch.tensor([0.9, 1.3, 2.1, 1.0])))
    sample = RandKSpaceMotion(1.0).set_random_state(7).simulate(image, with_target=True)
    stored = json.loads(json.dumps(sample.image.meta["motion"]))
    again = KSpaceMotion.from_metadata(stored).simulate(image, with_target=True)
    assert torch.equal(again.image, sample.image)
    assert torch.equal(again.target, sample.target)
    assert again.metadata == sample.metadata


@pytest.mark.parametrize("asked_mm", [0.5, 3.0, 6.0])
@pytest.mark.parametrize("family", RIGID_FAMILIES)
def test_the_displacement_asked_for_is_in_the_metadata(asked_mm, family):
    motion = RandKSpaceMotion(1.0, family, asked_mm).set_random_state(0)(blob(48, 40)).meta["motion"]
    assert motion["displacement_mm"] == pytest.approx(asked_mm, rel=0.05)
    assert motion["family"] == family
    assert 0 < motion["corrupted_line_fraction"] <= 1
    assert motion["severity"] == {0.5: "mild", 3.0: "severe", 6.0: "extreme"}[asked_mm]


def test_every_draw_stays_within_what_was_asked():
    rand = RandKSpaceMotion(1.0, ("drift",), (1.0, 2.0), (1,), (6, 9), ("interleaved",)).set_random_state(0)
    image = blob(32, 28)
    for _ in range(20):
        motion = rand(image).meta["motion"]
        assert 0.99 <= motion["displacement_mm"] <= 2.02
        assert motion["phase_encode_axis"] == 1 and 6 <= motion["num_shots"] <= 9
        assert (motion["family"], motion["line_order"]) == ("drift", "interleaved")
    few_lines = RandKSpaceMotion(1.0, num_shots=32, line_orders="interleaved").set_random_state(0)
    assert few_lines(blob(12, 12)).meta["motion"]["num_shots"] == 12


def test_probability_zero_is_the_identity_with_metadata():
    image = blob(16, 16)
    sample = RandKSpaceMotion(0.0).simulate(image, with_target=True)
    assert torch.equal(sample.image, image) and torch.equal(sample.target, image)
    assert sample.image.meta["motion"]["family"] == "none"
    assert sample.image.meta["motion"]["displacement_mm"] == 0.0
    moved = RandKSpaceMotion(1.0).set_random_state(0)(image).meta["motion"]
    # The same keys and types, or the data loader could not collate both in a batch.
    assert {k: type(v) for k, v in sample.metadata.items()} == {k: type(v) for k, v in moved.items()}
    assert "motion" not in image.meta


def test_randomize_false_repeats_the_motion_on_another_image():
    rand = RandKSpaceMotion(1.0).set_random_state(3)
    first = rand(blob(24, 24))
    second = rand(blob(24, 24) * 2, randomize=False)
    torch.testing.assert_close(second.as_tensor(), first.as_tensor() * 2)


def test_the_shift_in_pixels_follows_the_voxel_size_of_the_affine():
    # Columns of the affine are the image axes: 2 mm along the first, 0.5 mm along the second, axes permuted
    # in space.
    affine = torch.tensor(
        [[0.0, -0.5, 0, 3], [2.0, 0, 0, 1], [0, 0, 4.0, 0], [0, 0, 0, 1]], dtype=torch.float64
    )
    image = blob(24, 20, affine=affine)
    moved = KSpaceMotion(held([4.0, -1.5]), 0)(image)
    torch.testing.assert_close(moved.as_tensor(), image.as_tensor().roll((2, -3), (1, 2)), atol=1e-5, rtol=0)
    assert torch.equal(moved.affine, image.affine)
    in_pixels = KSpaceMotion(held([4.0, -1.5]), 0, spacing_mm=(1.0, 0.5))(image)
    torch.testing.assert_close(
        in_pixels.as_tensor(), image.as_tensor().roll((4, -3), (1, 2)), atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("origin_mm", [0.0, -90.0, -1280.0])
@pytest.mark.parametrize("dim", [1, 2, 3])
def test_a_slice_that_squeezedim_cut_has_its_voxel_size_and_no_directions(dim, origin_mm):
    shape = [24, 20, 16]
    shape[dim - 1] = 1
    volume = blob(24, 20, 16).as_tensor().narrow(dim, 8, 1)
    affine = torch.diag(torch.tensor([1.0, 2.0, 3.0, 1.0], dtype=torch.float64))
    affine[:3, 3] = origin_mm
    cut = SqueezeDim(dim)(MetaTensor(volume, affine=affine))
    sample = RandKSpaceMotion(1.0, families="breathing", displacement_mm=1.0).set_random_state(0).simulate(cut)
    wanted = [mm for axis, mm in enumerate((1.0, 2.0, 3.0), start=1) if axis != dim]
    assert json.loads(sample.metadata["trajectory"])["spacing_mm"] == wanted
    plain = RandKSpaceMotion(1.0, families="breathing", displacement_mm=1.0, spacing_mm=wanted).set_random_state(0)
    assert torch.equal(plain(cut.as_tensor()), sample.image.as_tensor())  # as of an image without an affine


def test_of_a_cut_through_a_tilted_volume_the_voxel_size_has_to_be_given():
    affine = torch.eye(4, dtype=torch.float64)
    affine[:3, 3] = -90.0
    affine[:3, :3] = torch.from_numpy(Rotation.from_euler("xyz", (20, 15, 10), degrees=True).as_matrix())
    cut = SqueezeDim(1)(MetaTensor(blob(24, 20, 16).as_tensor()[:, 8:9], affine=affine))
    with pytest.raises(ValueError, match=r"spacing_mm: got None; SqueezeDim"):
        RandKSpaceMotion(1.0)(cut)
    RandKSpaceMotion(1.0, spacing_mm=(1.0, 1.0))(cut)


def test_a_slight_tilt_a_large_gap_and_a_straightened_volume_are_taken(caplog):
    slice_ = blob(24, 20, 16).as_tensor()[..., 8:9]
    slight = torch.eye(4, dtype=torch.float64)
    slight[:3, :3] = torch.from_numpy(Rotation.from_euler("x", 5, degrees=True).as_matrix())
    gap = torch.diag(torch.tensor([0.5, 0.5, 60.0, 1.0], dtype=torch.float64))
    tilted = torch.eye(4, dtype=torch.float64)
    tilted[:3, :3] = torch.from_numpy(Rotation.from_euler("x", 30, degrees=True).as_matrix())
    straight = torch.eye(4, dtype=torch.float64)
    for affine, read in ((slight, slight), (gap, gap), (straight, tilted)):
        cut = SqueezeDim(3)(MetaTensor(slice_, affine=affine, meta={"original_affine": read}))
        for prob in (0.0, 1.0):
            RandKSpaceMotion(prob, displacement_mm=0.5)(cut)
    assert caplog.text.count("tilted when it was read") <= 1


@pytest.mark.parametrize("prob", [0.0, 1.0])
def test_an_almost_empty_crop_is_no_reason_to_stop(prob):
    crop = torch.zeros(1, 16, 16)
    crop[0, 3, 3] = -1e-9
    RandKSpaceMotion(prob, spacing_mm=(1.0, 1.0))(crop.clamp_min(-1e-9).where(torch.tensor(prob == 0), crop.abs()))


def test_numbers_of_numpy_are_numbers():
    RandKSpaceMotion(1.0, displacement_mm=np.float64(1), phase_encode_axis=np.int64(1), num_shots=np.int64(8))(
        blob(24, 20)
    )


def test_channels_move_together():
    image = torch.cat([blob(24, 20), 2 * blob(24, 20)])
    moved = RandKSpaceMotion(1.0).set_random_state(0)(image)
    torch.testing.assert_close(moved[1], 2 * moved[0])


def test_plain_tensors_and_arrays_compose_too():
    image = blob(24, 20).numpy()
    pipeline = Compose([RandKSpaceMotion(1.0)]).set_random_state(0)
    from_array = pipeline(image)
    from_tensor = pipeline.set_random_state(0)(torch.from_numpy(image))
    assert torch.equal(torch.as_tensor(from_array), torch.as_tensor(from_tensor))


def test_global_generators_are_untouched():
    np.random.seed(0)  # noqa: NPY002
    torch.manual_seed(0)
    before, torch_before = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    RandKSpaceMotion(1.0).set_random_state(0).simulate(blob(24, 20), with_target=True)
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), torch_before)


def test_bad_images_and_trajectories_get_a_clear_error():
    rand, image = RandKSpaceMotion(1.0).set_random_state(0), blob(16, 16)
    with pytest.raises(TypeError, match=r"got dtype torch\.uint8"):
        rand(torch.zeros(1, 16, 16, dtype=torch.uint8))
    with pytest.raises(TypeError, match=r"got dtype torch\.complex64"):
        rand(torch.zeros(1, 16, 16, dtype=torch.complex64))
    with pytest.raises(ValueError, match=r"got shape \(16, 16\)"):
        rand(torch.zeros(16, 16))
    with pytest.raises(ValueError, match="NaN or infinite"):
        rand(torch.full((1, 16, 16), float("nan")))
    with pytest.raises(ValueError, match=r"got values from -1 to 1.*after this transform"):
        rand(torch.linspace(-1, 1, 256).reshape(1, 16, 16))
    with pytest.raises(ValueError, match=r"got shape \(1, 16, 16, 1\).*SqueezeDim\(dim=3\)"):
        rand(image[..., None])
    with pytest.raises(ValueError, match="phase_encode_axis: got 2"):
        KSpaceMotion(held([1.0, 0.0]), 2)(image)
    with pytest.raises(ValueError, match=r"got shape \(1, 16, 16\)"):
        KSpaceMotion(held([1.0, 0.0, 0.0]), 0)(image)
    with pytest.raises(ValueError, match="num_shots: got 20 for 16"):
        KSpaceMotion(RigidTrajectory(torch.zeros(20, 2), torch.zeros(20, 1)), 0)(image)
    with pytest.raises(ValueError, match="spacing_mm: got"):
        KSpaceMotion(held([1.0, 0.0]), 0, spacing_mm=(1.0, 0.0))(image)
    with pytest.raises(ValueError, match="spacing_mm: got"):
        KSpaceMotion(held([1.0, 0.0]), 0)(
            MetaTensor(image.as_tensor(), affine=torch.diag(torch.tensor([1.0, 0, 1, 1])))
        )
    with pytest.raises(ValueError, match="got nan"):
        KSpaceMotion(held([float("nan"), 0.0]), 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"families": "tremble"}, "families: got"),
        ({"line_orders": ("spiral",)}, "line_orders: got"),
        ({"displacement_mm": (3, 1)}, "displacement_mm: got"),
        ({"displacement_mm": -1}, "displacement_mm: got"),
        ({"num_shots": 1}, "num_shots: got"),
    ],
)
def test_bad_arguments_get_a_clear_error(arguments, message):
    with pytest.raises(ValueError, match=message):
        RandKSpaceMotion(**arguments)


def test_a_severity_that_one_shot_cannot_show_is_refused():
    # In linear order with three shots nearly all energy is in the middle one.
    rand = RandKSpaceMotion(1.0, displacement_mm=20.0, num_shots=3, line_orders="linear").set_random_state(0)
    with pytest.raises(ValueError, match=r"displacement_mm: got 20\.00"):
        rand(blob(48, 48))


def test_what_is_done_to_the_metadata_of_a_target_leaves_the_image_alone():
    image = blob(16, 16)
    image.meta["scan"] = {"tags": [1]}
    target = KSpaceMotion(held([1.0, 0.0]), 0).simulate(image, with_target=True).target
    assert torch.equal(target.affine, image.affine) and target.meta["scan"] == image.meta["scan"]
    target.affine[0, 3] = 7.0
    target.meta["scan"]["tags"].append(2)
    assert torch.equal(image.affine, blob(16, 16).affine) and image.meta["scan"] == {"tags": [1]}


@pytest.mark.parametrize("family", ["sudden", "breathing"])
def test_a_motion_can_be_the_mapping_that_the_metadata_hold(family):
    image = blob(24, 20, affine=torch.diag(torch.tensor([2.0, 3.0, 1.0, 1.0])))
    rand = RandKSpaceMotion(1.0, family, 0.1, 0, line_orders="linear").set_random_state(0)
    moved = rand(image)
    numbers = json.loads(moved.meta["motion"]["trajectory"])
    assert torch.equal(KSpaceMotion(numbers, 0)(image.as_tensor()), moved.as_tensor())  # with its voxel size
    del numbers["spacing_mm"]
    assert torch.equal(KSpaceMotion(numbers, 0)(image), moved)  # with that of the image


def test_poses_of_numpy_or_lists_are_those_of_tensors():
    image, shifts, turns = blob(16, 16), [[1.0, 0.0], [0.0, 2.0]], [[3.0], [0.0]]
    wanted = KSpaceMotion(RigidTrajectory(torch.tensor(shifts), torch.tensor(turns)), 0)(image)
    for motion in (
        RigidTrajectory(np.array(shifts), np.array(turns, np.float32)),
        RigidTrajectory(shifts, turns),
        {"translation_mm": shifts, "rotation_deg": turns},
    ):
        assert torch.equal(KSpaceMotion(motion, 0)(image), wanted)


@pytest.mark.parametrize(
    ("motion", "error", "message"),
    [
        ((torch.zeros(2, 2), torch.zeros(2, 1)), TypeError, "motion: got a tuple; allowed is a RigidTrajectory"),
        (None, TypeError, "motion: got a NoneType; allowed"),
        (RigidTrajectory([[1.0], [1.0, 2.0]], [[0.0]]), TypeError, r"trajectory\.translation_mm: got a list.*rows"),
        (RigidTrajectory(np.zeros((2, 2)), np.zeros((3, 1))), ValueError, r"trajectory\.rotation_deg: got shape"),
        ({"translation_mm": [[0.0, 0.0]]}, ValueError, "its mapping has no 'rotation_deg'"),
        ({"modes": []}, ValueError, "deformation: got numbers that are not whole"),
    ],
)
def test_a_motion_of_another_kind_is_refused_with_what_is_allowed(motion, error, message):
    with pytest.raises(error, match=message):
        KSpaceMotion(motion, 0)


def test_a_very_bright_image_moves_as_a_dim_one():
    # Its energy is beyond float32. The scale is a power of two, so that all else is the same bit for bit.
    image = blob(24, 20)
    for seed in range(2):
        dim, bright = (
            RandKSpaceMotion(1.0).set_random_state(seed).simulate(scale * image, with_target=True)
            for scale in (1.0, 2.0**60)
        )
        assert bright.metadata["displacement_mm"] == pytest.approx(dim.metadata["displacement_mm"], rel=1e-3)
        torch.testing.assert_close(bright.image / 2.0**60, dim.image)
