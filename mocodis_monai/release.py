"""Where the bundle lies and how its weights are loaded."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch

from mocodis_monai.errors import InputError
from mocodis_monai.networks import MotionCorrector


def bundle_root() -> str:
    """The bundle's folder: beside the package in a checkout, around it in an exported bundle, inside it in a wheel.

    Configurations use it instead of the current folder, so that they run from anywhere.

    Raises:
        FileNotFoundError: no folder with ``configs/train.yaml`` is near the package.
    """
    package = Path(__file__).resolve().parent
    for candidate in (package.parent / "bundle", package / "bundle", package.parent):
        if (candidate / "configs" / "train.yaml").is_file():
            return str(candidate)
    raise FileNotFoundError(f"no bundle near {package}: expected a folder `bundle` with configs/train.yaml beside it.")


def default_weights_path() -> Path:
    """The released weights, models/model.pt of the bundle."""
    return Path(bundle_root()) / "models" / "model.pt"


def load_weights(network: torch.nn.Module, weights: str | Path | None = None) -> torch.nn.Module:
    """Load a plain state dict into ``network`` with ``weights_only=True``.

    Args:
        network: the network it has to fit.
        weights: a checkpoint; None takes the released weights.

    Raises:
        InputError: the file is missing, is not a checkpoint, or does not fit the network.
    """
    path = default_weights_path() if weights is None else Path(weights)
    if not path.is_file():
        raise InputError(f"weights {path}: no such file. Train first, or leave them out to use the released ones.")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, KeyError, ValueError) as error:
        raise InputError(f"weights {path}: not a readable checkpoint ({type(error).__name__}).") from error
    state = state.get("network", state) if isinstance(state, dict) else state
    try:
        network.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError) as error:
        reason = str(error).splitlines()[-1].strip()[:200]
        raise InputError(
            f"weights {path}: the checkpoint does not fit the network ({reason}). "
            "It must come from the same version and the same network_def."
        ) from error
    return network


def load_corrector(weights: str | Path | None = None, device: torch.device | str = "cpu") -> MotionCorrector:
    """The corrector with its weights, ready to correct.

    Raises:
        InputError: see :func:`load_weights`.
    """
    network = MotionCorrector()
    load_weights(network, weights)
    # torch's overloads of Module.to leave out memory_format.
    return network.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
