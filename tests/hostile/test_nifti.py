"""Unfit NIfTI files: one clear line, exit status 1, nothing written, nothing touched; odd but sound ones work."""

from __future__ import annotations

import tracemalloc

import nibabel as nib
import numpy as np
import pytest

from mocodis_monai.data.nifti import read_volume
from mocodis_monai.errors import InputError
from tests.correct.conftest import head, records
from tests.hostile.nifti_files import BOMBS, OTHER_KINDS, UNFIT


def contents(folder):
    """What lies in a folder, by name: content and time of change; of links and pipes only that they are there."""
    found = {}
    for path in sorted(folder.rglob("*")):
        found[path] = (path.read_bytes(), path.stat().st_mtime_ns) if path.is_file() else None
    return found


def refused(correct, capsys, tmp_path, file, *options):
    """Put the file into a folder, ask for its correction, and check what must be true of each refusal."""
    path = tmp_path / file.name
    file.make(path)
    before = contents(tmp_path)
    assert correct(path, tmp_path / "out.nii.gz", "--device", "cpu", *options) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: ") and said.err.count("\n") == 1 and "\x1b" not in said.err
    assert file.words in said.err
    assert tmp_path.name in said.err, "the message names the file"
    assert contents(tmp_path) == before


def test_there_are_many():
    assert len(UNFIT) + len(BOMBS) >= 60


@pytest.mark.parametrize("kind", UNFIT)
def test_an_unfit_file_is_refused(kind, tmp_path, correct, capsys):
    refused(correct, capsys, tmp_path, UNFIT[kind])


@pytest.mark.parametrize("kind", BOMBS)
def test_a_bomb_is_refused(kind, tmp_path, correct, capsys):
    refused(correct, capsys, tmp_path, BOMBS[kind], "--max-gb", "0.01")


@pytest.mark.parametrize("kind", BOMBS)
def test_a_bomb_takes_no_memory(kind, tmp_path):
    path = tmp_path / BOMBS[kind].name
    BOMBS[kind].make(path)
    assert path.stat().st_size < 200_000
    tracemalloc.start()
    with pytest.raises(InputError):
        read_volume(path, max_bytes=10_000_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10_000_000


def test_the_limit_is_what_was_asked_for(tmp_path, correct, capsys):
    nib.save(nib.Nifti1Image(head((50, 50, 4)), np.eye(4)), tmp_path / "in.nii.gz")  # 40 kB as float32
    assert correct(tmp_path / "in.nii.gz", tmp_path / "out.nii", "--max-gb", "0.000039", "--no-picture") == 1
    assert "--max-gb" in capsys.readouterr().err
    assert correct(tmp_path / "in.nii.gz", tmp_path / "out.nii", "--max-gb", "0.000041", "--no-picture") == 0


def test_a_folder_of_all_of_them_says_each_and_corrects_the_one_good(tmp_path, correct, capsys):
    folder = tmp_path / "in"
    folder.mkdir()
    made = 0
    for number, (name, make, _) in enumerate(UNFIT.values()):
        if "nii" in name and "bz2" not in name and "\n" not in name:
            place = folder / f"{number}{name[1:]}"
            make(place)
            made += place.is_file() or place.is_symlink()
    nib.save(nib.Nifti1Image(head(), np.eye(4)), folder / "good.nii")
    before = contents(folder)
    assert correct(folder, tmp_path / "out", "--no-picture", "--jobs", 2) == 1
    others = len(OTHER_KINDS)
    counts = f"1 corrected, 0 done before, {made - others} failed\n{others} not a scan"
    assert counts in capsys.readouterr().out
    kinds = {record["kind"] for record in records(tmp_path / "out").values() if "kind" in record}
    wanted = {"several volumes", "colour", "complex", "phase image", "mask or labels", "corrected already"}
    assert kinds == wanted
    assert [p.name for p in (tmp_path / "out").iterdir() if p.suffix == ".gz"] == ["good_corrected.nii.gz"]
    assert contents(folder) == before


DTYPES = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"]


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_type_and_byte_order_gives_the_same_correction(dtype, order, tmp_path, correct):
    data = head() // 8  # fits into the smallest type
    outputs = []
    for name, kind, endianness in (("plain", "<i2", "<"), ("in", f"{order}{dtype}", order)):
        header = nib.Nifti1Header(endianness=endianness)
        header.set_data_dtype(kind)
        nib.save(nib.Nifti1Image(data.astype(kind), np.eye(4), header), tmp_path / f"{name}.nii")
        assert correct(tmp_path / f"{name}.nii", tmp_path / f"{name}_out.nii", "--no-picture") == 0
        outputs.append(nib.load(tmp_path / f"{name}_out.nii"))
    written = outputs[1].get_data_dtype()  # in the byte order of the file
    assert (written.kind, written.itemsize) == ("f", 4)
    np.testing.assert_array_equal(outputs[1].get_fdata(), outputs[0].get_fdata())


def oblique() -> np.ndarray:
    angle = 0.5
    turned = np.eye(4)
    turned[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return turned


def far_away() -> np.ndarray:
    moved = np.eye(4)
    moved[:3, 3] = 1e4
    return moved


SOUND = {
    "negative strides": lambda data: nib.Nifti1Image(data[::-1, ::-1, ::-1], np.eye(4)),
    "axes that run backwards": lambda data: nib.Nifti1Image(data, np.diag([-1, -1, -4, 1])),
    "an oblique affine": lambda data: nib.Nifti1Image(data, oblique()),
    "axes in another order": lambda data: nib.Nifti1Image(data, np.eye(4)[[2, 0, 1, 3]]),
    "a left-handed affine": lambda data: nib.Nifti1Image(data, np.diag([-1, 1, 1, 1])),
    "one slice": lambda data: nib.Nifti1Image(data[..., :1], np.eye(4)),
    "one slice, sagittal": lambda data: nib.Nifti1Image(data[..., :1].transpose(2, 0, 1), np.eye(4)),
    "two axes": lambda data: nib.Nifti1Image(data[..., 0], np.eye(4)),
    "a fourth axis of one": lambda data: nib.Nifti1Image(data[..., None], np.eye(4)),
    "NIfTI-2": lambda data: nib.Nifti2Image(data, np.eye(4)),
    "a position far away": lambda data: nib.Nifti1Image(data, far_away()),
    "a few voxels": lambda data: nib.Nifti1Image(data[12:28, 10:26, :2], np.eye(4)),
}


@pytest.mark.parametrize("kind", SOUND)
def test_an_odd_but_sound_file_is_corrected(kind, tmp_path, correct):
    source, out = tmp_path / "über die maßen odd [1].nii.gz", tmp_path / "out.nii.gz"
    nib.save(SOUND[kind](head()), source)
    assert correct(source, out, "--uncertainty") == 0
    before, after = nib.load(source), nib.load(out)
    assert after.shape == before.shape and type(after) is type(before)
    np.testing.assert_array_equal(after.affine, before.affine)
    assert np.isfinite(after.get_fdata()).all()
    assert nib.load(tmp_path / "out_uncertainty.nii.gz").shape == before.shape
