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
from mocodis_monai.report.comparison import DIFFERENCE

__all__ = [
    "COLOURS",
    "DIFFERENCE_SCALE",
    "UNCERTAINTY_SCALE",
    "distribution",
    "phase_encoding",
    "strip",
    "trajectory_svg",
    "upright",
]

COLOURS = ("#1f6fb4", "#d1731a", "#3c8d3f", "#8a4fb0", "#b3452c", "#5c6670", "#c2a300")
PANEL_PX = 160
"""Height of a picture; larger ones make the file too heavy for a mail."""
LABEL_PX = 15
GREY_TOP = 1.1
DIFFERENCE_SCALE = 0.3
"""Difference at the ends of the colours, in units of the image's bright end."""
UNCERTAINTY_SCALE = 0.3
_WEBP_QUALITY = 55
_ENDLESS = ("psnr_db", "none")
"""A clean image has no error, so its PSNR has no end, and a loss of it says nothing."""


def strip(example: Example) -> str:
    """Data URI of one row of pictures: scan, corrected, target, both differences to the target, uncertainty.

    What does not exist (target, uncertainty) is left out; without a target the difference is corrected - scan.
    """
    greys = {"scan": example.moved, "corrected": example.corrected, "target": example.target}
    panels = {name: _grey(image) for name, image in greys.items() if image is not None}
    if example.target is None:
        panels["corrected - scan"] = _coloured(example.corrected - example.moved)
    else:
        panels["scan - target"] = _coloured(example.moved - example.target)
        panels["corrected - target"] = _coloured(example.corrected - example.target)
    if example.uncertainty is not None:
        panels["uncertainty"] = colormaps["magma"](np.clip(example.uncertainty / UNCERTAINTY_SCALE, 0, 1))[..., :3]
    placed = [_placed(panel, example, name) for name, panel in panels.items()]
    gap = np.full((LABEL_PX + PANEL_PX, 4, 3), 16, np.uint8)
    row = np.concatenate([part for panel in placed for part in (panel, gap)][:-1], axis=1)
    buffer = io.BytesIO()
    Image.fromarray(row).save(buffer, "WEBP", quality=_WEBP_QUALITY, method=4)
    return _data_uri("image/webp", buffer.getvalue())


def upright(image: np.ndarray, orientation: str) -> np.ndarray:
    """The slice (H, W, ...) as a radiologist looks at it: superior or anterior up, the patient's right on the left.

    Args:
        image: the first two axes are turned, further ones kept.
        orientation: letters of the direction that H and W grow toward, such as ``"RA"``.
    """
    if _lies_down(orientation):
        image, orientation = image.swapaxes(0, 1), orientation[::-1]
    return image[:: -1 if orientation[0] in "SA" else 1, :: -1 if orientation[1] in "RA" else 1]


def _lies_down(orientation: str) -> bool:
    """Whether the second axis is the one that is up in the picture."""
    return orientation[1] in ("SI" if set(orientation) & set("SI") else "AP")


def phase_encoding(example: Example) -> str:
    """Along which side of the picture ghosts travel, in words; empty where nobody knows."""
    axis = example.motion.get("phase_encode_axis", -1)
    if axis not in (0, 1):
        return ""
    return "up-down" if (axis == 0) != _lies_down(example.orientation) else "left-right"


def trajectory_svg(motion: dict[str, Any]) -> str:
    """What moved over the shots, as inline SVG: translations in mm and rotation in degrees, or amplitudes in mm."""
    if not motion.get("trajectory"):
        return ""
    numbers = json.loads(motion["trajectory"])
    if "modes" in numbers:
        curves = {f"mode {k} mm": curve for k, curve in enumerate(np.transpose(numbers["amplitude_mm"])[:3])}
    else:
        curves = {f"shift {'xyz'[k]} mm": curve for k, curve in enumerate(np.transpose(numbers["translation_mm"]))}
        curves |= {"turn deg": np.transpose(numbers["rotation_deg"])[0]}
    return _svg({name: np.asarray(curve, float) - np.mean(curve) for name, curve in curves.items()})


def _svg(curves: dict[str, np.ndarray]) -> str:
    width, height, left = 230, 120, 30
    reach = max(max(float(np.abs(curve).max()) for curve in curves.values()), 0.1)
    parts = [
        f'<svg viewBox="0 0 {width} {height + 30}" role="img" aria-label="motion over the shots">',
        f'<line x1="{left}" x2="{width}" y1="{height / 2}" y2="{height / 2}" class="zero"/>',
        *(
            f'<text x="{left - 3}" y="{y}" text-anchor="end">{value:+.1f}</text>'
            for y, value in ((9, reach), (height, -reach))
        ),
    ]
    for number, (name, curve) in enumerate(curves.items()):
        x = np.linspace(left, width - 2, len(curve)) if len(curve) > 1 else np.array([left])
        y = height / 2 - curve / reach * (height / 2 - 3)
        points = " ".join(f"{a:.0f},{b:.1f}" for a, b in zip(x, y))
        parts.append(f'<polyline points="{points}" style="stroke:{COLOURS[number]}"/>')
        parts.append(f'<text x="{left + 66 * number}" y="{height + 12}" style="fill:{COLOURS[number]}">{name}</text>')
    parts.append(f'<text x="{width}" y="{height + 26}" text-anchor="end">shots in the order of time</text></svg>')
    return "".join(parts)


def distribution(rows: Sequence[Row], methods: Sequence[str], metrics: dict[str, str], severities: list[str]) -> str:
    """Data URI of box plots: the gain of each method over the uncorrected scan, case by case, for each severity.

    Boxes hold the middle half of the cases, whiskers nine in ten; below the line a case was made worse.
    """
    figure = Figure(figsize=(4.6 * len(metrics), 3.4), layout="constrained")
    FigureCanvasSVG(figure)
    before = {row.case: row for row in rows if row.method == "uncorrected"}
    for number, (metric, title) in enumerate(metrics.items()):
        axes = figure.add_subplot(1, len(metrics), number + 1)
        for place, method in enumerate(methods):
            gains = [
                [
                    getattr(row, metric) - getattr(before[row.case], metric)
                    for row in rows
                    if row.method == method and row.severity == severity and (metric, severity) != _ENDLESS
                ]
                for severity in severities
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
    row_mm, column_mm = example.pixel_mm[::-1] if _lies_down(example.orientation) else example.pixel_mm
    width = round(PANEL_PX * turned.shape[1] * column_mm / (turned.shape[0] * row_mm))
    size = (min(max(width, PANEL_PX // 2), 2 * PANEL_PX), PANEL_PX)
    image = Image.fromarray((255 * turned).round().astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)
    labelled = Image.new("RGB", (size[0], LABEL_PX + PANEL_PX), (16, 17, 20))
    labelled.paste(image, (0, LABEL_PX))
    ImageDraw.Draw(labelled).text((2, 1), name, fill=(232, 232, 232), font=ImageFont.load_default(11))
    return np.asarray(labelled)


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
