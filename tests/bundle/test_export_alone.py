"""The exported bundle in an environment without our package, under the checks that the Model Zoo runs."""

from __future__ import annotations

import copy
import functools
import hashlib
import json
import operator
import os
import re
import shutil
import site
import subprocess
import venv
from collections.abc import Iterator, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from jsonschema import Draft201909Validator

from mocodis_monai.data.phantom import make_phantom
from mocodis_monai.export import export_bundle
from mocodis_monai.release import bundle_root, load_corrector
from mocodis_monai.transforms import RandKSpaceMotion

pytestmark = pytest.mark.slow

# Our own, stricter statement of MONAI's meta_schema_20240725.json. That file itself (7,340 bytes, sha256
# cd64aa8a5904426f6fc6855dabe46af8c742d5bad644b4e9cfb78ebad09ad678) is not kept here, and no test downloads it;
# docs/model_zoo.md has the command that does.
SCHEMA = Path(__file__).with_name("metadata_schema.json")
SCHEMA_SHA256 = "d55d978563de7f7ddb5e7c38dce2a035aa08ac729f81272878bdbae44a709cf1"
META = ["--meta_file", "configs/metadata.json"]
NETWORK = [*META, "--config_file", "configs/inference.yaml"]


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Path:
    return export_bundle(tmp_path_factory.mktemp("zoo") / "mri_motion_correction").folder


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory) -> Path:
    """The interpreter of a new environment with the packages of this one, but not ours.

    A path file inside it adds the folder of the installed packages. Path files of that folder itself are not read
    then, so that an editable install of ours does not reach it.
    """
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    where = subprocess.check_output([python, "-c", "import site; print(site.getsitepackages()[0])"], text=True).strip()
    Path(where, "packages.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    found = alone(python, tmp_path_factory.mktemp("elsewhere"), "-c", "import mocodis_monai", fails=None)
    if "No module named 'mocodis_monai'" not in found:
        pytest.skip("mocodis_monai is installed as a copy in the packages' folder: install it with pip install -e")
    return python


def alone(python: Path, cwd: Path, *words: str, fails: bool | None = False) -> str:
    """Run the bare environment's Python in a folder, without our paths, and give back all that it printed."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL"))}
    caught = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    done = subprocess.run([python, *words], cwd=cwd, env=environment, timeout=300, **caught)
    assert fails is None or (done.returncode != 0) == fails, done.stdout[-4000:]
    return done.stdout


@pytest.fixture(scope="module")
def bundle(exported, bare_python):
    """`python -m monai.bundle` in the exported folder."""
    return lambda *words, **options: alone(bare_python, exported, "-m", "monai.bundle", *map(str, words), **options)


def test_the_vendored_package_is_the_one_that_runs(exported, bare_python):
    said = alone(bare_python, exported, "-c", "import mocodis_monai.networks as n; print(n.__file__)")
    assert Path(said.strip()).is_relative_to(exported)


def test_the_metadata_fit_the_schema(exported, bundle, tmp_path):
    assert hashlib.sha256(SCHEMA.read_bytes()).hexdigest() == SCHEMA_SHA256
    shutil.copy(SCHEMA, tmp_path / "schema.json")  # a schema that is there is not downloaded
    schema = ["--filepath", tmp_path / "schema.json", "--hash_val", SCHEMA_SHA256, "--hash_type", "sha256"]
    assert "metadata is verified with no error" in bundle("verify_metadata", *META, *schema)
    broken = json.loads((exported / "configs" / "metadata.json").read_text())
    del broken["network_data_format"]["outputs"]["pred"]["dtype"]
    (tmp_path / "broken.json").write_text(json.dumps(broken))
    said = bundle("verify_metadata", "--meta_file", tmp_path / "broken.json", *schema, fails=True)
    assert "'dtype' is a required property" in said


def places(value: object, path: tuple = ()) -> Iterator[tuple]:
    """Where each part of a nested value stands."""
    for key, part in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield (*path, key)
        yield from places(part, (*path, key))


def changed(metadata: dict, place: Sequence, value: object) -> dict:
    """A copy with another value in one place."""
    copied = copy.deepcopy(metadata)
    functools.reduce(operator.getitem, place[:-1], copied)[place[-1]] = value
    return copied


def test_the_schema_refuses_what_monai_would_refuse():
    """MONAI's knows no null, and of the keys that ours does not know it would refuse some for their values."""
    validator = Draft201909Validator(json.loads(SCHEMA.read_text()))
    metadata = json.loads(Path(bundle_root(), "configs", "metadata.json").read_text())
    assert validator.is_valid(metadata)
    for place in places(metadata):
        if "channel_def" not in place[:-1]:  # an object of anything, for MONAI too
            assert not validator.is_valid(changed(metadata, place, None)), place
    formats = "network_data_format"
    closed = ((), (formats,), (formats, "inputs"), (formats, "outputs"), (formats, "inputs", "image"))
    for place in closed:
        assert not validator.is_valid(changed(metadata, (*place, "unknown"), "x")), place


def test_the_network_takes_and_gives_what_the_metadata_say(bundle):
    assert "verified with no error" in bundle("verify_net_in_out", "network_def", *NETWORK)


def test_the_weights_become_torchscript(bundle, tmp_path):
    out = tmp_path / "model.ts"
    traced = ["--use_trace", "True", "--input_shape", "[2, 1, 96, 80]", "--network_def#guidance", 0]
    bundle("ckpt_export", "network_def", out, "--ckpt_file", "models/model.pt", *NETWORK, *traced)
    module, network = torch.jit.load(out), load_corrector()
    network.guidance = 0.0
    for shape in ((2, 1, 96, 80), (1, 1, 64, 64), (3, 1, 161, 130)):
        image = torch.rand(shape, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            # The trace fuses operations: another order of float32 sums.
            torch.testing.assert_close(module(image), network(image), rtol=0, atol=1e-5)


def test_training_runs_for_a_tiny_epoch(bundle, tmp_path):
    knobs = {
        "max_epochs": 1,
        "iterations_per_epoch": 2,
        "codes_iterations": 1,
        "num_samples": 16,
        "num_validation_images": 2,
        "image_size": 64,
        "num_workers": 0,
        "output_dir": tmp_path,
    }
    words = [word for name, value in knobs.items() for word in (f"--{name}", value)]
    said = bundle("run", "training", "--config_file", "configs/train.yaml", *words)
    assert re.search(r"Epoch\[1\] Metrics -- .*\bssim: \d", said)
    assert (tmp_path / "model.pt").is_file()


def test_inference_corrects_a_nifti(bundle, tmp_path):
    affine = np.diag([2.0, 1.5, 4.0, 1.0])
    move = RandKSpaceMotion(1.0, displacement_mm=4.0, phase_encode_axis=1, spacing_mm=(1.0, 1.0)).set_random_state(0)
    slices = [move(make_phantom("head", seed, (70, 66)).image)[0].numpy() for seed in (1, 2)]
    image = 300 * np.stack(slices, axis=-1)
    (tmp_path / "in").mkdir()
    nib.save(nib.Nifti1Image(image.astype(np.float32), affine), tmp_path / "in" / "scan.nii.gz")
    places = ["--dataset_dir", tmp_path / "in", "--output_dir", tmp_path / "out"]
    bundle("run", "--config_file", "configs/inference.yaml", *places)
    corrected = nib.load(tmp_path / "out" / "scan_corrected.nii.gz")
    np.testing.assert_allclose(corrected.affine, affine)
    values = corrected.get_fdata()
    assert corrected.get_data_dtype() == np.float32 and values.shape == image.shape
    assert np.corrcoef(values.ravel(), image.ravel())[0, 1] > 0.9
    assert not np.allclose(values, image, atol=1)


def test_every_file_of_the_bundle_is_formatted_as_the_zoo_checks_it(exported):
    for path in exported.rglob("*"):
        if path.suffix in (".json", ".yaml", ".yml", ".md", ".txt", ".py", ".conf"):
            text = path.read_text()
            assert text.endswith("\n") and not text.endswith("\n\n"), f"{path}: ends in one line feed"
            assert not re.search(r"[ \t]+$", text, re.M), f"{path}: no space at the end of a line"
        if path.suffix == ".json":
            assert text == json.dumps(json.loads(text), indent=4) + "\n", f"{path}: indented by 4, a value a line"
