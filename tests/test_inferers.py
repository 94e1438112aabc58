"""Whole volumes: which axis is cut, what the network is given, and what comes back."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset, MetaTensor, decollate_batch
from monai.transforms import CenterSpatialCropd, Compose, Orientationd
from torch import nn

from mocodis_monai.data.intensity import foreground_mask, foreground_scale
from mocodis_monai.inferers import (
    LEAST_TISSUE,
    SliceInferer2D,
    VolumeCorrector,
    VolumeInferer,
    choose_slice_axis,
    thickest_axis,
)
from mocodis_monai.networks import Correction
from mocodis_monai.transforms import LoadVolumed
from mocodis_monai.transforms.volumes import phase_encode_axis_of


class Recorder(nn.Module):
    """Stands in for the corrector: doubles the image, takes it for the artifact map, and keeps what it was given."""

    def __init__(self, gate: float = 0.25) -> None:
        super().__init__()
        self.gate = gate
        self.weight = nn.Parameter(torch.zeros(1))
        self.batches: list[torch.Tensor] = []
        self.options: list[dict] = []

    def correct(self, image: torch.Tensor, **options) -> Correction:
        self.batches.append(image)
        self.options.append(options)
        score = image.flatten(1).amax(1)
        return Correction(2 * image, 0.5 * image, score, image, torch.full_like(score, self.gate))


@pytest.fixture
def volume() -> torch.Tensor:
    """A ball of tissue in faint noise, (20, 24, 18): slices 0 to 2 and the last ones of each axis are air."""
    x, y, z = np.mgrid[-1:1:20j, -1:1:24j, -1:1:18j]
    noise = np.random.default_rng(0).random(x.shape)
    ball = (x**2 + y**2 + z**2 < 0.4) * (1 + 0.3 * np.cos(5 * x))
    return torch.from_numpy(300 * ball + noise).float()


@pytest.mark.parametrize(
    ("spacing_mm", "axis"),
    [((1, 1, 5), 2), ((5, 1, 1), 0), ((1, 4, 1), 1), ((1, 1, 1), 2), ((1.0, 1.0, 0.999), 2), ((2, 2, 1), 1)],
)
def test_the_slice_axis_is_the_one_with_the_thickest_voxels(spacing_mm, axis):
    assert thickest_axis(spacing_mm) == axis


@pytest.mark.parametrize(("slice_axis", "wanted"), [(None, 1), (0, 0), (1, 1), (2, 2)])
def test_slices_are_cut_at_full_size_along_the_axis(volume, slice_axis, wanted):
    network = Recorder()
    result = VolumeCorrector(network, slice_axis, batch_size=3).correct(volume, (0.8, 3.0, 1.2))
    assert result.slice_axis == wanted
    in_plane = [size for axis, size in enumerate(volume.shape) if axis != wanted]
    assert all(batch.shape[1:] == (1, *in_plane) and len(batch) <= 3 for batch in network.batches)
    spacing = [size for axis, size in enumerate((0.8, 3.0, 1.2)) if axis != wanted]
    assert all(options["spacing_mm"] == pytest.approx(sum(spacing) / 2) for options in network.options)
    assert result.motion_score_mm.shape == result.gate.shape == (volume.shape[wanted],)


def test_points_without_tissue_come_back_as_they_were():
    points = torch.zeros(24, 24, 8)
    points[3::6, 3::6, 2::4] = 100  # too small to be a foreground
    result = VolumeCorrector(Recorder(), 2).correct(points, (1.0, 1.0, 1.0))
    assert torch.allclose(result.corrected, points) and not result.gate.any()


def test_tissue_is_corrected_and_air_and_the_rim_come_back_as_they_were(volume):
    volume[8:11, 8:11, 14:16] = 200  # a rim of two slices with little in them
    result = VolumeCorrector(Recorder(), slice_axis=2).correct(volume, (1, 1, 1))
    area = (volume > 30).flatten(0, 1).sum(0)
    judged = (area >= LEAST_TISSUE * area.max()).nonzero().flatten()
    alone = (area < LEAST_TISSUE * area.max()).nonzero().flatten()
    assert len(judged) > 5 and (area[alone] > 0).any() and (area[alone] == 0).sum() > 3
    torch.testing.assert_close(result.corrected[..., judged], 2 * volume[..., judged])
    assert torch.equal(result.corrected[..., alone], volume[..., alone])
    torch.testing.assert_close(result.uncertainty[..., judged], 0.5 * volume[..., judged])
    assert (result.gate[judged] > 0).all() and not result.gate[alone].any()
    assert (result.motion_score_mm[judged] > 0).all() and result.motion_score_mm[alone].isnan().all()
    assert not any(chart[..., alone].any() for chart in (result.uncertainty, result.artifact_map, result.foreground))


def test_an_empty_slice_beside_a_full_one_stays_empty(volume):
    volume = volume * (volume > 30)
    volume[..., :8] = 0  # as where a scan was padded, or a brain cut out
    assert foreground_mask(volume[None])[0][..., 7].any()  # the mask is smooth and reaches one slice further
    result = VolumeCorrector(Recorder(), slice_axis=2).correct(volume, (1, 1, 1))
    assert not result.corrected[..., :8].any() and result.motion_score_mm[:8].isnan().all() and result.gate[8] > 0


def test_what_the_gate_holds_for_still_comes_back_to_the_bit(volume):
    result = VolumeCorrector(Recorder(gate=0.0), 2).correct(volume, (1.0, 1.0, 1.0))
    assert torch.equal(result.corrected, volume)


def test_the_network_sees_one_scale_whatever_the_unit(volume):
    peaks = []
    for unit in (1.0, 1000.0, 1e-4):
        network = Recorder()
        VolumeCorrector(network, slice_axis=2).correct(unit * volume, (1, 1, 1))
        peaks.append(max(batch.max().item() for batch in network.batches))
    assert peaks[0] == pytest.approx(1, abs=0.05)
    assert peaks == pytest.approx([peaks[0]] * 3)


def test_a_thousand_times_the_image_gives_a_thousand_times_the_result(volume, small_corrector):
    corrector = VolumeCorrector(small_corrector().float(), slice_axis=2)
    small, large = (corrector.correct(unit * volume, (1, 1, 1)) for unit in (1, 1024))  # 1024 rounds nothing
    assert not torch.allclose(small.corrected, volume)
    torch.testing.assert_close(large.corrected, 1024 * small.corrected)
    torch.testing.assert_close(large.uncertainty, 1024 * small.uncertainty)
    torch.testing.assert_close(large.artifact_map, small.artifact_map)
    torch.testing.assert_close(large.motion_score_mm, small.motion_score_mm, equal_nan=True)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_single_slice_volume(volume, axis):
    single = volume.narrow(axis, 9, 1)
    network = Recorder()
    spacing = [1.0, 1.0, 1.0]
    spacing[axis] = 5.0
    result = VolumeCorrector(network).correct(single, tuple(spacing))
    assert len(network.batches) == 1 and result.slice_axis == axis
    torch.testing.assert_close(result.corrected, 2 * single)


@pytest.mark.parametrize("phase", [None, 0, 1, 2])
def test_a_single_slice_is_never_cut_into_strips(phase):
    assert choose_slice_axis((40, 30, 1), (5.0, 1.0, 1.0), phase) == 2


@pytest.mark.parametrize(
    ("shape", "spacing_mm", "phase", "wanted"),
    [
        ((48, 60, 6), (3, 3, 10), 2, 2),  # else slices of 48 x 6 pixels
        ((256, 256, 60), (1, 1, 3), 2, 2),  # else pixels of 1 x 3 mm
        ((256, 256, 60), (1, 1, 2), 2, 1),
        ((256, 256, 47), (1, 1, 1), 2, 2),
        ((256, 256, 48), (1, 1, 1), 2, 1),
        ((256, 20, 256), (1, 4, 1), 1, 1),
        ((256, 256, 6), (1, 1, 5), 0, 2),
        ((256, 256, 6), (1, 1, 0.9), 0, 2),  # across axis 1 they would be 256 x 6
        ((256, 256, 180), (1, 1, 1), 2, 1),
    ],
)
def test_the_phase_encode_axis_of_a_thin_stack_counts_as_unknown(shape, spacing_mm, phase, wanted):
    assert choose_slice_axis(shape, spacing_mm, phase) == wanted


def test_the_data_are_not_changed(volume):
    before = volume.clone()
    VolumeCorrector(Recorder()).correct(volume, (1, 1, 1))
    assert torch.equal(volume, before)


def test_options_reach_the_network(volume):
    network = Recorder()
    VolumeCorrector(network, fidelity=0.3, guidance=0.6).correct(volume, (1, 1, 1))
    assert {(options["fidelity"], options["guidance"]) for options in network.options} == {(0.3, 0.6)}


@pytest.mark.parametrize("slice_axis", [3, -1, "z"])
def test_an_axis_that_is_none_is_refused(slice_axis):
    with pytest.raises(ValueError, match=r"slice_axis: got .*; allowed are 0, 1, 2"):
        VolumeCorrector(Recorder(), slice_axis)


@pytest.mark.parametrize("option", [{"batch_size": 0}, {"fidelity": 3.0}, {"guidance": float("nan")}])
def test_options_out_of_range_are_refused_before_the_work(option):
    with pytest.raises(ValueError, match=next(iter(option))):
        VolumeCorrector(Recorder(), **option)


def test_progress_counts_the_slices_that_hold_tissue(volume, capfd):
    network = Recorder()
    VolumeCorrector(network, progress=True).correct(volume, (1, 1, 1))
    count = sum(len(batch) for batch in network.batches)
    assert f"{count}/{count}" in capfd.readouterr().err


@pytest.mark.parametrize("batched", [False, True])
def test_the_inferer_reads_the_voxel_size_from_the_affine(volume, batched):
    affine = torch.diag(torch.tensor([1.0, 6.0, 2.0, 1.0], dtype=torch.float64))[[1, 0, 2, 3]]  # axes swapped
    affine = affine[None] if batched else affine
    network = Recorder()
    out = VolumeInferer(batch_size=4)(MetaTensor(volume[None, None], affine=affine), network)
    assert out.shape == (1, 1, *volume.shape)
    assert all(batch.shape[1:] == (1, 20, 18) for batch in network.batches)  # cut across the 6 mm axis
    assert {options["spacing_mm"] for options in network.options} == {1.5}


def test_the_inferer_takes_the_voxel_size_of_the_file_over_an_affine_in_metres(volume):
    affine = torch.diag(torch.tensor([0.001, 0.006, 0.002, 1.0], dtype=torch.float64))
    meta = {"spacing_mm": torch.tensor([[1.0, 6.0, 2.0]])}  # as a data loader collates it
    network = Recorder()
    VolumeInferer()(MetaTensor(volume[None, None], affine=affine, meta=meta), network)
    assert {options["spacing_mm"] for options in network.options} == {1.5}


def test_the_inferer_corrects_each_volume_of_a_batch(volume):
    volumes = torch.stack([volume, 7 * volume.flip(0)]).unsqueeze(1)
    out = VolumeInferer(slice_axis=2)(volumes, Recorder())
    for index in range(2):
        alone = VolumeInferer(slice_axis=2)(volumes[index : index + 1], Recorder())
        torch.testing.assert_close(out[index : index + 1], alone)


@pytest.mark.parametrize("kind", [torch.Tensor, MetaTensor])
def test_slices_come_back_as_float32_of_the_kind_they_were(kind):
    image = torch.rand(2, 1, 16, 16)
    image = MetaTensor(image, meta={"filename_or_obj": ["a.nii", "b.nii"]}) if kind is MetaTensor else image
    network = nn.Conv2d(1, 1, 1)
    out = SliceInferer2D()(image, network)
    assert type(out) is kind and out.dtype == torch.float32 and out.shape == image.shape
    assert getattr(out, "meta", {}).get("filename_or_obj") == getattr(image, "meta", {}).get("filename_or_obj")
    out.sum().backward()
    assert network.bias.grad == out.numel()


def test_threads_share_a_network_whose_weights_stay_where_they_are(volume, small_corrector):
    network = small_corrector()
    before = {name: (weight.data_ptr(), weight.stride()) for name, weight in network.state_dict().items()}
    alone = VolumeCorrector(network, slice_axis=2).correct(volume, (1, 1, 1)).corrected
    with ThreadPoolExecutor(2) as pool:
        work = [pool.submit(VolumeCorrector(network, slice_axis=2).correct, volume, (1, 1, 1)) for _ in range(2)]
        for done in work:
            torch.testing.assert_close(done.result().corrected, alone)
    assert {name: (weight.data_ptr(), weight.stride()) for name, weight in network.state_dict().items()} == before


def enlarged(volume: torch.Tensor) -> torch.Tensor:
    """(60, 72, 54): slices that the network can judge across each axis."""
    return volume.repeat_interleave(3, 0).repeat_interleave(3, 1).repeat_interleave(3, 2)


@pytest.mark.parametrize(("phase", "wanted"), [(-1, 2), (2, 1), (1, 2)])
def test_the_inferer_does_not_cut_across_the_phase_encode_axis(volume, phase, wanted):
    network, volume = Recorder(), enlarged(volume)
    meta = {"spacing_mm": torch.ones(3), "phase_encode_axis": phase}
    VolumeInferer()(MetaTensor(volume[None, None], meta=meta), network)
    assert network.batches[0].shape[2:] == tuple(size for axis, size in enumerate(volume.shape) if axis != wanted)


def test_score_and_surprise_of_a_volume_are_those_of_its_tissue(volume):
    found = VolumeCorrector(Recorder()).correct(volume, (1.0, 1.0, 1.0))
    scaled, tissue = volume / foreground_scale(volume), foreground_mask(volume[None])[0] & found.gate.bool()
    assert found.surprise_nats == pytest.approx(float(scaled[tissue].mean()), rel=1e-5)
    scores = scaled.amax((0, 1))[tissue.any(0).any(0)]
    assert found.median_score_mm == pytest.approx(float(scores.median()))
    assert found.foreground.any() and not found.foreground.all()


def loaded(path, volume, spacing_mm, *transforms, unit="mm", phase=None) -> MetaTensor:
    """A batch of one volume read from a file whose axes are z, x, y of the world, with ``transforms`` after that."""
    affine = np.diag([*spacing_mm, 1.0])[[1, 2, 0, 3]]
    affine[:3] *= {"meter": 1e-3, "mm": 1, "micron": 1e3}[unit]
    image = nib.Nifti1Image(volume.numpy(), affine)
    image.header.set_xyzt_units(unit)
    image.header.set_dim_info(phase=phase)
    nib.save(image, path / "scan.nii")
    preprocessing = Compose([LoadVolumed("image"), *transforms])
    return next(iter(DataLoader(Dataset([{"image": str(path / "scan.nii")}], preprocessing))))["image"]


@pytest.mark.parametrize("unit", ["meter", "mm", "micron"])
@pytest.mark.parametrize("turned", [False, True])
def test_the_inferer_cuts_a_turned_volume_where_its_thickest_axis_is_now(tmp_path, volume, turned, unit):
    network = Recorder()
    transforms = [Orientationd("image", "RAS")] if turned else []
    VolumeInferer()(loaded(tmp_path, volume, (1, 6, 3), *transforms, unit=unit), network)
    in_plane = (18, 20) if turned else (20, 18)  # across the 24 voxels of 6 mm
    assert all(batch.shape[2:] == in_plane for batch in network.batches)
    assert all(options["spacing_mm"] == pytest.approx(2) for options in network.options)


def test_the_phase_encode_axis_is_known_while_the_axes_are_those_of_the_file(tmp_path, volume):
    crop, turn = CenterSpatialCropd("image", (48, 48, 48)), Orientationd("image", "RAS")
    for transforms, wanted in (((), 2), ((crop,), 2), ((turn,), None)):
        image = loaded(tmp_path, enlarged(volume), (1, 1, 1), *transforms, phase=2)
        assert phase_encode_axis_of(image) == phase_encode_axis_of(image[0]) == wanted
        network = Recorder()
        VolumeInferer()(image, network)
        assert network.batches[0].shape[2:] == ((image.shape[2], image.shape[4]) if wanted else image.shape[2:4])


def test_the_inferer_keeps_the_metadata_so_that_what_was_done_to_the_volume_can_be_undone(tmp_path, volume):
    image = loaded(tmp_path, volume, (1, 6, 3), Orientationd("image", "RAS"))
    out = VolumeInferer()(image, Recorder())
    assert isinstance(out, MetaTensor) and out.dtype == torch.float32
    (item,) = decollate_batch(out)
    assert torch.equal(item.affine, image[0].affine) and item.meta["filename_or_obj"] == str(tmp_path / "scan.nii")
    assert [done["class"] for done in item.applied_operations] == ["Orientation"]
    assert type(VolumeInferer()(image.as_tensor(), Recorder())) is torch.Tensor


@pytest.mark.parametrize("shape", [(1, 3, 20, 24, 18), (1, 1, 20, 24), (20, 24, 18)])
def test_the_inferer_refuses_what_is_no_batch_of_single_channel_volumes(shape):
    with pytest.raises(ValueError, match=r"inputs has shape .*; wanted volumes of one channel, \(B, 1, x, y, z\)"):
        VolumeInferer()(torch.ones(shape), Recorder())
