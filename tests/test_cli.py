"""The command: what it writes, and that unfit input gives one clear line, status 1 and nothing written."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import matplotlib.image
import nibabel as nib
import numpy as np
import pytest
import torch

from mocodis_monai import __version__, cli
from mocodis_monai.errors import InputError
from mocodis_monai.inferers import VolumeCorrection
from mocodis_monai.motion import FAMILIES, LINE_ORDERS

ROOT = Path(__file__).parents[1]


class FakeCorrector:
    """Halves the image; keeps what it was asked for."""

    asked: dict = {}  # noqa: RUF012

    def __init__(self, network, **options):
        FakeCorrector.asked = {"network": network, **options}

    def correct(self, data, spacing_mm, on_progress):
        assert data.dtype == torch.float32 and data.ndim == 3 and len(spacing_mm) == 3
        on_progress(1, 1)
        scores = torch.full((data.shape[2],), torch.nan)
        scores[:3] = torch.tensor([1.0, 2.0, 6.0])
        gate = torch.zeros(data.shape[2])
        gate[:3] = torch.tensor([0.0, 1.0, 1.0])
        return VolumeCorrection(data / 2, data / 10, data * 0 + 3, scores, gate, 2, data > 0)


def fake_load_corrector(weights=None, device="cpu"):
    if weights is not None and not Path(weights).exists():
        raise InputError(f"{weights}: no such checkpoint. Check the path.")
    return SimpleNamespace(device=str(device), guidance=0.0)


@pytest.fixture
def fake_network(monkeypatch):
    monkeypatch.setattr("mocodis_monai.correct.correction.VolumeCorrector", FakeCorrector)
    monkeypatch.setattr("mocodis_monai.correct.run.load_corrector", fake_load_corrector)


@pytest.fixture
def scan(tmp_path) -> Path:
    folder = tmp_path / "scans"
    folder.mkdir()
    rng = np.random.default_rng(0)
    data = rng.integers(0, 900, (24, 20, 16)).astype(np.int16)
    nib.save(nib.Nifti1Image(data, np.diag([-1, 1, 4, 1])), folder / "scan.nii.gz")
    return folder / "scan.nii.gz"


def mocodis(monkeypatch, *arguments) -> int:
    """Run the command in this process; its exit status."""
    monkeypatch.setattr(sys, "argv", ["mocodis", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
        raise SystemExit(0)
    return int(stopped.value.code or 0)


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if p.is_file())


@pytest.mark.parametrize("arguments", [["--help"], ["correct", "--help"], ["--version"]])
def test_help_is_quick_and_loads_nothing_heavy(arguments):
    heavy = "{'torch', 'monai', 'numpy', 'matplotlib', 'nibabel', 'pydicom'}"
    code = (
        "import atexit, sys, time; from mocodis_monai import cli; "
        f"atexit.register(lambda: print(sorted({heavy} & set(sys.modules)), time.process_time(), file=sys.stderr)); "
        f"sys.argv = ['mocodis', *{arguments}]; cli.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded, seconds = done.stderr.rsplit(maxsplit=1)
    assert loaded == "[]"
    assert float(seconds) < 1  # of the processor, Python's own start included: others may be using it too
    assert done.stdout


def test_version_help_and_usage(monkeypatch, capsys):
    assert mocodis(monkeypatch, "--version") == 0
    assert capsys.readouterr().out == f"mocodis {__version__}\n"
    assert mocodis(monkeypatch, "--help") == 0
    assert "simulate" in capsys.readouterr().out
    assert mocodis(monkeypatch, "correct", "only-one.nii") == 2
    for wrong in (["--fidelity", "1.5"], ["--jobs", "0"], ["--picture", "p.png", "--no-picture"], ["--max-gb", "-1"]):
        assert mocodis(monkeypatch, "correct", "a.nii", "b.nii", *wrong) == 2
    assert mocodis(monkeypatch, "correct", "a.nii", "b.nii", "--slice-axis", 1, "--phase-encode-axis", 1) == 2
    assert "the same as --slice-axis" in capsys.readouterr().err


@pytest.mark.usefixtures("fake_network")
def test_correct_writes_the_volume_and_a_picture(scan, tmp_path, monkeypatch, capsys):
    assert mocodis(monkeypatch, "correct", scan, tmp_path / "out.nii.gz") == 0
    before, after = nib.load(scan), nib.load(tmp_path / "out.nii.gz")
    assert (after.shape, after.get_data_dtype()) == (before.shape, np.float32)
    np.testing.assert_array_equal(after.affine, before.affine)
    np.testing.assert_array_equal(after.get_fdata(), before.get_fdata() / 2)
    assert names(tmp_path) == [".results.jsonl.lock", "out.nii.gz", "out.png", "results.jsonl"]
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")
    said = capsys.readouterr().out
    assert "2.00 mm (median over 3 slices)" in said and "partly corrected (gate 0.67)" in said
    assert str(tmp_path / "out.png") in said and "Research use only" in said
    (record,) = map(json.loads, (tmp_path / "results.jsonl").read_text().splitlines())
    assert (record["scan"], record["output"], record["status"]) == ("scan.nii.gz", "out.nii.gz", "done")
    assert (record["motion_score_mm"], record["gate"], record["log_likelihood_nats"]) == (2, 0.6667, -3)


@pytest.mark.usefixtures("fake_network")
def test_correct_hands_its_options_on(scan, tmp_path, monkeypatch):
    options = ["--no-picture", "--uncertainty", "--fidelity", 0.5, "--guidance", 0.25]
    options += ["--slice-axis", 1, "--device", "cpu"]
    assert mocodis(monkeypatch, "correct", scan, tmp_path / "o.nii", *options) == 0
    assert names(tmp_path) == [".results.jsonl.lock", "o.nii", "o_uncertainty.nii.gz", "results.jsonl"]
    np.testing.assert_allclose(
        nib.load(tmp_path / "o_uncertainty.nii.gz").get_fdata(), nib.load(scan).get_fdata() / 10, rtol=1e-6
    )
    asked = dict(FakeCorrector.asked)
    assert asked.pop("network").device == "cpu"
    assert asked == {"slice_axis": 1, "fidelity": 0.5, "guidance": 0.25}


def bad(path: Path, data: np.ndarray) -> None:
    nib.save(nib.Nifti1Image(data, np.eye(4)), path)


BAD_INPUT = {
    "missing": lambda p: None,
    "text": lambda p: p.write_text("not an image"),
    "nan": lambda p: bad(p, np.array([[[1, np.nan]]], np.float32)),
    "infinite": lambda p: bad(p, np.array([[[1, np.inf]]], np.float32)),
    "zeros": lambda p: bad(p, np.zeros((4, 4, 4), np.float32)),
    "4D": lambda p: bad(p, np.ones((4, 4, 4, 2), np.float32)),
    "complex": lambda p: bad(p, np.ones((4, 4, 4), np.complex64)),
    "RGB": lambda p: bad(p, np.zeros((4, 4, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")])),
    "phase": lambda p: bad(p, np.linspace(-3, 3, 64, dtype=np.float32).reshape(4, 4, 4)),
}


@pytest.mark.parametrize("command", [("correct",), ("simulate", "--family", "drift")], ids=lambda c: c[0])
@pytest.mark.parametrize("kind", BAD_INPUT)
@pytest.mark.usefixtures("fake_network")
def test_bad_input_gives_one_line_and_no_output(kind, command, tmp_path, monkeypatch, capsys):
    source = tmp_path / "scan.nii"
    BAD_INPUT[kind](source)
    before = names(tmp_path)
    assert mocodis(monkeypatch, *command, source, tmp_path / "out.nii.gz") == 1
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1
    assert said.err.startswith(f"error: {source}: ")
    assert names(tmp_path) == before


def test_an_empty_argument_does_not_mean_the_current_folder(scan, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(scan.parent)
    assert mocodis(monkeypatch, "correct", "", tmp_path / "out") == 1
    assert "an argument is empty" in capsys.readouterr().err and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--weights", "missing.pt"], "missing.pt: no such checkpoint"),
        (["--picture", "out.jpg"], "out.jpg: the name must end in .png"),
        (["--picture", "no/such/p.png"], "does not exist"),
        (["--report", "report.txt"], "report.txt: the name must end in .html"),
        (["--picture", "link.png"], "overwrite the input"),
        (["--slice-axis", "1", "--phase-encode-axis", "2", "--max-gb", "0.000001"], "GB are allowed"),
    ],
)
@pytest.mark.usefixtures("fake_network")
def test_bad_options_give_one_line_and_no_output(arguments, words, scan, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    content = scan.read_bytes()
    (tmp_path / "link.png").symlink_to(scan)
    assert mocodis(monkeypatch, "correct", scan, "out.nii", *arguments) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ") and words in said and said.count("\n") == 1
    assert names(tmp_path) == ["link.png"] and scan.read_bytes() == content


@pytest.mark.parametrize("content", ["not a checkpoint", {"other.weight": torch.zeros(3)}, [1, 2]])
def test_a_checkpoint_that_does_not_fit_is_refused(content, scan, tmp_path, monkeypatch, capsys):
    weights = tmp_path / "model.pt"
    weights.write_text(content) if isinstance(content, str) else torch.save(content, weights)
    assert mocodis(monkeypatch, "correct", scan, tmp_path / "out.nii.gz", "--weights", weights) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ") and str(weights) in said and said.count("\n") == 1
    assert names(tmp_path) == ["model.pt"]


@pytest.mark.usefixtures("fake_network")
def test_a_failure_on_the_last_output_takes_back_the_others(scan, tmp_path, monkeypatch, capsys):
    def no_space(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mocodis_monai.correct.correction.save_comparison", no_space)
    assert mocodis(monkeypatch, "correct", scan, tmp_path / "out.nii.gz") == 1
    assert "No space left" in capsys.readouterr().err
    assert names(tmp_path) == []


SIMULATE = ("--family", "sudden", "--displacement-mm", "3", "--num-shots", "4", "--line-order", "linear")


@pytest.mark.parametrize("shape", [(24, 20, 6), (24, 20), (1, 24, 20)])
def test_simulate_is_seeded_and_keeps_the_geometry(shape, tmp_path, monkeypatch, capsys):
    data = np.zeros(shape, np.float32)
    data[tuple(slice(n // 4, n - n // 4) for n in shape)] = 500
    source = tmp_path / "clean.nii.gz"
    nib.save(nib.Nifti1Image(data, np.diag([-1, 1, 2, 1])), source)
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        outputs = (tmp_path / f"{name}.nii.gz", "--target", tmp_path / f"{name}-target.nii.gz")
        extra = ("--trajectory-out", tmp_path / f"{name}.json", "--seed", seed)
        assert mocodis(monkeypatch, "simulate", source, *outputs, *extra, *SIMULATE) == 0
    a, b, c = (nib.load(tmp_path / f"{name}.nii.gz") for name in "abc")
    assert a.shape == shape and a.get_data_dtype() == np.float32
    np.testing.assert_array_equal(a.affine, nib.load(source).affine)
    np.testing.assert_array_equal(a.get_fdata(), b.get_fdata())
    assert np.abs(a.get_fdata() - c.get_fdata()).max() > 1
    motion = json.loads((tmp_path / "a.json").read_text())
    assert (motion["family"], motion["num_shots"], motion["line_order"]) == ("sudden", 4, "linear")
    assert (motion["seed"], motion["phase_encode_axis"]) == (1, 1)
    assert f"{motion['displacement_mm']:.2f} mm" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("header", "arguments", "written"),
    [
        ((None, None, None), (), (None, 1, None)),
        ((1, 2, 0), (), (1, 2, 0)),
        ((1, 2, 0), ("--phase-encode-axis", 1), (2, 1, 0)),
        ((None, 0, 2), ("--phase-encode-axis", 2), (None, 2, 0)),
    ],
)
def test_simulate_takes_the_phase_encode_axis_of_the_header_and_leaves_the_true_one_there(
    header, arguments, written, tmp_path, monkeypatch
):
    image = nib.Nifti1Image(np.random.default_rng(0).random((12, 10, 14), np.float32), np.eye(4))
    image.header.set_dim_info(*header)
    nib.save(image, tmp_path / "clean.nii")
    outputs = (tmp_path / "moved.nii", "--trajectory-out", tmp_path / "motion.json")
    assert mocodis(monkeypatch, "simulate", tmp_path / "clean.nii", *outputs, *SIMULATE, *arguments) == 0
    assert nib.load(tmp_path / "moved.nii").header.get_dim_info() == written
    assert json.loads((tmp_path / "motion.json").read_text())["phase_encode_axis"] == written[1]


def test_simulate_refuses_more_shots_than_lines(scan, tmp_path, monkeypatch, capsys):
    before = names(tmp_path)
    arguments = ("--family", "drift", "--num-shots", 5000)
    assert mocodis(monkeypatch, "simulate", scan, tmp_path / "o.nii.gz", *arguments) == 1
    assert "--num-shots 5000" in capsys.readouterr().err and names(tmp_path) == before


def test_simulate_offers_all_that_the_simulator_knows():
    assert tuple(family.value for family in cli.Family) == FAMILIES
    assert tuple(order.value for order in cli.LineOrder) == LINE_ORDERS


def test_gallery_draws_each_part_of_the_body(tmp_path, monkeypatch, capsys):
    assert mocodis(monkeypatch, "gallery", tmp_path / "pictures") == 0
    assert names(tmp_path / "pictures") == ["gallery_abdomen.png", "gallery_brain.png", "gallery_knee.png"]
    for path in (tmp_path / "pictures").iterdir():
        picture = matplotlib.image.imread(path)
        assert min(picture.shape[:2]) > 500 and picture[..., :3].std() > 0.1
    assert str(tmp_path / "pictures" / "gallery_knee.png") in capsys.readouterr().out


def test_simulate_refuses_the_axis_of_a_single_slice(tmp_path, monkeypatch, capsys):
    source = tmp_path / "slice.nii"
    nib.save(nib.Nifti1Image(np.random.default_rng(0).random((24, 20, 1), np.float32), np.eye(4)), source)
    arguments = ("--family", "drift", "--phase-encode-axis", 2)
    assert mocodis(monkeypatch, "simulate", source, tmp_path / "o.nii", *arguments) == 1
    assert "one of [0, 1]" in capsys.readouterr().err
    assert names(tmp_path) == ["slice.nii"]
