"""Pictures for people: one PNG that shows a volume before and after correction, and what was changed."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from monai.config import KeysCollection
from monai.transforms import SaveImaged
from PIL import Image

from mocodis_monai import __version__
from mocodis_monai.data.files import check_outputs, make_output_dir, staged, stem
from mocodis_monai.errors import InputError
from mocodis_monai.report.orientation import CANONICAL, turned, upright
from mocodis_monai.transforms.volumes import source_path, spacing_mm_of, spatial_array

__all__ = ["SaveComparisond", "is_our_picture", "save_comparison"]

BACKGROUND, TEXT = "#101114", "#e8e8e8"
_MARK = "MoCoDis "
# Zero is the background, so that an untouched region is dark.
DIFFERENCE = LinearSegmentedColormap.from_list(
    "mocodis_difference", ["#bfe8ff", "#2a86d1", BACKGROUND, "#d1452a", "#ffdcae"]
)
# Views of a turned volume: the axis across the slices and the letters at the left, right, top and bottom edge.
_VIEWS = (("axial", 2, "RLAP"), ("coronal", 1, "RLSI"), ("sagittal", 0, "APSI"))
# A view this much flatter than it is wide (a stack of few slices seen from the side) shows nothing.
_FLATTEST_VIEW = 0.12


class _View(NamedTuple):
    name: str
    axis: int
    letters: str
    height_mm: float
    width_mm: float


def save_comparison(
    path: str | Path,
    before: Any,
    after: Any,
    spacing_mm: Sequence[float],
    *,
    affine: np.ndarray | None = None,
    target: Any | None = None,
    motion_score_mm: float | None = None,
    title: str | None = None,
) -> Path:
    """Write a PNG: the middle slice of each view before, after, their difference and, if given, the target.

    All greys share one window, 0 to the 99.8th percentile of ``before``. The difference, after - before, is
    coloured symmetrically around zero; its scale is stated in intensity units and in per cent of the window.

    Args:
        path: the ``.png`` to make, in an existing folder. An older one is replaced.
        before: array or CPU tensor ``(x, y, z)``; one axis may have a single slice.
        after: the corrected volume, of the same shape.
        spacing_mm: voxel sizes along x, y, z, for the proportions of the picture.
        affine: voxel to world ``(4, 4)``, to turn the volume upright; without it the axes are taken as
            right, anterior, superior, and the sides are not lettered.
        target: the motion-free volume, of the same shape.
        motion_score_mm: estimated motion, stated in the title.
        title: a line above the picture, such as the name of the file.

    Raises:
        InputError: ``path`` does not end in .png or cannot be written.
        ValueError: the volumes do not have one common shape of three axes.
    """
    path = Path(path)
    check_outputs([path])
    if path.suffix.lower() != ".png":
        raise InputError(f"{path}: the picture's name must end in .png. Change it.")
    volumes = [np.asarray(v, dtype=np.float32) for v in (before, after, target) if v is not None]
    if volumes[0].ndim != 3 or any(v.shape != volumes[0].shape for v in volumes):
        raise ValueError(
            f"before, after, target: got shapes {[v.shape for v in volumes]}; allowed is one shape (x, y, z). Give "
            "volumes of one grid."
        )
    volumes, spacing = turned(volumes, spacing_mm, affine)
    views = _views(volumes[0].shape, spacing)
    figure = _draw(volumes, views, _headline(title, motion_score_mm), lettered=affine is not None)
    with staged(path) as (temporary,):
        made_by = {"Software": f"{_MARK}{__version__}"}
        figure.savefig(temporary, format="png", dpi=110, facecolor=BACKGROUND, metadata=made_by)
    return path


def is_our_picture(path: Path) -> bool:
    """Whether a file is one that :func:`save_comparison` made, by what a PNG says of itself; never raises."""
    try:
        with Image.open(path) as picture:
            return str(picture.info.get("Software")).startswith(_MARK)
    except Exception:  # a damaged picture raises almost anything, and was not written by us
        return False


class SaveComparisond(SaveImaged):
    """Write the picture of :func:`save_comparison` as ``<stem>_<output_postfix>.png``.

    For the postprocessing of a MONAI evaluator; it stands here and not in ``transforms`` because it draws. A
    ``SaveImaged``, like :class:`mocodis_monai.transforms.SaveVolumed`, so that a server can take it out.

    Args:
        keys: key of the volume before (read by ``LoadVolumed``) and of the volume after, ``(1, x, y, z)``.
        output_dir: folder to write into, made if it does not exist.
        output_postfix: what is added to the name.

    Raises:
        ValueError: ``keys`` is not a pair.
        InputError: on calling, if the folder or the file cannot be written.
    """

    def __init__(
        self,
        keys: KeysCollection = ("image", "pred"),
        output_dir: str | Path = ".",
        output_postfix: str = "corrected",
    ) -> None:
        super().__init__(keys, output_dir=output_dir)
        if len(self.keys) != 2:
            raise ValueError(f"keys: got {self.keys}; allowed are two. Give the volume before and the volume after.")
        self.output_dir, self.output_postfix = Path(output_dir), output_postfix

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Draw the pair; ``data`` comes back as it is."""
        result = dict(data)
        before, after = (result[key] for key in self.keys)
        source = source_path(result, self.keys[0])
        save_comparison(
            make_output_dir(self.output_dir) / f"{stem(source)}_{self.output_postfix}.png",
            spatial_array(before),
            spatial_array(after),
            spacing_mm_of(before),
            affine=np.asarray(before.affine),
            title=source.name,
        )
        return result


