"""A label image painted in millimetres, in the warped and posed coordinates of a random subject."""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch

SUPERSAMPLING = 2
WARP_LIMIT = 2.5
ROTATION_DEG = 8.0
"""Largest rotation of the subject."""
# Standard deviation of a two-dimensional cubic B-spline field with unit-variance coefficients: 151 / 315.
_SPLINE_STD = 151 / 315

Pair = tuple[float, float]


class Ellipse(NamedTuple):
    """Centre (x, y) and half axes in mm, and the angle of the first half axis in degrees."""

    center_mm: tuple[float, float]
    radii_mm: tuple[float, float]
    angle_deg: float


@lru_cache(maxsize=256)
def _spline_basis(length: int, cells: int) -> np.ndarray:
    """Uniform cubic B-spline weights, shape ``(length, cells + 3)`` float32."""
    position = (np.arange(length) + 0.5) / length * cells
    first = np.minimum(position.astype(int), cells - 1)
    t = position - first
    weights = np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3]) / 6
    basis = np.zeros((length, cells + 3), dtype=np.float32)
    for offset in range(4):
        basis[np.arange(length), first + offset] = weights[offset]
    return basis


def smooth_noise(rng: np.random.Generator, size: tuple[int, int], cells: tuple[int, int]) -> np.ndarray:
    """Gaussian cubic B-spline field of about unit variance, float32, shape ``size``; ``cells`` per axis."""
    coefficients = rng.standard_normal((cells[0] + 3, cells[1] + 3), dtype=np.float32)
    rows, columns = _spline_basis(size[0], cells[0]), _spline_basis(size[1], cells[1])
    # In torch: numpy's BLAS keeps threads spinning after each product, which took half a core per data worker.
    field = torch.from_numpy(rows) @ torch.from_numpy(coefficients) @ torch.from_numpy(columns).T
    return field.numpy() / np.float32(_SPLINE_STD)


