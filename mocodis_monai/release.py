"""Where the bundle lies and how its weights are loaded.

Where no weights are named, commands and servers load the released ones, and only with the checksum in
``models/model.sha256``. After putting other weights into their place, write it anew:

    python -m mocodis_monai.release
"""

from __future__ import annotations

import hashlib
import io
import pickle
from pathlib import Path
from typing import Any

import torch

from mocodis_monai.data.files import sha256_of, staged
from mocodis_monai.errors import InputError
from mocodis_monai.networks import MotionCorrector

RELEASED_SHA256 = "2c5aecb0c6e723589ec582d5ab508dea9a3407a0a391f881fc9f12ac70c53576"
"""Of the weights whose training the model card and ``train_release.yaml`` tell: of no others is it known what they have
seen, wherever they lie."""


def bundle_root() -> str:
    """The bundle's folder: beside the package in a checkout, around it in an exported bundle, inside it in a wheel.

    Configurations use it instead of the current folder, so that they run from anywhere.

    Raises:
        InputError: no folder with ``configs/train.yaml`` is near the package.
    """
    package = Path(__file__).resolve().parent
    for candidate in (package.parent / "bundle", package / "bundle", package.parent):
        if (candidate / "configs" / "train.yaml").is_file():
            return str(candidate)
    raise InputError(
        f"no bundle near {package}: expected a folder `bundle` with configs/train.yaml beside it. "
        "Install MoCoDis again."
    )


def default_weights_path() -> Path:
    """The released weights, models/model.pt of the bundle."""
    return Path(bundle_root()) / "models" / "model.pt"


def checksum_path(weights: Path) -> Path:
    """Where the SHA-256 of released weights stands, beside them; ``sha256sum -c`` reads it too."""
    return weights.with_suffix(".sha256")


def write_checksum(weights: Path) -> Path:
    """Declare ``weights`` as released: write their SHA-256 beside them."""
    path = checksum_path(weights)
    with staged(path) as (temporary,):
        temporary.write_text(f"{sha256_of([weights])}  {weights.name}\n")
    return path


def facts_of(weights: str | Path | None = None) -> dict[str, Any]:
    """What the head of a report says of weights: ``weights``, the file's name, ``weights_sha256`` and ``released``.

    Released are those with :data:`RELEASED_SHA256` alone, by whatever name.

    Args:
        weights: a checkpoint that is there; None takes the released weights.
    """
    path = default_weights_path() if weights is None else Path(weights)
    sha256 = sha256_of([path])
    return {"weights": path.name, "weights_sha256": sha256, "released": sha256 == RELEASED_SHA256}


def load_weights(network: torch.nn.Module, weights: str | Path | None = None) -> torch.nn.Module:
    """Load a plain state dict into ``network`` with ``weights_only=True``.

    Args:
        network: the network it has to fit.
        weights: a checkpoint; None takes the released weights.

    Raises:
        InputError: the file is missing, is not a checkpoint, does not fit the network, holds values that are not
            finite, or is not what was released.
    """
    path = default_weights_path() if weights is None else Path(weights)
    content = _read(path, released=weights is None)
    try:
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, LookupError, ValueError) as error:
        raise InputError(f"weights {path}: not a readable checkpoint ({type(error).__name__}).") from error
    state = state.get("network", state) if isinstance(state, dict) else state
    try:
        network.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError) as error:
        reason = _what_changed(state) or str(error).splitlines()[-1].strip()[:200]
        raise InputError(
            f"weights {path}: the checkpoint does not fit the network ({reason}). "
            "It must come from the same version and the same network_def."
        ) from error
    broken = [name for name, value in network.state_dict().items() if not bool(torch.isfinite(value).all())]
    if broken:
        raise InputError(
            f"weights {path}: {len(broken)} entries are NaN or infinite, such as {broken[0]}. The training diverged: "
            "train again with a lower learning_rate."
        )
    return network


def _what_changed(state: object) -> str:
    """Why a checkpoint of an earlier version does not fit; empty if it is none."""
    if isinstance(state, dict) and "vqvae.content_encoder.fine_quantizer.codebook" in state:
        return "it is older than the residual stages of the fine content codes; train again, or take the released one"
    if isinstance(state, dict) and "fidelity_branch.codes_half.weight" in state:
        return "it is older than the fidelity branch at full resolution; train again, or take the released one"
    if isinstance(state, dict) and "vqvae.score_head.0.weight" in state and not any(
        str(name).startswith("fidelity_branch.score_head.") for name in state
    ):
        return "it is older than the motion score of the fidelity branch; train again, or take the released one"
    return ""


def load_corrector(weights: str | Path | None = None, device: torch.device | str = "cpu") -> MotionCorrector:
    """The corrector with its weights, ready to correct.

    Raises:
        InputError: see :func:`load_weights`.
    """
    network = MotionCorrector()
    load_weights(network, weights)
    return network.to(device).eval()


def _read(path: Path, released: bool) -> bytes:
    """A checkpoint file; one that was released only with the checksum that it was given."""
    if not path.is_file():
        raise InputError(f"weights {path}: no such file. Train first, or leave them out to use the released ones.")
    try:
        content = path.read_bytes()
        wanted = checksum_path(path).read_text(encoding="ascii").split()[0] if released else None
    except (OSError, UnicodeDecodeError, IndexError) as error:
        raise InputError(
            f"weights {path}: the file or its checksum {checksum_path(path).name} cannot be read "
            f"({type(error).__name__}). Check permissions, or install MoCoDis again."
        ) from error
    found = hashlib.sha256(content).hexdigest()
    if wanted not in (None, found):
        raise InputError(
            f"weights {path}: not the released ones (SHA-256 {found[:12]}..., expected {wanted[:12]}...), but "
            "damaged or exchanged. Install MoCoDis again, or give weights of your own by name (--weights)."
        )
    return content


if __name__ == "__main__":
    print(write_checksum(default_weights_path()))
