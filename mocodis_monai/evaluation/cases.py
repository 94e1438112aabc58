"""What is evaluated: one moved scan, with its motion-free target where there is one."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from mocodis_monai.errors import InputError
from mocodis_monai.motion import SEVERITY_BANDS

__all__ = [
    "MOVED_ALONE",
    "NO_MOTION",
    "PAIRS",
    "POPULATIONS",
    "REAL",
    "REAL_SCANS",
    "SEVERITIES",
    "Alignment",
    "Case",
    "Cell",
    "Group",
    "check_cell",
]

SEPARATOR = " | "
NO_MOTION = "none"
"""Family and severity of a clean image."""
REAL = "real"
"""Family of the patients who moved."""
PAIRS, MOVED_ALONE = "pairs", "moved alone"
"""In place of the severity of a patient who moved: there is a still scan, there is none."""
SEVERITIES = (NO_MOTION, *(name for name, _ in SEVERITY_BANDS), PAIRS, MOVED_ALONE)
POPULATIONS = {
    "": "seen regions and families",
    "family": "held-out families",
    "region": "held-out regions",
    "subject": "held-out real images",
}
"""What training knows of a case, by ``held_out``; the subject of every case is held out."""
REAL_SCANS = "real scans"
"""The population of the patients who moved, whose ``held_out`` says nothing more."""


class Group(NamedTuple):
    """Cases that a table shows together.

    Attributes:
        names: what they have in common besides the severity: nothing, a population, a region, a family, or a region and
            a family.
        severity: see :class:`Cell`.
    """

    names: tuple[str, ...]
    severity: str

    @property
    def head(self) -> str:
        """What stands before the severity, "" where nothing does."""
        return SEPARATOR.join(self.names)

    @property
    def label(self) -> str:
        """What tables and ``summary.json`` call it."""
        return SEPARATOR.join((*self.names, self.severity))

    @classmethod
    def of_label(cls, label: str) -> Group:
        """The group that is called so."""
        *names, severity = label.split(SEPARATOR)
        return cls(tuple(names), severity)


class Cell(NamedTuple):
    """A box of the table.

    Attributes:
        region: part of the body, or the data set of real scans.
        family: kind of motion; :data:`NO_MOTION` for a clean image, :data:`REAL` for a patient who moved.
        severity: one of :data:`SEVERITIES`: :data:`NO_MOTION`, a band of ``mocodis_monai.motion.SEVERITY_BANDS``; for a
            patient who moved :data:`PAIRS` where there is a still scan and :data:`MOVED_ALONE` where there is none.
        held_out: why training has not seen the like: "", "family", "region" or "subject" (a real image).
    """

    region: str
    family: str
    severity: str
    held_out: str

    @property
    def label(self) -> str:
        """What tables call it: region, family and severity."""
        return self.group.label

    @property
    def group(self) -> Group:
        """Its cases as a group."""
        return Group((self.region, self.family), self.severity)


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