class Canvas:
    """Tissue labels on a grid twice as fine as the image, with the subject's own coordinates in mm.

    ``x`` grows to the right and ``y`` downwards, zero in the middle. They are rotated, scaled and warped by a
    smooth random deformation, so that shapes given in plain millimetres come out posed and irregular.

    Args:
        size: rows and columns of the image.
        spacing_mm: side of an image pixel (square).
        rng: source of every random number.
        warp_mm: standard deviation of the smooth deformation; its finer part has a fifth of it.
    """

    def __init__(
        self,
        size: tuple[int, int],
        spacing_mm: float,
        rng: np.random.Generator,
        warp_mm: float = 3.0,
    ) -> None:
        self.rng = rng
        self.shape = (size[0] * SUPERSAMPLING, size[1] * SUPERSAMPLING)
        self.step_mm = spacing_mm / SUPERSAMPLING
        self.labels = np.zeros(self.shape, dtype=np.int16)
        self.scale = rng.uniform(0.93, 1.05)
        self.angle = math.radians(rng.uniform(-ROTATION_DEG, ROTATION_DEG))
        self.shift_mm = rng.uniform(-0.02, 0.02, 2) * np.array(self.shape[::-1]) * self.step_mm
        self.warp_reach_mm = WARP_LIMIT * warp_mm * 1.2
        self.x, self.y = self._coordinates(warp_mm)

    def noise(self, scale_mm: float) -> np.ndarray:
        """Smooth field of about unit variance over the canvas, with one knot each ``scale_mm``."""
        rows, columns = (max(1, round(n * self.step_mm / scale_mm)) for n in self.shape)
        return smooth_noise(self.rng, self.shape, (rows, columns))

    def _coordinates(self, warp_mm: float) -> tuple[np.ndarray, np.ndarray]:
        v = ((np.arange(self.shape[0]) + 0.5 - self.shape[0] / 2) * self.step_mm).astype(np.float32)[:, None]
        u = ((np.arange(self.shape[1]) + 0.5 - self.shape[1] / 2) * self.step_mm).astype(np.float32)
        u, v = u - np.float32(self.shift_mm[0]), v - np.float32(self.shift_mm[1])
        cos, sin = (np.float32(f(self.angle) / self.scale) for f in (math.cos, math.sin))
        return cos * u + sin * v + self._warp(warp_mm), cos * v - sin * u + self._warp(warp_mm)

    def _warp(self, warp_mm: float) -> np.ndarray:
        field = warp_mm * (self.noise(60.0) + 0.2 * self.noise(16.0))
        return np.clip(field, -self.warp_reach_mm, self.warp_reach_mm)

    def box(self, center_mm: tuple[float, float], reach_mm: float) -> tuple[slice, slice]:
        """Rows and columns that surely hold every point within ``reach_mm`` of a centre."""
        x, y = center_mm
        cos, sin = math.cos(self.angle) * self.scale, math.sin(self.angle) * self.scale
        column = (cos * x - sin * y + self.shift_mm[0]) / self.step_mm + self.shape[1] / 2
        row = (sin * x + cos * y + self.shift_mm[1]) / self.step_mm + self.shape[0] / 2
        reach = (reach_mm + 1.5 * self.warp_reach_mm) * self.scale / self.step_mm + 1
        rows, columns = (slice(max(0, int(c - reach)), max(0, int(c + reach) + 1)) for c in (row, column))
        return rows, columns

    def radius(self, ellipse: Ellipse, box: tuple[slice, slice], power: float = 2.0) -> np.ndarray:
        """The ``power``-th power of the distance from the centre in units of the half axes; 1 on the rim."""
        angle = math.radians(ellipse.angle_deg)
        dx = self.x[box] - np.float32(ellipse.center_mm[0])
        dy = self.y[box] - np.float32(ellipse.center_mm[1])
        a, b = (np.float32(1 / max(r, 1e-3)) for r in ellipse.radii_mm)
        cos, sin = np.float32(math.cos(angle)), np.float32(math.sin(angle))
        p, q = (cos * dx + sin * dy) * a, (cos * dy - sin * dx) * b
        if power == 2.0:
            return p * p + q * q
        return np.abs(p) ** np.float32(power) + np.abs(q) ** np.float32(power)

    def paint(self, label: int, ellipse: Ellipse, power: float = 2.0, within: tuple[int, ...] = ()) -> None:
        """Set the label inside a (super-)ellipse, only over the labels ``within`` where these are given."""
        reach = max(ellipse.radii_mm) if power == 2.0 else math.hypot(*ellipse.radii_mm)
        box = self.box(ellipse.center_mm, reach)
        self._set(box, self.radius(ellipse, box, power) < 1, label, within)

    def tube(
        self, label: int, start_mm: Pair, end_mm: Pair, width_mm: Pair, within: tuple[int, ...] = ()
    ) -> None:
        """Paint a straight tube with round ends; ``width_mm`` is its diameter at the start and at the end."""
        (x0, y0), (x1, y1) = start_mm, end_mm
        length = max(math.hypot(x1 - x0, y1 - y0), 1e-3)
        box = self.box(((x0 + x1) / 2, (y0 + y1) / 2), length / 2 + max(width_mm) / 2)
        dx, dy = self.x[box] - np.float32(x0), self.y[box] - np.float32(y0)
        ux, uy = np.float32((x1 - x0) / length), np.float32((y1 - y0) / length)
        along = np.clip((dx * ux + dy * uy) / np.float32(length), 0, 1)
        gap_x, gap_y = dx - along * np.float32(x1 - x0), dy - along * np.float32(y1 - y0)
        radius = np.float32(width_mm[0] / 2) + along * np.float32((width_mm[1] - width_mm[0]) / 2)
        self._set(box, gap_x * gap_x + gap_y * gap_y < radius * radius, label, within)

    def organ(
        self,
        label: int,
        center_mm: Pair,
        radii_mm: Pair,
        angle_deg: float = 0.0,
        within: tuple[int, ...] = (),
        wall: tuple[int, float] | None = None,
    ) -> Ellipse:
        """Paint an ellipse with random place (3 mm), size (10 %) and angle (8 deg); give what was painted.

        ``wall`` is a pair (label, thickness in mm) painted first, inside the same rim.
        """
        x, y = (float(c + self.rng.uniform(-3, 3)) for c in center_mm)
        a, b = (float(r * self.rng.uniform(0.9, 1.1)) for r in radii_mm)
        ellipse = Ellipse((x, y), (a, b), angle_deg + float(self.rng.uniform(-8, 8)))
        if wall is not None:
            self.paint(wall[0], ellipse, within=within)
            within = (wall[0],) if within else ()
        self.paint(label, shrink(ellipse, wall[1] if wall else 0.0), within=within)
        return ellipse

    def vessel_tree(
        self, label: int, start_mm: Pair, angle_deg: float, width_mm: float, depth: int, within: tuple[int, ...]
    ) -> None:
        """Paint a tree of tapering vessels: each splits in two, 20-90 degrees apart, 0.72 times as wide."""
        length = width_mm * self.rng.uniform(3.5, 6.0)
        angle = math.radians(angle_deg)
        end = (start_mm[0] + length * math.cos(angle), start_mm[1] + length * math.sin(angle))
        self.tube(label, start_mm, end, (width_mm, 0.75 * width_mm), within)
        if depth > 1:
            for turn in (self.rng.uniform(10, 45), -self.rng.uniform(10, 45)):
                self.vessel_tree(label, end, angle_deg + turn, 0.72 * width_mm, depth - 1, within)

    def _set(self, box: tuple[slice, slice], inside: np.ndarray, label: int, within: tuple[int, ...]) -> None:
        target = self.labels[box]
        if within:
            allowed = target == within[0]
            for other in within[1:]:
                allowed |= target == other
            inside = inside & allowed
        target[inside] = label


def shrink(ellipse: Ellipse, amount_mm: float) -> Ellipse:
    """The ellipse with both half axes shorter by ``amount_mm``, at least 0.1 mm."""
    a, b = (max(r - amount_mm, 0.1) for r in ellipse.radii_mm)
    return ellipse._replace(radii_mm=(a, b))
