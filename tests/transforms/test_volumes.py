"""Volumes through a MONAI pipeline: loaded checked, collated, decollated, written like their source."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset, MetaTensor, decollate_batch
from monai.transforms import CenterSpatialCropd, Compose, EnsureTyped, Invertd, Orientationd, Spacingd, SpatialPadd

from mocodis_monai.errors import InputError, NotAScanError
from mocodis_monai.transforms.volumes import LoadVolumed, SaveVolumed

AFFINE = np.array([[0, -2.0, 0, 5], [1.5, 0, 0, -7], [0, 0, 3.0, 9], [0, 0, 0, 1]])


def make(path, shape) -> str:
    data = np.random.default_rng(0).random(shape, dtype=np.float32)
    nib.save(nib.Nifti1Image(data, AFFINE), path)
    return str(path)


@pytest.mark.parametrize("shape", [(6, 5, 4), (6, 5), (6, 5, 1), (6, 5, 4, 1)])
def test_loader_to_writer_keeps_shape_affine_and_values(shape, tmp_path):
    source = make(tmp_path / "scan.nii.gz", shape)
    loader = DataLoader(Dataset([{"image": source}], LoadVolumed("image")), batch_size=1)
    (batch,) = loader
    assert batch["image"].shape == (1, 1, *(*shape, 1)[:3])
    batch["pred"] = torch.as_tensor(batch["image"]) * 2  # a plain tensor, as a network may return
    (item,) = decollate_batch(batch)
    SaveVolumed("pred", tmp_path / "out")(item)
    out = nib.load(tmp_path / "out" / "scan_corrected.nii.gz")
    assert out.shape == shape
    assert out.get_data_dtype() == np.float32
    np.testing.assert_array_equal(out.affine, nib.load(source).affine)
    np.testing.assert_array_equal(out.get_fdata(), 2 * nib.load(source).get_fdata())


def test_loaded_volume_is_a_metatensor_with_geometry(tmp_path):
    image = LoadVolumed("image")({"image": make(tmp_path / "a.nii", (6, 5, 4))})["image"]
    assert isinstance(image, MetaTensor) and image.dtype == torch.float32
    np.testing.assert_array_equal(image.affine, AFFINE)
    np.testing.assert_allclose(image.meta["spacing_mm"], (1.5, 2, 3))
    assert image.meta["filename_or_obj"] == str(tmp_path / "a.nii")


def test_with_scans_only_what_was_corrected_before_and_masks_are_refused(tmp_path):
    item = LoadVolumed("image", scans_only=True)({"image": make(tmp_path / "a.nii", (6, 5, 4))})
    SaveVolumed("image", tmp_path)(item)
    nib.save(nib.Nifti1Image((item["image"][0].numpy() > 0.5).astype(np.uint8), AFFINE), tmp_path / "mask.nii")
    for name in ("a_corrected.nii.gz", "mask.nii"):
        LoadVolumed("image")({"image": tmp_path / name})
        with pytest.raises(NotAScanError, match=name):
            LoadVolumed("image", scans_only=True)({"image": tmp_path / name})


def test_several_keys_get_several_names(tmp_path):
    item = LoadVolumed("image")({"image": make(tmp_path / "a.nii", (6, 5, 4))})
    item["map"] = item["image"]
    SaveVolumed(("image", "map"), tmp_path / "out", ("corrected", "uncertainty"))(item)
    names = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert names == ["a_corrected.nii.gz", "a_uncertainty.nii.gz"]
    with pytest.raises(ValueError, match="output_postfix"):
        SaveVolumed(("image", "map"), tmp_path)


def test_unfit_items_are_refused(tmp_path):
    item = LoadVolumed("image")({"image": make(tmp_path / "a.nii", (6, 5, 4))})
    with pytest.raises(ValueError, match="one channel"):
        SaveVolumed("image", tmp_path)({"image": item["image"][0]})
    with pytest.raises(KeyError, match="LoadVolumed"):
        SaveVolumed("pred", tmp_path)({"pred": torch.zeros(1, 6, 5, 4)})
    with pytest.raises(InputError, match="output_dir"):
        SaveVolumed("image", tmp_path / "a.nii")(item)
    with pytest.raises(InputError, match="no such file"):
        LoadVolumed("image")({"image": str(tmp_path / "missing.nii")})


@pytest.mark.parametrize(
    "change",
    [
        [Orientationd("image", "RAS")],
        [Spacingd("image", (1, 1, 1))],
        [CenterSpatialCropd("image", (4, 4, 4)), SpatialPadd("image", (6, 5, 4), method="end")],
    ],
)
def test_a_volume_that_is_no_longer_on_the_grid_of_its_file_is_refused(change, tmp_path):
    source = make(tmp_path / "a.nii", (6, 5, 4))
    preprocessing = Compose([LoadVolumed("image"), *change])
    item = preprocessing({"image": source})
    item["plain"] = torch.as_tensor(item["image"]).as_subclass(torch.Tensor)
    for key in ("image", "plain"):
        with pytest.raises(ValueError, match=r"data\['image'\] has the affine .* a.nii has .*Invertd"):
            SaveVolumed(key, tmp_path / "out")(item)
    assert not list((tmp_path / "out").iterdir())


def test_a_volume_is_written_where_its_change_was_undone(tmp_path):
    source = make(tmp_path / "a.nii", (6, 5, 4))
    preprocessing = Compose([LoadVolumed("image"), Orientationd("image", "RAS"), Spacingd("image", (2, 1.5, 3))])
    item = preprocessing({"image": source})
    item["pred"] = item["image"].clone()
    item = Invertd("pred", preprocessing, orig_keys="image", nearest_interp=False)(item)
    SaveVolumed("pred", tmp_path / "out")(item)  # the image itself is still turned
    out = nib.load(tmp_path / "out" / "a_corrected.nii.gz")
    np.testing.assert_array_equal(out.affine, nib.load(source).affine)
    np.testing.assert_allclose(out.get_fdata(), nib.load(source).get_fdata(), rtol=1e-5)  # resampled in float32


def test_the_affine_that_monai_gives_a_plain_tensor_says_nothing(tmp_path):
    item = LoadVolumed("image")({"image": make(tmp_path / "a.nii", (6, 5, 4))})
    item = EnsureTyped("pred")({**item, "pred": item["image"].as_tensor()})
    assert isinstance(item["pred"], MetaTensor)
    SaveVolumed("pred", tmp_path / "out")(item)
    np.testing.assert_array_equal(nib.load(tmp_path / "out" / "a_corrected.nii.gz").affine, AFFINE)
