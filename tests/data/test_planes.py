"""Planes through a volume: reproducible, in place, sampled truly, and never folded."""

import nibabel as nib
import numpy as np
import pytest

from mocodis_monai.data.planes import MIN_FOREGROUND, ZOOM, _draw_points, random_plane
from mocodis_monai.errors import InputError

SHAPE, SPACING_MM = (48, 56, 40), (1.0, 1.0, 1.5)
CENTRE_MM, WIDTH_MM = np.array([22.0, 30.0, 28.0]), 16.0


def blob(points: np.ndarray) -> np.ndarray:
    """A Gaussian in the volume, at voxel coordinates (3, ...)."""
    mm = np.moveaxis(points, 0, -1) * SPACING_MM
    return 100 * np.exp(-0.5 * (((mm - CENTRE_MM) / WIDTH_MM) ** 2).sum(-1))


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij")).astype(float)
    file = tmp_path_factory.mktemp("planes") / "blob.nii.gz"
    nib.save(nib.Nifti1Image(blob(grid).astype(np.float32), np.diag([*SPACING_MM, 1])), file)
    return file


def test_a_plane_is_its_seed(path):
    first = random_plane(path, 3, (40, 48))
    assert first.shape == (40, 48) and first.dtype == np.float32 and first.min() >= 0
    assert np.array_equal(first, random_plane(path, 3, (40, 48)))
    assert not np.array_equal(first, random_plane(path, 4, (40, 48)))


def test_planes_hold_enough_of_the_object(path):
    for seed in range(20):
        plane = random_plane(path, seed, (40, 40))
        assert (plane > 0.04 * 100).mean() >= MIN_FOREGROUND


def test_asked_for_less_some_planes_show_less(tmp_path):
    cube = np.zeros((40, 40, 40), np.float32)
    cube[10:28, 12:30, 11:29] = 100
    nib.save(nib.Nifti1Image(cube, np.eye(4)), tmp_path / "cube.nii")
    shown = {
        least: [(random_plane(tmp_path / "cube.nii", seed, (40, 40), least) > 5).mean() for seed in range(40)]
        for least in (0.03, MIN_FOREGROUND)
    }
    assert min(shown[MIN_FOREGROUND]) >= MIN_FOREGROUND
    assert 0.03 <= min(shown[0.03]) < MIN_FOREGROUND


@pytest.mark.parametrize("seed", range(4))
def test_the_plane_is_the_object_at_its_points(path, seed):
    # The plane that is drawn first is the one that is kept, as here nearly all is foreground.
    plane = random_plane(path, seed, (40, 40))
    points = _draw_points(SHAPE, SPACING_MM, (40, 40), np.random.default_rng((20, seed)))
    inside = np.all([(p >= 3) & (p <= n - 4) for p, n in zip(points, SHAPE, strict=True)], axis=0)
    assert inside.any()
    # A cubic spline errs by about (voxel / width)^4 of a Gaussian this wide; float32 coefficients add 1e-5.
    assert np.abs(plane - blob(points))[inside].max() < 0.02


def test_planes_never_fold_and_zoom_within_bounds():
    areas = []
    for seed in range(60):
        points = _draw_points(SHAPE, SPACING_MM, (64, 64), np.random.default_rng(seed))
        mm = np.moveaxis(points, 0, -1) * SPACING_MM
        normals = np.cross(np.diff(mm, axis=0)[:, :-1], np.diff(mm, axis=1)[:-1])
        mean = normals.mean((0, 1))
        assert (normals @ mean > 0).all()  # every pixel's area has the orientation of the whole
        areas.append(np.linalg.norm(mean))
    # The warp adds nothing to the mean but at the border.
    assert 0.7 / ZOOM[1] ** 2 < min(areas) and max(areas) < 1.3 / ZOOM[0] ** 2
    assert np.ptp(areas) > 0.5


def test_the_same_object_in_finer_voxels_is_shown_as_large_once_it_is_wide():
    def width_mm(shape: tuple[int, int, int], spacing_mm: tuple[float, float, float]) -> float:
        points = _draw_points(shape, spacing_mm, (64, 64), np.random.default_rng(5))
        mm = np.moveaxis(points, 0, -1) * spacing_mm
        return np.linalg.norm(mm[0, -1] - mm[0, 0])

    at_256 = width_mm((256, 256, 256), (1.0, 1.0, 1.0))
    assert width_mm((512, 512, 512), (0.5, 0.5, 0.5)) == pytest.approx(at_256, rel=0.1)  # the warp counts in pixels
    assert width_mm((128, 128, 128), (0.5, 0.5, 0.5)) == pytest.approx(at_256 / 2, rel=0.1)


@pytest.mark.parametrize(("pixel_mm", "thick_mm"), [(1, 6), (2, 5)])
def test_a_stack_of_thick_slices_gives_its_own_slices(tmp_path, pixel_mm, thick_mm):
    """Each slice holds its own number all over, so a plane of any other cut, or between two, would mix numbers."""
    numbers = np.broadcast_to(np.arange(1, 7, dtype=np.float32), (40, 44, 6))
    nib.save(nib.Nifti1Image(numbers, np.diag([pixel_mm, pixel_mm, thick_mm, 1])), tmp_path / "stack.nii")
    seen = set()
    for seed in range(12):
        middle = random_plane(tmp_path / "stack.nii", seed, (24, 24))[8:-8, 8:-8]
        assert np.ptp(middle) < 1e-3
        seen.add(round(float(middle.mean())))
    assert len(seen) >= 3


def test_an_object_too_small_for_the_planes_is_named_with_what_to_do(path):
    with pytest.raises(InputError, match=r"blob.nii.gz: .* 400 x 400 pixels had under 15% .*--image_size 96"):
        random_plane(path, 0, (400, 400))


@pytest.mark.parametrize(
    ("size", "said"),
    [
        ((96, 96), "Ask for smaller ones (--image_size 80, say), or leave the scan out."),
        ((40, 32), "Ask for smaller ones (--image_size 16, say), or leave the scan out."),
        ((16, 16), "foreground. Leave the scan out."),
    ],
)
def test_only_smaller_planes_are_advised(path, size, said):
    with pytest.raises(InputError) as refused:
        random_plane(path, 0, size, min_foreground=1.1)
    assert str(refused.value).endswith(said)
