"""Simulated motion in the volume of a file: what ``mocodis simulate`` does."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from monai.data import MetaTensor

from mocodis_monai.data.nifti import Volume
from mocodis_monai.errors import InputError
from mocodis_monai.transforms import RandKSpaceMotiond

__all__ = ["Simulation", "simulate_volume", "with_phase_encode_axis"]


class Simulation(NamedTuple):
    """Moved and target volume ``(x, y, z)``, float32, and the record of the motion."""

    moved: np.ndarray
    target: np.ndarray
    motion: dict[str, Any]


def simulate_volume(
    volume: Volume, phase_encode_axis: int, seed: int, options: Mapping[str, Any]
) -> Simulation:
    """Put motion into a volume; a single slice is run in 2D.

    Args:
        volume: without motion.
        phase_encode_axis: axis of the file.
        seed: the same seed gives the same motion.
        options: arguments of ``RandKSpaceMotiond``.

    Raises:
        InputError: the axis or the options do not fit the volume.
    """
    kept = [axis for axis in range(3) if volume.data.shape[axis] > 1]
    if len(kept) < 2 or phase_encode_axis not in kept:
        raise InputError(
            f"--phase-encode-axis {phase_encode_axis}: the volume has shape {volume.data.shape}; "
            f"it needs at least two axes longer than 1, and one of them here (one of {kept})."
        )
    axis, lines = kept.index(phase_encode_axis), volume.data.shape[phase_encode_axis]
    if options.get("num_shots", 0) > lines:
        raise InputError(
            f"--num-shots {options['num_shots']}: the volume has {lines} lines along axis {phase_encode_axis}; each "
            "shot needs one of its own. Give fewer."
        )
    try:
        transform = RandKSpaceMotiond("image", target_keys="target", prob=1.0, phase_encode_axis=axis, **options)
        result: dict[Any, Any] = transform.set_random_state(seed=seed)(
            {"image": _simulator_image(volume, kept)}
        )
    except ValueError as error:  # options that do not fit this volume, such as a displacement out of reach
        raise InputError(f"{volume.path}: {error}") from error
    moved, target = (np.asarray(result[key], dtype=np.float32) for key in ("image", "target"))
    shape = volume.data.shape
    motion = dict(result["image"].meta["motion"])
    motion |= {"phase_encode_axis": phase_encode_axis, "seed": seed}  # the axis of the file, not of the slice
    for name in ("trajectory", "scan"):  # MONAI's meta holds them as text, so that they collate
        motion[name] = json.loads(motion[name]) if motion[name] else {}
    return Simulation(moved.reshape(shape), target.reshape(shape), motion)


def with_phase_encode_axis(volume: Volume, axis: int) -> Volume:
    """The volume with ``axis`` as the phase-encode axis of its header, where a correction looks for it.

    If the header calls it the frequency or slice axis, it changes places with what was the phase-encode axis.
    """
    header = volume.header.copy()
    frequency, phase, across = header.get_dim_info()
    frequency, across = (phase if place == axis else place for place in (frequency, across))
    header.set_dim_info(frequency, axis, across)
    return volume._replace(header=header, phase_encode_axis=axis)


def _simulator_image(volume: Volume, kept: list[int]) -> MetaTensor:
    """``(1, *kept axes)`` with an affine in mm, whatever the unit of the file: the motion is in mm."""
    columns = [*kept, *(axis for axis in range(3) if axis not in kept), 3]
    affine = torch.as_tensor(volume.affine[:, columns])
    spacing_mm = torch.tensor([volume.spacing_mm[axis] for axis in columns[:3]], dtype=affine.dtype)
    affine[:3, :3] *= spacing_mm / affine[:3, :3].norm(dim=0)
    return MetaTensor(torch.from_numpy(volume.data.squeeze().copy())[None], affine=affine)
