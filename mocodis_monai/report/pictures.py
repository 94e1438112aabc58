"""Pictures of a report, small enough to live inside one HTML file."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

from mocodis_monai.evaluation import Example, Row
from mocodis_monai.evaluation.cases import NO_MOTION
from mocodis_monai.evaluation.methods import UNCORRECTED
from mocodis_monai.report.comparison import DIFFERENCE
from mocodis_monai.report.orientation import lies_down, upright

__all__ = [
    "COLOURS",
    "DIFFERENCE_SCALE",
    "GREY_TOP",
    "UNCERTAINTY_SCALE",
    "distribution",
    "panel_names",
    "phase_encoding",
    "strip",
    "trajectory_svg",
]

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#5c6670", "#111111")
"""Of Okabe and Ito, who chose them so that the colour-blind tell them apart; here on a white ground."""
_BRIGHT = ("#56b4e9", "#e69f00", "#f0e442", "#cc79a7")
"""The bright ones of them, for a dark ground."""
_DASHES = ("", "5 2", "1.5 2", "7 2 1.5 2")
PANEL_PX = 160
"""Height of a picture; larger ones make the file too heavy for a mail."""
LABEL_PX = 15
GREY_TOP = 1.1
DIFFERENCE_SCALE = 0.3
"""Difference at the ends of the colours, in units of the image's bright end."""
UNCERTAINTY_SCALE = 0.3
_WEBP_QUALITY = 55
_ENDLESS = ("psnr_db", NO_MOTION)
"""A clean image has no error, so its PSNR has no end, and a loss of it says nothing."""


def strip(example: Example) -> str:
    """Data URI of one row of pictures: scan, corrected, target, both differences to the target, uncertainty.

    What does not exist (target, uncertainty) is left out; without a target the difference is corrected - scan.
    """
    placed = [_placed(panel, example, name) for name, panel in _panels(example).items()]
    gap = np.full((LABEL_PX + PANEL_PX, 4, 3), 16, np.uint8)
    row = np.concatenate([part for panel in placed for part in (panel, gap)][:-1], axis=1)
    buffer = io.BytesIO()
    Image.fromarray(row).save(buffer, "WEBP", quality=_WEBP_QUALITY, method=4)
    return _data_uri("image/webp", buffer.getvalue())


def panel_names(example: Example) -> list[str]:
    """What the row of pictures of :func:`strip` shows, from left to right."""
    return list(_panels(example))


def _panels(example: Example) -> dict[str, np.ndarray]:
    greys = {"scan": example.moved, "corrected": example.corrected, "target": example.target}
    panels = {name: _grey(image) for name, image in greys.items() if image is not None}
    if example.target is None:
        panels["corrected - scan"] = _coloured(example.corrected - example.moved)
    else:
        panels["scan - target"] = _coloured(example.moved - example.target)
        panels["corrected - target"] = _coloured(example.corrected - example.target)
    if example.uncertainty is not None:
        panels["uncertainty"] = colormaps["magma"](np.clip(example.uncertainty / UNCERTAINTY_SCALE, 0, 1))[..., :3]
    return panels


def phase_encoding(example: Example) -> str:
    """Along which side of the picture ghosts travel, in words; empty where nobody knows."""
    axis = example.motion.get("phase_encode_axis", -1)
    if axis not in (0, 1):
        return ""
    return "up-down" if (axis == 0) != lies_down(example.orientation) else "left-right"


def trajectory_svg(motion: dict[str, Any]) -> str:
    """What moved over the shots, less its mean, as inline SVG: shifts in mm and turn in degrees, or amplitudes."""
    return _svg(curves_of(motion)) if motion.get("trajectory") else ""


def curves_of(motion: dict[str, Any]) -> dict[str, np.ndarray]:
    """What moved over the shots, less its mean, by name, from the metadata of the simulator: each (shots,)."""
    numbers = json.loads(motion["trajectory"])
    if "modes" in numbers:
        curves = {f"mode {k + 1}, mm": curve for k, curve in enumerate(np.transpose(numbers["amplitude_mm"])[:3])}
    else:
        curves = {f"{'xyz'[k]}, mm": curve for k, curve in enumerate(np.transpose(numbers["translation_mm"]))}
        curves |= {"turn, degrees": np.transpose(numbers["rotation_deg"])[0]}
    return {name: np.asarray(curve, float) - np.mean(curve) for name, curve in curves.items()}


