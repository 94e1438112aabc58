"""What can be seen to be wrong when a transform is made is refused then, and a bad image with the first call."""

import numpy as np
import pytest
import torch
from monai.transforms import NormalizeIntensity

from mocodis_monai.motion import RigidTrajectory
from mocodis_monai.transforms import (
    KSpaceMotion,
    RandContrast,
    RandContrastd,
    RandKSpaceMotion,
    RandKSpaceMotiond,
    RandLayersd,
    RandLesionsd,
    RandTextured,
    RandThermalNoised,
    RandZeroFilld,
)

BAD_OPTIONS = [
    ("receiver.noise_std", {"receiver": {"noise_std": -0.1}}),
    ("receiver.noise_std", {"receiver": {"noise_std": float("nan")}}),
    ("receiver.phase_rad", {"receiver": {"phase_rad": "much"}}),
    ("receiver.num_coils", {"receiver": {"num_coils": -1}}),
    ("receiver.num_coils", {"receiver": {"num_coils": 2.5}}),
    ("echo_train.t2_ms", {"echo_train": {"echo_spacing_ms": 5.0, "t2_ms": 0.0}}),
    ("spacing_mm", {"spacing_mm": 1.0}),
    ("spacing_mm", {"spacing_mm": (1.0, 0.0)}),
    ("spacing_mm", {"spacing_mm": (1.0,)}),
    ("slice_axis", {"slice_axis": -1}),
    ("num_packages", {"num_packages": 0}),
    ("num_packages", {"num_packages": 1.5}),
]
OF_IMAGES = [RandContrastd, RandLayersd, RandLesionsd, RandTextured, RandThermalNoised, RandZeroFilld]
OF_MAGNITUDES = [RandThermalNoised, RandZeroFilld]
OF_THE_RANDOM_ONE = [
    ("phase_encode_axis", {"phase_encode_axis": []}),
    ("num_shots", {"num_shots": 4.5}),
    ("num_shots", {"num_shots": (4, 7.5)}),
    ("phase_encode_axis", {"phase_encode_axis": (0, 1, 2), "slice_axis": 2}),
    ("phase_encode_axis", {"phase_encode_axis": [(0, 1)], "slice_axis": 2}),
    ("phase_encode_axis", {"phase_encode_axis": -1}),
    ("orientation", {"orientation": "XY"}),
]


@pytest.mark.parametrize(("name", "options"), BAD_OPTIONS + OF_THE_RANDOM_ONE)
def test_an_option_that_cannot_be_is_named_when_the_transform_is_made(name, options):
    for make in (RandKSpaceMotion, lambda **given: RandKSpaceMotiond("image", **given)):
        with pytest.raises(ValueError, match=f"{name}: got"):
            make(**options)


@pytest.mark.parametrize(("name", "options"), BAD_OPTIONS)
def test_so_it_is_by_the_transform_of_a_given_motion(name, options):
    still = RigidTrajectory(torch.zeros(4, 2), torch.zeros(4, 1))
    with pytest.raises(ValueError, match=f"{name}: got"):
        KSpaceMotion(still, 0, **options)


@pytest.mark.parametrize("image", [-torch.ones(1, 8, 8), torch.ones(8, 8), torch.full((1, 8, 8), float("nan"))])
def test_a_bad_image_is_refused_with_the_first_call_and_not_when_one_moves_some_day(image):
    with pytest.raises(ValueError, match="img: got"):
        RandKSpaceMotion(prob=0.0)(image)


@pytest.mark.parametrize("axes", [2, [0, 2], [(0, 2)]])
def test_so_is_a_phase_encode_axis_that_the_image_does_not_have(axes):
    with pytest.raises(ValueError, match="phase_encode_axis: got 2"):
        RandKSpaceMotion(prob=0.0, phase_encode_axis=axes)(torch.rand(1, 8, 8))


