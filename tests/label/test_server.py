"""Both roads through the real MONAI Label server, on this machine's loopback: our app, and its own bundle app."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import mocodis_monai
from examples.slicer_correct import Answer, ask_server
from mocodis_monai.data.phantom import make_phantom
from mocodis_monai.export import export_bundle

pytestmark = pytest.mark.label

ROOT = Path(mocodis_monai.__file__).parents[1]
VARIABLE = "MOCODIS_LABEL_PYTHON"
BUNDLE = "mri_motion_correction"
START_S, ANSWER_S, STOP_S = 120, 120, 30
# Oblique, so that a transposed, flipped or forgotten affine shows.
TURN = nib.eulerangles.euler2mat(0.2, -0.1, 0.3)
AFFINE = nib.affines.from_matvec(TURN @ np.diag([1.1, -1.3, 4.0]), [-31.0, 42.0, 7.0])


@pytest.fixture(scope="module")
def label_python() -> Path:
    """The interpreter of an environment with MONAI Label and without our package."""
    python = os.environ.get(VARIABLE)
    if not python:
        pytest.skip(f"{VARIABLE} names no Python with MONAI Label: make one with .ci/label_environment DIR")
    return Path(python)


@pytest.fixture(scope="module")
def moved_scan(tmp_path_factory) -> Path:
    """Four slices of a head that moved, made by `mocodis simulate`."""
    folder = tmp_path_factory.mktemp("scan")
    slices = [make_phantom("head", seed, (112, 96)).image[0] for seed in range(4)]
    clean = 500 * np.stack(slices, axis=-1)
    nib.save(nib.Nifti1Image(clean.astype(np.float32), AFFINE), folder / "clean.nii.gz")
    motion = ["--family", "breathing_rigid", "--displacement-mm", "5", "--phase-encode-axis", "1", "--seed", "1"]
    mocodis("simulate", folder / "clean.nii.gz", folder / "moved.nii.gz", *motion)
    return folder / "moved.nii.gz"


@pytest.fixture(scope="module")
def expected(moved_scan) -> np.ndarray:
    """The command line's own correction; it does change the scan."""
    out = moved_scan.with_name("corrected.nii.gz")
    mocodis("correct", moved_scan, out, "--no-picture")
    corrected, moved = nib.load(out).get_fdata(), nib.load(moved_scan).get_fdata()
    assert np.abs(corrected - moved).max() > 0.05 * moved.max()
    return corrected