def _views(shape: Sequence[int], spacing_mm: Sequence[float]) -> list[_View]:
    views = []
    for name, axis, letters in _VIEWS:
        across, up = [a for a in range(3) if a != axis]
        views.append(
            _View(name, axis, letters, shape[up] * spacing_mm[up], shape[across] * spacing_mm[across])
        )
    wide = [v for v in views if min(v.height_mm, v.width_mm) >= _FLATTEST_VIEW * max(v.height_mm, v.width_mm)]
    single = [v for v in wide if shape[v.axis] == 1]
    return single or wide or [max(views, key=lambda v: v.height_mm * v.width_mm)]


def _slice(volume: np.ndarray, view: _View) -> np.ndarray:
    """The middle slice of a view as rows from top to bottom, columns from left to right."""
    plane = np.take(volume, volume.shape[view.axis] // 2, axis=view.axis)
    return upright(plane, CANONICAL.replace(CANONICAL[view.axis], ""))


def _draw(volumes: list[np.ndarray], views: list[_View], headline: str, lettered: bool) -> Figure:
    before, after, *target = volumes
    window = _window(before)
    planes = [[_slice(v, view) for v in (before, after, *target)] for view in views]
    changes = [row[1] - row[0] for row in planes]
    scale = max(
        float(np.percentile(np.abs(np.concatenate([c.ravel() for c in changes])), 99.5)), 1e-3 * window
    )
    columns = 3 + len(target)
    ratios = [min(max(view.height_mm / view.width_mm, 0.35), 2.0) for view in views]
    figure, grid = _canvas(columns, ratios, headline)
    for r, view in enumerate(views):
        axes = [figure.add_subplot(grid[r, c]) for c in range(columns)]
        greys = (axes[0], axes[1], *axes[3:])
        for axis, plane in zip(greys, planes[r]):
            _show(axis, plane, view, cmap="gray", vmin=0, vmax=window)
        mapped = _show(axes[2], changes[r], view, cmap=DIFFERENCE, vmin=-scale, vmax=scale)
        _label(axes[0], view, lettered)
        if r == 0:
            for axis, name in zip(axes, ("before", "after", "after \N{MINUS SIGN} before", "target")):
                axis.set_title(name, color=TEXT, fontsize=11)
    _colour_bar(figure, mapped, scale, window)
    return figure


def _canvas(columns: int, ratios: list[float], headline: str) -> tuple[Figure, Any]:
    """A dark figure whose panels are 2.9 inches wide, with room above and below in inches."""
    panel, above, below = 2.9, 0.85, 0.8
    width, height = panel * columns + 0.3, panel * sum(ratios) + above + below
    figure = Figure(figsize=(width, height), facecolor=BACKGROUND)
    FigureCanvasAgg(figure)
    figure.text(0.5, 1 - 0.18 / height, headline, color=TEXT, ha="center", va="top", fontsize=11, parse_math=False)
    grid = figure.add_gridspec(
        len(ratios),
        columns,
        height_ratios=ratios,
        left=0.3 / width,
        right=1 - 0.05 / width,
        top=1 - above / height,
        bottom=below / height,
        wspace=0.03,
        hspace=0.04,
    )
    return figure, grid


def _show(axis: Axes, plane: np.ndarray, view: _View, **mapping: Any) -> Any:
    rows, columns = plane.shape
    aspect = (view.height_mm / rows) / (view.width_mm / columns)
    axis.set_axis_off()
    return axis.imshow(plane, aspect=aspect, interpolation="nearest", **mapping)


def _label(axis: Axes, view: _View, lettered: bool) -> None:
    left, right, top, bottom = tuple(view.letters)
    style: dict[str, Any] = {
        "color": "#ffd27f",
        "fontsize": 9,
        "transform": axis.transAxes,
        "ha": "center",
        "va": "center",
    }
    for letter, x, y in ((left, 0.03, 0.5), (right, 0.97, 0.5), (top, 0.5, 0.97), (bottom, 0.5, 0.03)):
        if lettered:
            axis.text(x, y, letter, **style)
    axis.text(-0.03, 0.5, view.name, rotation=90, **{**style, "color": TEXT, "fontsize": 10})


def _colour_bar(figure: Figure, mapped: Any, scale: float, window: float) -> None:
    height = figure.get_size_inches()[1]
    axis = figure.add_axes((0.36, 0.52 / height, 0.28, 0.12 / height))
    bar = figure.colorbar(mapped, cax=axis, orientation="horizontal", ticks=[-scale, 0, scale])
    percent = 100 * scale / window
    bar.ax.set_xticklabels([f"\N{MINUS SIGN}{scale:.3g}", "0", f"+{scale:.3g}"], color=TEXT, fontsize=9)
    bar.ax.tick_params(color=TEXT)
    note = (
        f"difference in intensity units, \N{PLUS-MINUS SIGN}{scale:.3g} is {percent:.1f} % of the grey window"
    )
    figure.text(
        0.5, 0.08 / height, f"{note}. Research use only.", color=TEXT, ha="center", va="bottom", fontsize=9
    )


def _window(before: np.ndarray) -> float:
    top = float(np.percentile(before, 99.8))
    return top if top > 0 else max(float(before.max()), 1e-6)


def _headline(title: str | None, motion_score_mm: float | None) -> str:
    lines = [title] if title else []
    if motion_score_mm is not None and np.isfinite(motion_score_mm):
        lines.append(f"estimated motion {motion_score_mm:.1f} mm (median over slices)")
    return "\n".join(lines)
