"""What is evaluated: one moved scan, with its motion-free target where there is one."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from mocodis_monai.errors import InputError

__all__ = ["POPULATIONS", "REAL_SCANS", "SEPARATOR", "SEVERITIES", "Alignment", "Case", "Cell", "check_cell"]

SEPARATOR = " | "
SEVERITIES = ("none", "mild", "moderate", "severe", "extreme", "pairs", "moved alone")
POPULATIONS = {
    "": "seen regions and families",
    "family": "held-out families",
    "region": "held-out regions",
    "subject": "held-out real images",
}
"""What training knows of a case, by ``held_out``; the subject of every case is held out."""
REAL_SCANS = "real scans"
"""The population of the patients who moved, whose ``held_out`` says nothing more."""


class Cell(NamedTuple):
    """A box of the table.

    Attributes:
        region: part of the body, or the data set of real scans.
        family: kind of motion; "none" for a clean image, "real" for a patient who moved.
        severity: "none", a band of ``mocodis_monai.motion.SEVERITY_BANDS``; for a patient who moved "pairs" where there
            is a still scan and "moved alone" where there is none.
        held_out: why training has not seen the like: "", "family", "region" or "subject" (a real image).
    """

    region: str
    family: str
    severity: str
    held_out: str

    @property
    def label(self) -> str:
        """What tables call it: region, family and severity."""
        return SEPARATOR.join((self.region, self.family, self.severity))


def check_cell(cell: Cell) -> None:
    """Refuse a cell that no table has a place for.

    Raises:
        InputError: an unknown severity or ``held_out``, or a region or family with what stands between names in it.
    """
    for what, allowed in (("severity", SEVERITIES), ("held_out", tuple(POPULATIONS))):
        if getattr(cell, what) not in allowed:
            raise InputError(f"{cell}: {what} {getattr(cell, what)!r}; allowed are {allowed}. Correct it.")
    for what in ("region", "family"):
        if SEPARATOR in getattr(cell, what):
            raise InputError(
                f"{cell}: {what} {getattr(cell, what)!r}; {SEPARATOR!r} stands between names in tables. Rename it."
            )


class Alignment(NamedTuple):
    """How a still scan came to the pose of the moved one, to be looked at: a registration can go wrong.

    Attributes:
        rotation_deg: angle by which it was turned, about whatever axis.
        translation_mm: distance by which the centre of the head, or of what else the moved scan shows, was carried.
        overlap: share of the moved scan's foreground that the still one covers afterwards.
        correlation: of the two within that (Pearson), 0 where one of them is even.
    """

    rotation_deg: float
    translation_mm: float
    overlap: float
    correlation: float


class Case(NamedTuple):
    """One moved scan.

    Attributes:
        cell: where it is counted.
        subject: who was scanned; cases of one subject are not independent.
        name: of this scan, the same in every run.
        moved: ``(x, y, z)`` float32; a slice has z = 1.
        target: motion-free image on the same grid; None where there is none.
        spacing_mm: voxel size along x, y, z.
        slice_axis: the axis that is cut along.
        displacement_mm: true displacement score, NaN where nobody knows it.
        motion: metadata of the simulator, see ``mocodis_monai.transforms.KSpaceMotion``; empty for real motion.
        orientation: letters of the direction that x, y, z grow toward, to turn pictures upright.
        alignment: how the target was registered; None where it needed no registration.
    """

    cell: Cell
    subject: str
    name: str
    moved: torch.Tensor
    target: torch.Tensor | None
    spacing_mm: tuple[float, float, float]
    slice_axis: int
    displacement_mm: float
    motion: dict[str, Any]
    orientation: str
    alignment: Alignment | None = None
