"""The mean of trainings: the plain one, and only where it means something."""

from __future__ import annotations

import pytest
import torch

from mocodis_monai.averaging import average
from mocodis_monai.errors import InputError
from mocodis_monai.networks import MotionCorrector


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Three files of weights: two with the same codes and different branches, one with other codes."""
    folder = tmp_path_factory.mktemp("weights")
    state = MotionCorrector().state_dict()
    moved = {name: value + 1 if name.startswith("fidelity_branch") else value for name, value in state.items()}
    other = {name: value + 1 if name.startswith("vqvae") else value for name, value in state.items()}
    paths = [folder / f"{name}.pt" for name in ("first", "moved", "other")]
    for path, weights in zip(paths, (state, moved, other)):
        torch.save(weights, path)
    return paths


def test_the_mean_is_half_way_and_the_codes_stay(trained, tmp_path):
    average(trained[:2], tmp_path / "mean.pt")
    first, mean = (torch.load(path, weights_only=True) for path in (trained[0], tmp_path / "mean.pt"))
    assert mean.keys() == first.keys()
    for name, value in first.items():
        wanted = value + 0.5 if name.startswith("fidelity_branch") else value
        torch.testing.assert_close(mean[name], wanted, msg=name)


def test_codes_stay_bit_for_bit_whatever_the_number_of_files(trained, tmp_path):
    average([trained[0], trained[1], trained[1]], tmp_path / "mean.pt")
    average([tmp_path / "mean.pt", trained[1]], tmp_path / "mean_of_means.pt")  # refused, were the codes others
    assert (tmp_path / "mean_of_means.pt").is_file()


def test_what_cannot_be_averaged_is_refused(trained, tmp_path):
    first, moved, other = trained
    with pytest.raises(InputError, match="two or more"):
        average([first], tmp_path / "mean.pt")
    with pytest.raises(InputError, match=r"other\.pt.*vqvae.*--codes_iterations 0"):
        average([first, other], tmp_path / "mean.pt")
    with pytest.raises(InputError, match="overwrite the input"):
        average([first, moved], moved)
    assert not (tmp_path / "mean.pt").exists()
