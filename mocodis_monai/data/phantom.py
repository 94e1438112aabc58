"""The procedural whole-body phantom: a random subject, protocol, receiver and noise from one seed."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

from mocodis_monai.data import random_shapes
from mocodis_monai.data.anatomy_abdomen import FOV_MM as ABDOMEN_FOV_MM
from mocodis_monai.data.anatomy_abdomen import paint_abdomen
from mocodis_monai.data.anatomy_head import FOV_MM as HEAD_FOV_MM
from mocodis_monai.data.anatomy_head import paint_head
from mocodis_monai.data.anatomy_knee import FOV_MM as KNEE_FOV_MM
from mocodis_monai.data.anatomy_knee import paint_knee
from mocodis_monai.data.anatomy_pelvis import FOV_MM as PELVIS_FOV_MM
from mocodis_monai.data.anatomy_pelvis import paint_pelvis
from mocodis_monai.data.anatomy_thorax import FOV_MM as THORAX_FOV_MM
from mocodis_monai.data.anatomy_thorax import paint_thorax
from mocodis_monai.data.canvas import SUPERSAMPLING, Canvas, smooth_noise
from mocodis_monai.data.contrast import PulseSequence, sample_sequence, tissue_intensities
from mocodis_monai.data.intensity import foreground_scale

MIN_SIZE, MAX_SIZE = 32, 1024
MAX_NOISE = 0.02


class _Region(NamedTuple):
    paint: Callable[[Canvas], None]
    fov_mm: tuple[float, float] | None
    warp_mm: float
    orientation: str = "PL"


_REGIONS: dict[str, _Region] = {
    "head": _Region(paint_head, HEAD_FOV_MM, 2.5),
    "thorax": _Region(paint_thorax, THORAX_FOV_MM, 4.0),
    "abdomen": _Region(paint_abdomen, ABDOMEN_FOV_MM, 5.0),
    "pelvis": _Region(paint_pelvis, PELVIS_FOV_MM, 3.5),
    "knee": _Region(paint_knee, KNEE_FOV_MM, 1.6, orientation="IP"),
    "random_shapes": _Region(random_shapes.paint_random_shapes, None, 4.0),
    "dead_leaves": _Region(random_shapes.paint_dead_leaves, None, 3.0),
}
REGIONS = tuple(_REGIONS)


class Phantom(NamedTuple):
    """One phantom slice.

    Attributes:
        image: magnitude, shape ``(1, H, W)`` float32, its 99.5th foreground percentile 1.
        labels: int16, shape ``(H, W)``: ``Tissue`` of the top left quarter of each pixel, numbers of regions
            for random content.
        spacing_mm: pixel size along rows and along columns, both equal.
        region: one of ``REGIONS``.
        sequence: the protocol drawn; None for random content.
        orientation: direction that rows and columns grow toward: "PL" (posterior, left) of an axial slice, "IP" of a
            sagittal one.
    """

    image: torch.Tensor
    labels: np.ndarray
    spacing_mm: tuple[float, float]
    region: str
    sequence: PulseSequence | None
    orientation: str


def make_phantom(region: str, seed: int, size: tuple[int, int] = (128, 128)) -> Phantom:
    """Make a phantom slice; the same arguments give the same slice bit for bit.

    Args:
        region: one of ``REGIONS``.
        seed: non-negative integer; stands for the subject, the protocol, the receiver and the noise.
        size: rows and columns, each 32 to 1024. The whole body part fits in; the pixels are square.

    Raises:
        ValueError: for an unknown region, a negative seed or a size out of range.
    """
    _check(region, seed, size)
    rng = np.random.default_rng((REGIONS.index(region), seed))
    paint, fov_mm, warp_mm, orientation = _REGIONS[region]
    fov_mm = (np.array(fov_mm or random_shapes.fov_mm(rng)) * rng.uniform(0.97, 1.06)).tolist()
    spacing_mm = max(fov / pixels for fov, pixels in zip(fov_mm, size, strict=True))
    canvas = Canvas(size, spacing_mm, rng, warp_mm)
    paint(canvas)
    sequence = None if _REGIONS[region].fov_mm is None else sample_sequence(rng)
    values = random_shapes.random_intensities(rng) if sequence is None else tissue_intensities(sequence, rng)
    image = _receive(_render(canvas, values), rng)
    labels = canvas.labels[::SUPERSAMPLING, ::SUPERSAMPLING].copy()
    return Phantom(torch.from_numpy(image[None]), labels, (spacing_mm, spacing_mm), region, sequence, orientation)


def _check(region: str, seed: int, size: tuple[int, int]) -> None:
    if region not in _REGIONS:
        raise ValueError(f"region is {region!r}; allowed are {list(REGIONS)}. Pass one of them.")
    if seed < 0:
        raise ValueError(f"seed is {seed}; allowed are integers from 0. Pass a non-negative seed.")
    if len(size) != 2 or not all(MIN_SIZE <= pixels <= MAX_SIZE for pixels in size):
        raise ValueError(
            f"size is {tuple(size)}; allowed are two numbers (rows, columns) from {MIN_SIZE} to {MAX_SIZE}. "
            "Pass for example size=(128, 128)."
        )


def _render(canvas: Canvas, values: np.ndarray) -> np.ndarray:
    """Intensities with smooth texture, averaged from the fine grid to pixels, shape ``(H, W)``."""
    fine = values[canvas.labels]
    rows, columns = (n // SUPERSAMPLING for n in canvas.shape)
    image = fine.reshape(rows, SUPERSAMPLING, columns, SUPERSAMPLING).mean(axis=(1, 3))
    strength = canvas.rng.uniform(0.005, 0.025)
    texture = smooth_noise(canvas.rng, image.shape, (rows // 3, columns // 3))
    texture += smooth_noise(canvas.rng, image.shape, (rows // 10, columns // 10))
    return image * np.clip(1 + np.float32(strength) * texture, 0.5, 1.5)


def _receive(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Smooth receiver sensitivity, intensity scale, Rician noise of 0 to 2 %, intensity scale again."""
    sensitivity = 1 + np.float32(rng.uniform(0.0, 0.15)) * smooth_noise(rng, image.shape, (2, 2))
    image = image * np.clip(sensitivity, 0.5, 1.6)
    image = image / np.float32(foreground_scale(image))
    noise = rng.standard_normal((2, *image.shape), dtype=np.float32) * np.float32(rng.uniform(0.0, MAX_NOISE))
    image = np.hypot(image + noise[0], noise[1])
    return image / np.float32(foreground_scale(image))