def mocodis(*words) -> None:
    command = [sys.executable, "-m", "mocodis_monai.cli", *map(str, words)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


@contextmanager
def serving(python: Path, app: Path, studies: Path, *conf: str, path: str = "") -> Iterator[str]:
    """A MONAI Label server on a free port, ready to answer; ended by its process id."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    studies.mkdir()
    command = [python, "-m", "monailabel.main", "start_server", "--app", app, "--studies", studies]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    for name, value in zip(conf[::2], conf[1::2]):
        command += ["--conf", name, value]
    environment = {**os.environ, "PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": ""}
    with (studies.parent / "server.log").open("w") as log:
        server = subprocess.Popen(command, cwd=studies.parent, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        wait_for_info(server, f"http://127.0.0.1:{port}", Path(log.name))
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        try:
            server.wait(STOP_S)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait(STOP_S)


def wait_for_info(server: subprocess.Popen, url: str, log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and server.poll() is None:
        try:
            info(url)
            return
        except OSError:
            time.sleep(0.5)
    pytest.fail(f"the server did not answer GET /info/ (exit status {server.poll()}):\n{log.read_text()[-4000:]}")


def info(url: str) -> dict:
    with urllib.request.urlopen(f"{url}/info/", timeout=5) as response:
        return json.load(response)


def read(answer: Answer, folder: Path) -> nib.Nifti1Image:
    path = folder / answer.file_name
    path.write_bytes(answer.image)
    return nib.load(path)


def check_image(image: nib.Nifti1Image, expected: np.ndarray) -> None:
    """Affine, data type and, to 1e-4 of the brightest voxel, the values of the command line's correction."""
    np.testing.assert_allclose(image.affine, AFFINE, atol=1e-4)
    assert image.get_data_dtype() == np.float32
    values = image.get_fdata()
    np.testing.assert_allclose(values, expected, rtol=0, atol=1e-4 * expected.max())
    assert np.corrcoef(values.ravel(), expected.ravel())[0, 1] > 0.9999


def check_bad_file(url: str, folder: Path, model: str, reason: str) -> None:
    """A file that is no image is refused, soon, and the server goes on."""
    (folder / "bad.nii.gz").write_bytes(b"this is no image")
    with pytest.raises(RuntimeError, match=reason):
        ask_server(url, folder / "bad.nii.gz", model, timeout_s=ANSWER_S)
    assert model in info(url)["models"]


@pytest.fixture(scope="module")
def our_server(label_python, tmp_path_factory) -> Iterator[str]:
    """Our app, copied as the guide says: MONAI Label writes logs into the folder of an app."""
    folder = tmp_path_factory.mktemp("ours")
    shutil.copytree(ROOT / "mocodis_monai" / "label_app", folder / "app")
    with serving(label_python, folder / "app", folder / "studies", path=str(ROOT)) as url:
        yield url


def test_our_app_needs_no_torchvision(label_python):
    code = "import sys; sys.modules['torchvision'] = None; import monailabel.app, mocodis_monai.label_app.main"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([label_python, "-c", code], env=environment, check=True, timeout=START_S)


def test_what_waits_to_be_sent_can_be_read_by_nobody_else(label_python, moved_scan, tmp_path):
    code = f"""
import os
from mocodis_monai.label_app.correction_task import CorrectionTask
os.umask(0o022)
task = CorrectionTask()
data = task.run_inferer(task.pre_transforms()[0]({{"image": {str(moved_scan)!r}}}), device="cpu")
print(oct(os.stat(task.writer(data)[0]).st_mode & 0o777), len(os.listdir(os.environ["TMPDIR"])))
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    said = subprocess.check_output([label_python, "-c", code], env=environment, text=True, timeout=START_S)
    assert said.split()[-2:] == ["0o600", "1"]


@pytest.mark.parametrize("asked", [{}, {"result_dtype": "uint8", "result_extension": ".nrrd"}], ids=["plain", "uint8"])
def test_our_app_serves_what_the_command_line_writes(our_server, moved_scan, expected, tmp_path, asked):
    answer = ask_server(our_server, moved_scan, params=asked, timeout_s=ANSWER_S)
    check_image(read(answer, tmp_path), expected)
    assert answer.said["motion_score_mm"] > 0.5
    assert answer.said["gate_decision"] in ("partly corrected", "corrected") and 0 < answer.said["gate"] <= 1
    assert answer.said["slices_corrected"] + answer.said["slices_left_alone"] == expected.shape[2]
    assert answer.said["latencies"]["total"] >= answer.said["latencies"]["infer"] > 0


def test_our_app_says_why_it_refuses_a_file(our_server, tmp_path):
    check_bad_file(our_server, tmp_path, "mocodis", r"refused the scan \(400\): .*not a NIfTI image")


def test_the_stock_bundle_app_serves_the_exported_bundle(label_python, moved_scan, expected, tmp_path):
    where = [label_python, "-c", "import sys; print(sys.prefix)"]
    prefix = Path(subprocess.check_output(where, text=True).strip())
    shutil.copytree(prefix / "monailabel" / "sample-apps" / "monaibundle", tmp_path / "app")
    (tmp_path / "app" / "model").mkdir(exist_ok=True)
    export_bundle(tmp_path / "app" / "model" / BUNDLE)
    conf = ["models", BUNDLE, "zoo_source", "local", "sam2", "false", "skip_trainers", "true"]
    with serving(label_python, tmp_path / "app", tmp_path / "studies", *conf) as url:
        check_image(read(ask_server(url, moved_scan, BUNDLE, timeout_s=ANSWER_S), tmp_path), expected)
        check_bad_file(url, tmp_path, BUNDLE, r"refused the scan \(500\)")
    assert not (tmp_path / "app" / "model" / BUNDLE / "eval").exists()  # no scan stays on the server
