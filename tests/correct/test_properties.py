"""What holds for any volume: shape, affine and intensity scale are kept, and the same run gives the same bytes."""

from __future__ import annotations

import nibabel as nib
import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.correct.conftest import head

SETTINGS = settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)


@st.composite
def images(draw) -> nib.Nifti1Image:
    """Any shape that may be cut, spacing, order and direction of axes, and a rotation; or a single slice."""
    sizes = st.integers(16, 32)
    shape = draw(st.permutations([draw(sizes), draw(sizes), draw(st.just(1) | st.integers(16, 20))]))
    spacing = [draw(st.floats(0.3, 8)) for _ in range(3)]
    signs = [draw(st.sampled_from([-1, 1])) for _ in range(3)]
    angle = draw(st.floats(-0.6, 0.6))
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.eye(3)[draw(st.permutations(range(3)))] @ np.diag(np.multiply(spacing, signs))
    affine[:3, 3] = [draw(st.floats(-200, 200)) for _ in range(3)]
    return nib.Nifti1Image(head(tuple(shape), seed=draw(st.integers(0, 9))).astype(np.float32), affine)


@SETTINGS
@given(image=images())
def test_shape_and_affine_are_kept_and_a_run_repeats(image, correct, tmp_path_factory):
    folder = tmp_path_factory.mktemp("any")
    nib.save(image, folder / "in.nii.gz")
    for name in ("a", "b"):
        assert correct(folder / "in.nii.gz", folder / f"{name}.nii.gz", "--uncertainty", "--no-picture") == 0
    for name in ("a", "a_uncertainty"):
        after = nib.load(folder / f"{name}.nii.gz")
        assert after.shape == image.shape and after.get_data_dtype() == np.float32
        np.testing.assert_array_equal(after.affine, nib.load(folder / "in.nii.gz").affine)
        assert np.isfinite(after.get_fdata()).all()
    for end in (".nii.gz", "_uncertainty.nii.gz"):
        assert (folder / f"a{end}").read_bytes() == (folder / f"b{end}").read_bytes()


@SETTINGS
@given(image=images(), exponent=st.integers(-6, 10))
def test_the_intensity_scale_is_kept(image, exponent, correct, tmp_path_factory):
    folder = tmp_path_factory.mktemp("scale")
    results = []
    for factor in (1.0, 2.0**exponent):  # powers of two, so that no value is rounded on the way in
        path = folder / f"{factor}.nii"
        nib.save(nib.Nifti1Image(image.get_fdata(dtype=np.float32) * np.float32(factor), image.affine), path)
        assert correct(path, folder / f"{factor}_out.nii", "--no-picture") == 0
        results.append(nib.load(folder / f"{factor}_out.nii").get_fdata() / factor)
    # The scale is a percentile of the image; the rest is exact but for the last bits of float32.
    np.testing.assert_allclose(results[1], results[0], rtol=1e-5, atol=1e-5 * np.abs(results[0]).max())


@SETTINGS
@given(image=images())
def test_a_volume_that_did_not_move_comes_back_as_it_was(image, correct, tmp_path_factory, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("mocodis_monai.networks.motion_corrector.no_harm_gate", lambda score: score * 0)
        folder = tmp_path_factory.mktemp("still")
        nib.save(image, folder / "in.nii")
        assert correct(folder / "in.nii", folder / "out.nii", "--no-picture") == 0
    before, after = (nib.load(folder / f"{name}.nii").get_fdata() for name in ("in", "out"))
    np.testing.assert_allclose(after, before, rtol=3e-7)  # divided by the scale and multiplied again
    assert '"left alone"' in (folder / "results.jsonl").read_text()
