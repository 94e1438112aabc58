"""A bundle that was tampered with corrects nothing: its weights, their checksum, its configuration."""

from __future__ import annotations

import os
import pickle
import re
import shutil
import sys
from pathlib import Path

import pytest
import torch
import yaml
from monai.bundle import ConfigParser

from mocodis_monai import cli, release
from mocodis_monai.errors import InputError
from tests.correct.conftest import save_head
from tests.hostile.test_nifti import contents

MARK = "MOCODIS_TEST_CODE_RAN"


class Code:
    """Unpickling it sets a variable of the environment."""

    def __reduce__(self):
        return exec, (f"import os; os.environ['{MARK}'] = '1'",)


@pytest.fixture
def bundle(tmp_path, monkeypatch) -> Path:
    """A copy of the bundle that the command takes for its own."""
    copy = Path(shutil.copytree(release.bundle_root(), tmp_path / "bundle", ignore=shutil.ignore_patterns("runs")))
    (tmp_path / "mocodis_monai").mkdir()
    monkeypatch.setattr(release, "__file__", str(tmp_path / "mocodis_monai" / "release.py"))
    monkeypatch.delenv(MARK, raising=False)
    return copy


def flipped_bit(bundle: Path) -> None:
    content = bytearray((bundle / "models" / "model.pt").read_bytes())
    content[len(content) // 2] ^= 1
    (bundle / "models" / "model.pt").write_bytes(content)


def cut(bundle: Path) -> None:
    os.truncate(bundle / "models" / "model.pt", 100_000)


def exchanged(bundle: Path) -> None:
    state = torch.load(bundle / "models" / "model.pt", weights_only=True)
    torch.save({name: value + 0.01 for name, value in state.items()}, bundle / "models" / "model.pt")


def code(bundle: Path) -> None:
    torch.save(Code(), bundle / "models" / "model.pt")


def code_with_its_checksum(bundle: Path) -> None:
    code(bundle)
    release.write_checksum(bundle / "models" / "model.pt")


def pickle_with_its_checksum(bundle: Path) -> None:
    (bundle / "models" / "model.pt").write_bytes(pickle.dumps(Code()))
    release.write_checksum(bundle / "models" / "model.pt")


def no_weights(bundle: Path) -> None:
    (bundle / "models" / "model.pt").unlink()


def no_checksum(bundle: Path) -> None:
    (bundle / "models" / "model.sha256").unlink()


def another_checksum(bundle: Path) -> None:
    (bundle / "models" / "model.sha256").write_text(f"{'0' * 64}  model.pt\n")


def garbled_checksum(bundle: Path) -> None:
    (bundle / "models" / "model.sha256").write_bytes(b"\xff\x00")


def no_configs(bundle: Path) -> None:
    shutil.rmtree(bundle / "configs")


TAMPERED = {
    flipped_bit: "not the released ones",
    cut: "not the released ones",
    exchanged: "not the released ones",
    code: "not the released ones",
    code_with_its_checksum: "not a readable checkpoint",
    pickle_with_its_checksum: "not a readable checkpoint",
    no_weights: "no such file",
    no_checksum: "checksum model.sha256 cannot be read",
    another_checksum: "not the released ones",
    garbled_checksum: "checksum model.sha256 cannot be read",
    no_configs: "no bundle near",
}


@pytest.mark.parametrize("tamper", TAMPERED, ids=lambda tamper: tamper.__name__)
def test_a_tampered_bundle_corrects_nothing(bundle, tamper, tmp_path, monkeypatch, capsys):
    save_head(tmp_path / "in.nii.gz")
    tamper(bundle)
    before = contents(tmp_path)
    monkeypatch.setattr(sys, "argv", ["mocodis", "correct", str(tmp_path / "in.nii.gz"), str(tmp_path / "out.nii.gz")])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    said = capsys.readouterr()
    assert stopped.value.code == 1 and said.out == ""
    assert said.err.startswith("error: ") and said.err.count("\n") == 1 and TAMPERED[tamper] in said.err
    assert MARK not in os.environ, "code that came with the weights was run"
    assert contents(tmp_path) == before


def other_sizes(config: dict) -> None:
    config["network_def"]["channels"] = [8, 8, 16]


def another_network(config: dict) -> None:
    config["network_def"] = {"_target_": "torch.nn.Identity"}


def nowhere(config: dict) -> None:
    config["dataset_dir"] = "/no/such/folder"


@pytest.mark.parametrize("tamper", [other_sizes, another_network, nowhere], ids=lambda tamper: tamper.__name__)
def test_a_tampered_configuration_stops_before_anything_is_written(bundle, tamper, tmp_path):
    save_head(tmp_path / "in" / "a.nii.gz")
    path = bundle / "configs" / "inference.yaml"
    config = yaml.safe_load(path.read_text())
    config |= {"dataset_dir": str(tmp_path / "in"), "output_dir": str(tmp_path / "out")}
    tamper(config)
    path.write_text(yaml.safe_dump(config))
    parser = ConfigParser()
    parser.read_config(str(path))
    with pytest.raises(RuntimeError) as raised:  # MONAI names the line of the configuration
        parser.get_parsed_content("run")
    cause = raised.value.__cause__
    assert isinstance(cause, InputError) and re.search("does not fit the network|no such folder", str(cause))
    assert not (tmp_path / "out").exists()
