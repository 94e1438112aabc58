"""One line of the per-case table: a method on a case."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from mocodis_monai.data.intensity import foreground_mask
from mocodis_monai.evaluation.cases import Case, Cell
from mocodis_monai.evaluation.methods import Output
from mocodis_monai.metrics import (
    average_edge_strength,
    foreground_nmse,
    foreground_psnr,
    foreground_ssim,
    foreground_vif,
)

__all__ = ["METRICS", "Metric", "Row", "measure"]


class Metric(NamedTuple):
    """A column of the table: its title, the number of decimals, and whether more is better (0: it depends)."""

    title: str
    decimals: int
    sign: int


METRICS = {
    "ssim": Metric("SSIM", 3, 1),
    "psnr_db": Metric("PSNR dB", 1, 1),
    "nmse": Metric("NMSE", 4, -1),
    "vif": Metric("VIF", 3, 1),
    "aes": Metric("AES", 4, 0),
    "surprise_nats": Metric("surprise, nats", 2, 0),
    "score_mm": Metric("motion score, mm", 2, 0),
}


class Row(NamedTuple):
    """A line of ``cases.csv``; what does not exist is NaN. AES of the target stands beside that of the image."""

    region: str
    family: str
    severity: str
    held_out: str
    subject: str
    case: str
    method: str
    displacement_mm: float
    ssim: float
    psnr_db: float
    nmse: float
    vif: float
    aes: float
    aes_target: float
    score_mm: float
    surprise_nats: float
    seconds: float

    @property
    def cell(self) -> Cell:
        """Where the case is counted."""
        return Cell(self.region, self.family, self.severity, self.held_out)


def measure(case: Case, method: str, output: Output) -> Row:
    """All metrics of an output inside the foreground of the target, or of the scan itself where there is no target."""
    reference = case.moved if case.target is None else case.target
    image, wanted, mask = (
        _sliced_last(part, case.slice_axis) for part in (output.image, reference, foreground_mask(reference[None])[0])
    )
    nothing = float("nan")
    pair = (image, wanted, mask)
    paired = case.target is not None
    return Row(
        *case.cell,
        subject=case.subject,
        case=case.name,
        method=method,
        displacement_mm=case.displacement_mm,
        ssim=foreground_ssim(*pair) if paired else nothing,
        psnr_db=foreground_psnr(*pair) if paired else nothing,
        nmse=foreground_nmse(*pair) if paired else nothing,
        vif=foreground_vif(*pair) if paired else nothing,
        aes=average_edge_strength(image, mask),
        aes_target=average_edge_strength(wanted, mask) if paired else nothing,
        score_mm=output.score_mm,
        surprise_nats=output.surprise_nats,
        seconds=output.seconds,
    )


def _sliced_last(volume: torch.Tensor, slice_axis: int) -> np.ndarray:
    """(x, y, z) with the slice axis last; a single slice as (H, W)."""
    turned = volume.movedim(slice_axis, -1)
    return (turned[..., 0] if turned.shape[-1] == 1 else turned).numpy()