def _svg(curves: dict[str, np.ndarray]) -> str:
    """Curves over the shots on one scale, which serves millimetres and degrees alike."""
    width, height, left, top = 250, 155, 34, 22
    reach = max(max(float(np.abs(curve).max()) for curve in curves.values()), 0.1)
    shots = len(next(iter(curves.values())))
    unit = "mm" if all(name.endswith("mm") for name in curves) else "mm or degrees"
    spoken = ", ".join(f"{name} from {curve.min():.1f} to {curve.max():.1f}" for name, curve in curves.items())
    parts = [
        f'<svg viewBox="0 0 {width} {height + 34}" role="img" aria-label="motion over {shots} shots: {spoken}">',
        f'<text x="2" y="9">{unit}</text>',
        *(
            f'<line x1="{left}" x2="{width}" y1="{y}" y2="{y}" class="zero"/>'
            f'<text x="{left - 4}" y="{y + 3}" text-anchor="end">{value}</text>'
            for y, value in ((top, f"+{reach:.1f}"), ((top + height) / 2, "0"), (height, f"\N{MINUS SIGN}{reach:.1f}"))
        ),
        f'<text x="{left}" y="{height + 12}">shot 1</text>',
        f'<text x="{width - 2}" y="{height + 12}" text-anchor="end">shot {shots}</text>',
    ]
    for number, (name, curve) in enumerate(curves.items()):
        colour, dash = _BRIGHT[number % len(_BRIGHT)], _DASHES[number % len(_DASHES)]
        x = np.linspace(left, width - 2, len(curve)) if len(curve) > 1 else np.array([left])
        y = (top + height) / 2 - curve / reach * (height - top) / 2
        points = " ".join(f"{a:.0f},{b:.1f}" for a, b in zip(x, y))
        parts.append(f'<polyline points="{points}" style="stroke:{colour};stroke-dasharray:{dash or "none"}"/>')
        parts.append(f'<text x="{2 + 82 * number}" y="{height + 28}" style="fill:{colour}">{name}</text>')
    return "".join([*parts, "</svg>"])


def distribution(rows: Sequence[Row], methods: Sequence[str], metrics: dict[str, str], severities: list[str]) -> str:
    """Data URI of box plots: the gain of each method over the uncorrected scan, case by case, for each severity.

    Boxes hold the middle half of the cases, whiskers nine in ten; below the line a case was made worse. A gain that is
    not finite is left out: one of them would empty its box.
    """
    figure = Figure(figsize=(4.6 * len(metrics), 3.4), layout="constrained")
    FigureCanvasSVG(figure)
    before = {row.case: row for row in rows if row.method == UNCORRECTED}
    for number, (metric, title) in enumerate(metrics.items()):
        axes = figure.add_subplot(1, len(metrics), number + 1)
        for place, method in enumerate(methods):
            found = [row for row in rows if row.method == method]
            gains = [
                _gains([row for row in found if row.severity == severity], before, metric) for severity in severities
            ]
            _boxes(axes, gains, place, len(methods), method)
        axes.axhline(0, color="#888", linewidth=0.8)
        axes.set_xticks(range(len(severities)), severities)
        axes.set_title(f"gain in {title}", fontsize=10)
        axes.tick_params(labelsize=9)
        axes.spines[["top", "right"]].set_visible(False)
    if metrics:
        figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=9, frameon=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return _data_uri("image/svg+xml", buffer.getvalue())


def _gains(rows: Sequence[Row], before: dict[str, Row], metric: str) -> list[float]:
    found = [getattr(row, metric) - getattr(before[row.case], metric) for row in rows]
    return [gain for row, gain in zip(rows, found) if np.isfinite(gain) and (metric, row.severity) != _ENDLESS]


def _boxes(axes: Any, gains: list[list[float]], place: int, count: int, method: str) -> None:
    width = 0.8 / count
    colour = COLOURS[place % len(COLOURS)]
    at = [k + (place - (count - 1) / 2) * width for k in range(len(gains))]
    drawn = axes.boxplot(
        gains, positions=at, widths=0.85 * width, whis=(5, 95), patch_artist=True, manage_ticks=False, showfliers=True
    )
    for box in drawn["boxes"]:
        box.set(facecolor=colour, alpha=0.55, edgecolor=colour)
    for line in (*drawn["whiskers"], *drawn["caps"]):
        line.set(color=colour, linewidth=0.8)
    for line in drawn["medians"]:
        line.set(color="#111", linewidth=1.4)
    for points in drawn["fliers"]:
        points.set(marker=".", markersize=3, markeredgecolor=colour, alpha=0.5)
    drawn["boxes"][0].set_label(method)


def _grey(image: np.ndarray) -> np.ndarray:
    return np.repeat(np.clip(image / GREY_TOP, 0, 1)[..., None], 3, axis=2)


def _coloured(difference: np.ndarray) -> np.ndarray:
    return DIFFERENCE((np.clip(difference / DIFFERENCE_SCALE, -1, 1) + 1) / 2)[..., :3]


def _placed(panel: np.ndarray, example: Example, name: str) -> np.ndarray:
    """Upright, in proportion to millimetres, named: uint8 (LABEL_PX + PANEL_PX, width, 3)."""
    turned = upright(panel, example.orientation)
    row_mm, column_mm = example.pixel_mm[::-1] if lies_down(example.orientation) else example.pixel_mm
    width = round(PANEL_PX * turned.shape[1] * column_mm / (turned.shape[0] * row_mm))
    size = (min(max(width, PANEL_PX // 2), 2 * PANEL_PX), PANEL_PX)
    image = Image.fromarray((255 * turned).round().astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)
    labelled = Image.new("RGB", (size[0], LABEL_PX + PANEL_PX), (16, 17, 20))
    labelled.paste(image, (0, LABEL_PX))
    ImageDraw.Draw(labelled).text((2, 1), name, fill=(232, 232, 232), font=ImageFont.load_default(11))
    return np.asarray(labelled)


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
