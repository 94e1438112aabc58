"""Records list what to load; slices are cut in canonical orientation."""

import nibabel as nib
import numpy as np
import pytest

from mocodis_monai.data.files import sha256_of
from mocodis_monai.data.phantom import REGIONS
from mocodis_monai.data.records import phantom_records, plane_records, slice_records, spread_off_ends, twin_records
from mocodis_monai.data.slices import read_canonical, read_slice


@pytest.fixture
def volume_path(tmp_path):
    """A RAS volume (12, 14, 16) with spacing (1, 2, 3) mm, stored with axes (S, L, P)."""
    rng = np.random.default_rng(0)
    ras = np.zeros((12, 14, 16), dtype=np.float32)
    ras[3:9, 3:11, 4:12] = rng.uniform(50, 100, (6, 8, 8))
    stored = np.transpose(ras[::-1, ::-1], (2, 0, 1))
    affine = np.zeros((4, 4))
    affine[2, 0], affine[0, 1], affine[1, 2], affine[3, 3] = 3, -1, -2, 1
    path = tmp_path / "subject7.nii.gz"
    nib.save(nib.Nifti1Image(stored, affine), path)
    return path, ras


def test_canonical_reading_undoes_the_permutation(volume_path):
    path, ras = volume_path
    volume = read_canonical(str(path))
    assert np.array_equal(volume.data, ras) and volume.spacing_mm == pytest.approx((1, 2, 3))
    assert read_canonical(str(path)) is volume


@pytest.mark.parametrize(("axis", "spacing", "thickness"), [(0, (2, 3), 1), (1, (1, 3), 2), (2, (1, 2), 3)])
def test_slices_keep_their_in_plane_spacing(volume_path, axis, spacing, thickness):
    path, ras = volume_path
    cut = read_slice(str(path), axis, 6)
    assert np.array_equal(cut.image, np.take(ras, 6, axis))
    assert cut.spacing_mm == pytest.approx(spacing) and cut.thickness_mm == pytest.approx(thickness)


def test_slice_out_of_range_is_refused(volume_path):
    with pytest.raises(ValueError, match=r"index is 16.*0 to 15"):
        read_slice(str(volume_path[0]), 2, 16)
    with pytest.raises(ValueError, match="axis is 3"):
        read_slice(str(volume_path[0]), 3, 0)


def test_slice_records_list_only_slices_with_foreground(volume_path):
    path, _ = volume_path
    records = slice_records(path, axes=(2,), step=1)
    assert [r["image"]["index"] for r in records] == list(range(4, 12))
    assert [r["image"]["index"] for r in slice_records(path, axes=(2,), step=3)] == [4, 7, 10]
    assert {r["subject"] for r in records} == {"subject7"}
    with pytest.raises(ValueError, match=r"min_foreground is 0.99"):
        slice_records(path, min_foreground=0.99)


def test_phantom_records_take_the_regions_in_turn_and_one_seed_each():
    records = phantom_records(10, first_seed=100, size=(64, 96))
    assert [r["image"]["seed"] for r in records] == list(range(100, 110))
    assert [r["region"] for r in records[: len(REGIONS)]] == list(REGIONS)
    assert records[0]["image"]["size"] == [64, 96]
    with pytest.raises(ValueError, match="'foot'"):
        phantom_records(1, regions=["foot"])


def test_twins_are_two_anatomies_and_the_seed_of_their_sample(volume_path):
    records = twin_records(300, first_seed=7, volumes=[volume_path[0]], volume_share=0.4)
    assert [record["seed"] for record in records] == list(range(7, 307))
    anatomies = [record[key] for record in records for key in ("image", "partner")]
    assert len({anatomy["seed"] for anatomy in anatomies}) == 600  # none comes twice
    share = sum(anatomy["kind"] == "plane" for anatomy in anatomies) / 600
    assert share == pytest.approx(0.4, abs=0.08)  # four standard deviations of a binomial share
    assert {anatomy["region"] for anatomy in anatomies if anatomy["kind"] == "phantom"} == set(REGIONS)
    assert twin_records(5, first_seed=7, volumes=[volume_path[0]], volume_share=0.4) == records[:5]


def test_twins_of_no_volume_are_refused():
    with pytest.raises(ValueError, match=r"volume_share is 0\.4 and volumes is empty"):
        twin_records(1, volume_share=0.4)
    with pytest.raises(ValueError, match="'foot'"):
        twin_records(1, regions=["foot"])


@pytest.mark.parametrize(
    ("there", "wanted", "places"), [(9, 1, [4]), (9, 3, [2, 4, 6]), (4, 9, [0, 1, 2]), (1, 3, [0])]
)
def test_slices_are_spread_evenly_off_the_ends_and_come_once(there, wanted, places):
    assert spread_off_ends([{"index": place} for place in range(there)], wanted) == [{"index": k} for k in places]


def test_a_name_alone_is_a_list_of_one(volume_path):
    path = volume_path[0]
    for name in (str(path), path):
        assert plane_records(name, 3) == plane_records([name], 3)
        assert sha256_of(name) == sha256_of([name])
        assert twin_records(3, regions="knee", volumes=name, volume_share=0.5) == twin_records(
            3, regions=["knee"], volumes=[name], volume_share=0.5
        )
    assert phantom_records(2, regions="knee") == phantom_records(2, regions=["knee"])
    with pytest.raises(ValueError, match=r"regions is \['foot'\]"):
        phantom_records(1, regions="foot")