@pytest.mark.parametrize("prob", [0.0, 1.0])
def test_a_voxel_size_for_another_number_of_axes_is_refused_moved_or_not(prob):
    with pytest.raises(ValueError, match="spacing_mm: got"):
        RandKSpaceMotion(prob=prob, spacing_mm=(1.0, 1.0))(torch.rand(1, 12, 12, 12))


def test_a_given_motion_along_impossible_axes_is_refused():
    still = RigidTrajectory(torch.zeros(4, 3), torch.zeros(4, 3))
    for axes, options in ((2, {"slice_axis": 2}), ((0, 0), {}), (-1, {}), (0, {"seed": -1})):
        with pytest.raises(ValueError, match=r"(phase_encode_axis|seed): got"):
            KSpaceMotion(still, axes, **options)


def test_numbers_of_numpy_are_taken_wherever_numbers_are():
    image = torch.rand(1, 12, 12, 12)
    options = {"receiver": {"num_coils": np.int64(2), "noise_std": np.float32(0.01)}, "num_packages": np.int64(2)}
    options |= {"echo_train": {"echo_spacing_ms": np.float32(5.0), "t2_ms": 80}, "slice_axis": np.int64(2)}
    rand = RandKSpaceMotion(1.0, phase_encode_axis=np.int64(1), spacing_mm=(9, 9, 9), **options).set_random_state(0)
    moved = rand.simulate(image)
    still = RigidTrajectory(torch.zeros(4, 3), torch.zeros(4, 3))
    KSpaceMotion(still, np.int64(1), seed=np.int64(3), spacing_mm=(9, 9, 9), **options)(image)
    assert torch.equal(KSpaceMotion.from_metadata(moved.metadata)(image), moved.image)


def test_whole_numbers_of_any_kind_are_taken():
    rand = RandKSpaceMotion(num_shots=np.array([4, 8]), spacing_mm=np.ones(2), receiver={"num_coils": np.int64(2)})
    assert rand.num_shots == (4, 8) and rand.spacing_mm == (1.0, 1.0)
    assert RandKSpaceMotion(num_shots=6.0).num_shots == (6, 6)


@pytest.mark.parametrize("prob", [0.0, 1.0])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.bool_, np.complex64])
@pytest.mark.parametrize("kind", OF_IMAGES)
def test_an_image_that_could_not_hold_the_result_is_refused_whatever_is_drawn(kind, dtype, prob):
    image = np.ones((1, 8, 8), dtype)
    for one in (image, torch.from_numpy(image)):
        with pytest.raises(TypeError, match=r"^other: got dtype torch\..*; allowed is a real.*EnsureType"):
            kind(("image", "other"), prob=prob)({"image": torch.ones(1, 8, 8), "other": one})


@pytest.mark.parametrize("dtype", [torch.int16, torch.complex64])
def test_so_it_is_by_the_contrast_of_one_image(dtype):
    with pytest.raises(TypeError, match=r"^img: got dtype"):
        RandContrast(0.0)(torch.ones(1, 8, 8, dtype=dtype))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("kind", OF_IMAGES)
def test_every_kind_of_floating_point_is_taken_and_given_back(kind, dtype):
    changed = kind("image", prob=1.0).set_random_state(0)({"image": torch.ones(1, 16, 16, dtype=dtype)})["image"]
    assert changed.dtype == dtype and bool(torch.isfinite(changed).all())


@pytest.mark.parametrize("prob", [0.0, 1.0])
@pytest.mark.parametrize("kind", OF_MAGNITUDES)
def test_values_below_zero_are_refused_where_the_magnitude_is_taken(kind, prob):
    change, image = kind(("image", "other"), prob=prob), torch.rand(1, 16, 16)
    shifted = NormalizeIntensity()(image)
    with pytest.raises(ValueError, match=r"^other: got values from -.*below zero.*NormalizeIntensity"):
        change({"image": image, "other": shifted})
    change({"image": image, "other": image - 0.009 * image.max()})  # interpolation leaves as much
