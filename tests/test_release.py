"""The bundle is found from anywhere, and weights that do not fit get an error that says so."""

from __future__ import annotations

import hashlib
import io
import pickle
from pathlib import Path

import pytest
import torch
from torch import nn

from mocodis_monai import release
from mocodis_monai.errors import InputError
from mocodis_monai.networks import MotionCorrector
from mocodis_monai.release import bundle_root, default_weights_path, facts_of, load_corrector, load_weights


@pytest.fixture
def network() -> nn.Module:
    return nn.Linear(3, 2)


def pickled(value) -> bytes:
    return pickle.dumps(value)


def saved(value) -> bytes:
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


class Dangerous:
    """Unpickling it would call a function."""

    def __reduce__(self):
        return (print, ("this must never run",))


def test_the_bundle_is_found_from_any_folder(monkeypatch, tmp_path):
    here = bundle_root()
    monkeypatch.chdir(tmp_path)
    assert bundle_root() == here and Path(here).is_absolute()
    assert (Path(here) / "configs" / "train.yaml").is_file()
    assert default_weights_path() == Path(here) / "models" / "model.pt"


@pytest.mark.parametrize(
    ("package", "bundle"),
    [("mocodis_monai", "bundle"), ("mocodis_monai", "mocodis_monai/bundle"), ("mocodis_monai", ".")],
    ids=["checkout", "wheel", "exported"],
)
def test_the_bundle_lies_beside_the_package_inside_it_or_around_it(monkeypatch, tmp_path, package, bundle):
    (tmp_path / bundle / "configs").mkdir(parents=True)
    (tmp_path / bundle / "configs" / "train.yaml").touch()
    (tmp_path / package).mkdir(exist_ok=True)
    monkeypatch.setattr(release, "__file__", str(tmp_path / package / "release.py"))
    assert Path(bundle_root()) == tmp_path / bundle


def test_no_bundle_is_an_error_that_says_what_was_expected(monkeypatch, tmp_path):
    monkeypatch.setattr(release, "__file__", str(tmp_path / "mocodis_monai" / "release.py"))
    with pytest.raises(InputError, match=r"expected a folder `bundle` with configs/train\.yaml"):
        bundle_root()


@pytest.mark.parametrize(
    "wrap", [lambda state: state, lambda state: {"network": state, "trainer": {"epoch": 3}}]
)
def test_a_plain_state_dict_and_a_training_checkpoint_load(network, tmp_path, wrap):
    other = nn.Linear(3, 2)
    torch.save(wrap(other.state_dict()), tmp_path / "model.pt")
    assert load_weights(network, tmp_path / "model.pt") is network
    assert torch.equal(network.weight, other.weight)


BAD_FILES = {
    "empty": b"",
    "text": b"not a checkpoint",
    "text that is half a pickle": b".hello",
    "zip": b"PK\x03\x04 but no archive",
    "truncated": saved(nn.Linear(3, 2).state_dict())[:300],
    "a pickle of an object": pickled(Path("x")),
    "a pickle that runs code": pickled(Dangerous()),
    "a checkpoint that runs code": saved(Dangerous()),
    "noise": bytes(range(256)) * 8,
    "a pickle header and noise": b"\x80\x02" + bytes(range(255, 0, -1)),
    "gzip": b"\x1f\x8b\x08\x00" + bytes(64),
}


@pytest.mark.parametrize("content", BAD_FILES.values(), ids=BAD_FILES.keys())
def test_a_file_that_is_no_checkpoint(network, tmp_path, content, capsys):
    (tmp_path / "model.pt").write_bytes(content)
    before = network.weight.clone()
    with pytest.raises(InputError, match=r"model\.pt: not a readable checkpoint"):
        load_weights(network, tmp_path / "model.pt")
    assert torch.equal(network.weight, before)
    assert "never run" not in capsys.readouterr().out


UNFIT = {
    "another size": nn.Linear(4, 2).state_dict(),
    "another network": nn.Conv2d(1, 1, 1).state_dict(),
    "more than needed": {**nn.Linear(3, 2).state_dict(), "extra": torch.zeros(1)},
    "less than needed": {"weight": torch.zeros(2, 3)},
    "a tensor": torch.zeros(3),
    "a list": [1, 2],
    "a number": 7,
    "numbers by name": {"weight": 1, "bias": 2},
    "a number for a network": {"network": 3},
    "keys that are no names": {1: torch.zeros(1)},
}


