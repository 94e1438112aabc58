"""Rigid trajectories as tables, for motion that was measured: one row per shot, in mm and degrees."""

from __future__ import annotations

import csv
import math
import os
from pathlib import Path
from typing import Any

import torch

from .trajectory import RigidTrajectory, check_trajectory

_ANGLES = {2: ("rotation_deg",), 3: ("rotation_0_deg", "rotation_1_deg", "rotation_2_deg")}


def write_trajectory(path: str | os.PathLike[str], trajectory: RigidTrajectory) -> None:
    """Write a trajectory as CSV; :func:`read_trajectory` returns the same float64 values bit for bit.

    Raises:
        ValueError: the trajectory's parts do not fit each other.
        OSError: the file cannot be written.
    """
    check_trajectory(trajectory)
    poses = torch.cat([values.detach().double().cpu() for values in trajectory], 1)
    with Path(path).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["shot", *_columns(trajectory.spatial_dims)])
        # repr has as many digits as it takes to tell a float from its neighbours.
        writer.writerows([shot, *map(repr, pose)] for shot, pose in enumerate(poses.tolist()))


def read_trajectory(path: str | os.PathLike[str]) -> RigidTrajectory:
    """Read a trajectory from CSV.

    The first row names the columns, in any order: ``shot``, from 0 in the order of time; ``translation_0_mm``,
    ``translation_1_mm``, in 3D ``translation_2_mm``; ``rotation_deg`` in 2D, ``rotation_0_deg`` to ``rotation_2_deg``
    in 3D, all as in :class:`RigidTrajectory`. Other columns are left alone, and so are empty cells after the last.

    Returns:
        float64 trajectory.

    Raises:
        ValueError: for an empty file, a column that is missing or named twice, a row with more cells than the first,
            shots out of order or left out, a value that is missing or not a finite number; with the file, row (the
            first is 1) and column.
    """
    with Path(path).open(newline="", encoding="utf-8-sig") as file:
        table: csv.DictReader[Any] = csv.DictReader(file, skipinitialspace=True)
        names = [name.strip() for name in table.fieldnames or []]
        table.fieldnames = names
        rows = [(table.line_num, row) for row in table]
    dims = 3 if {"translation_2_mm", *_ANGLES[3]} & set(names) else 2
    columns = _columns(dims)
    missing = [name for name in ("shot", *columns) if name not in names]
    if missing:
        raise ValueError(
            f"{path}, row 1: column {missing[0]!r} is missing, there are {names}; allowed are shot, "
            f"{', '.join(columns)} in {dims}D. Name the columns in the first row."
        )
    twice = [name for name in ("shot", *columns) if names.count(name) > 1]
    if twice:
        raise ValueError(
            f"{path}, row 1: column {twice[0]!r} is named {names.count(twice[0])} times; allowed is once. Take out or "
            "rename the other."
        )
    if not rows:
        raise ValueError(f"{path}: got no row below the names of the columns; allowed is one row per shot. Add them.")
    for shot, (line, row) in enumerate(rows):
        if any(cell.strip() for cell in row.get(None) or ()):  # where DictReader puts what no column is named for
            raise ValueError(
                f"{path}, row {line}: got {len(names) + len(row[None] or ())} cells for {len(names)} columns; allowed "
                "is one for each. Write decimals with a point, and one pose in a row."
            )
        if _number(path, line, "shot", row) != shot:
            raise ValueError(
                f"{path}, row {line}, column 'shot': got {row['shot']}, expected {shot}; allowed are the shots from 0 "
                "in the order of time, each once. Sort the rows, and fill the shots without a measured pose."
            )
    poses = torch.tensor(
        [[_number(path, line, name, row) for name in columns] for line, row in rows], dtype=torch.float64
    )
    trajectory = RigidTrajectory(poses[:, :dims].contiguous(), poses[:, dims:].contiguous())
    check_trajectory(trajectory)
    return trajectory


def _columns(spatial_dims: int) -> tuple[str, ...]:
    return (*(f"translation_{axis}_mm" for axis in range(spatial_dims)), *_ANGLES[spatial_dims])


def _number(path: str | os.PathLike[str], line: int, column: str, row: dict[Any, Any]) -> float:
    text: str | None = row[column]
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if "_" in (text or ""):  # which Python leaves out of a number
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(
            f"{path}, row {line}, column {column!r}: got {text!r}; allowed are finite numbers. Fill in the value, or "
            "drop the shot from the acquisition."
        )
    return value