@pytest.mark.parametrize("state", UNFIT.values(), ids=UNFIT.keys())
def test_a_checkpoint_of_something_else(network, tmp_path, state):
    torch.save(state, tmp_path / "model.pt")
    with pytest.raises(
        InputError, match=r"model\.pt: the checkpoint does not fit the network .*same network_def"
    ):
        load_weights(network, tmp_path / "model.pt")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_of_a_training_that_diverged_are_refused(network, tmp_path, value):
    torch.save({**network.state_dict(), "bias": torch.full_like(network.bias, value)}, tmp_path / "model.pt")
    with pytest.raises(InputError, match=r"model\.pt: 1 entries are NaN or infinite, such as bias"):
        load_weights(network, tmp_path / "model.pt")


@pytest.fixture
def released(monkeypatch, tmp_path, network) -> Path:
    """Weights in the place of the released ones, with their checksum."""
    path = tmp_path / "model.pt"
    torch.save(network.state_dict(), path)
    release.write_checksum(path)
    monkeypatch.setattr(release, "default_weights_path", lambda: path)
    return path


def test_the_checksum_of_the_released_weights_is_up_to_date():
    path = default_weights_path()
    written = release.checksum_path(path).read_text()
    assert written == f"{hashlib.sha256(path.read_bytes()).hexdigest()}  model.pt\n", (
        "other weights were put into the bundle; if that was meant, run `python -m mocodis_monai.release`"
    )


def test_the_weights_that_the_model_card_tells_of_are_those_of_the_bundle():
    written = release.checksum_path(default_weights_path()).read_text()
    assert written.split()[0] == release.RELEASED_SHA256, (
        "if the model card and train_release.yaml tell of these weights, put their checksum into RELEASED_SHA256"
    )


def test_what_a_report_says_of_weights_goes_by_their_checksum(tmp_path, network):
    torch.save(network.state_dict(), tmp_path / "own.pt")
    own, ours = facts_of(tmp_path / "own.pt"), facts_of()
    assert (own["weights"], own["released"]) == ("own.pt", False)
    assert ours == {"weights": "model.pt", "weights_sha256": release.RELEASED_SHA256, "released": True}
    assert len(own["weights_sha256"]) == 64
    (tmp_path / "copy.pt").write_bytes(default_weights_path().read_bytes())
    assert facts_of(tmp_path / "copy.pt") == {**ours, "weights": "copy.pt"}


def test_released_weights_load_with_their_checksum_only(network, released):
    assert load_weights(network) is network
    torch.save(nn.Linear(3, 2).state_dict(), released)  # good weights, but others
    with pytest.raises(InputError, match=r"model\.pt: not the released ones .*--weights"):
        load_weights(network)
    load_weights(network, released)  # named by the user: they are the user's own
    release.write_checksum(released)
    load_weights(network)


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe", b"0" * 64 + b"  model.pt\n"])
def test_a_checksum_that_is_missing_or_wrong_refuses_the_released_weights(network, released, content):
    checksum = release.checksum_path(released)
    checksum.unlink() if content is None else checksum.write_bytes(content)
    with pytest.raises(InputError, match=r"model\.pt: .*(checksum|not the released ones)"):
        load_weights(network)


@pytest.mark.parametrize("name", ["missing.pt", "."])
def test_a_missing_file(network, tmp_path, name):
    with pytest.raises(InputError, match=r"no such file\. Train first"):
        load_weights(network, tmp_path / name)


def test_the_corrector_comes_with_its_weights_ready_to_correct(tmp_path):
    trained = MotionCorrector()
    torch.save(trained.state_dict(), tmp_path / "model.pt")
    loaded = load_corrector(tmp_path / "model.pt")
    assert not loaded.training
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in trained.state_dict().items())


@pytest.mark.parametrize(
    ("entry", "change"),
    [
        ("vqvae.content_encoder.fine_quantizer.codebook", "the residual stages of the fine content codes"),
        ("fidelity_branch.codes_half.weight", "the fidelity branch at full resolution"),
    ],
)
def test_a_checkpoint_of_an_earlier_version_hears_what_changed(network, tmp_path, entry, change):
    torch.save(network.state_dict() | {entry: torch.zeros(512, 8)}, tmp_path / "model.pt")
    with pytest.raises(InputError, match=f"older than {change}"):
        load_weights(network, tmp_path / "model.pt")


def test_a_checkpoint_without_the_motion_score_of_the_branch_hears_so(network, tmp_path):
    torch.save({"vqvae.score_head.0.weight": torch.zeros(64, 32)}, tmp_path / "model.pt")
    with pytest.raises(InputError, match="older than the motion score of the fidelity branch"):
        load_weights(network, tmp_path / "model.pt")
