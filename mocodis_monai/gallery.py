"""Pictures of simulated motion: every family that befalls a part of the body, by severity, over its trajectory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from monai.data import MetaTensor
from nibabel.orientations import aff2axcodes
from tqdm import tqdm

from mocodis_monai.data.files import check_outputs, staged
from mocodis_monai.data.packaged import icbm152_t1_path
from mocodis_monai.evaluation.grid import DISPLACEMENTS_MM
from mocodis_monai.motion import band_of, line_energy, scale_to_displacement
from mocodis_monai.report import BACKGROUND, TEXT
from mocodis_monai.report.orientation import lies_down, upright
from mocodis_monai.report.pictures import curves_of
from mocodis_monai.transforms import KSpaceMotion, LoadSourced, MotionSample, RandKSpaceMotion

__all__ = ["save_gallery"]

_SIZE = (192, 192)
_COLOURS = ("#e8a33d", "#4aa3df", "#7bc96f", "#d1452a", "#b48ade", "#8f9bb3")


class _Subject(NamedTuple):
    """A part of the body: where its image comes from, and which motion befalls it."""

    name: str
    source: dict
    families: tuple[str, ...]
    phase_encode_axis: int


def save_gallery(out_dir: Path, seed: int = 0, progress: bool = False) -> list[Path]:
    """Write one PNG per part of the body: a brain, an abdomen and a knee.

    Rows are families of motion, columns the clean image and one score per band of severity: the same course of motion,
    larger and larger. Under each image stands
    what moved: translations in mm and rotations in degrees, or amplitudes of the deformation in mm, over the shots. The
    brain is the ICBM152 T1 of the extra ``data`` where that is installed, else a phantom.

    Args:
        out_dir: an existing folder.
        seed: of the motion.
        progress: show a progress bar.

    Returns:
        the files written.

    Raises:
        InputError: for a folder that cannot be written to.
    """
    subjects = list(_subjects())
    paths = [out_dir / f"gallery_{subject.name}.png" for subject in subjects]
    check_outputs(paths)
    total = sum(len(subject.families) for subject in subjects) * len(DISPLACEMENTS_MM)
    with staged(*paths) as temporaries, tqdm(total=total, desc="gallery", unit="image", disable=not progress) as bar:
        for subject, temporary in zip(subjects, temporaries):
            _draw(subject, seed, bar).savefig(temporary, format="png", dpi=80, facecolor=BACKGROUND)
    return paths


def _subjects() -> Iterator[_Subject]:
    try:
        brain = {"kind": "slice", "path": str(icbm152_t1_path()), "axis": 2, "index": 88}
    except FileNotFoundError:
        brain = _phantom("head", 3)
    yield _Subject("brain", brain, ("sudden", "drift", "tremor", "nod", "swallow", "breathing_rigid"), 1)
    yield _Subject("abdomen", _phantom("abdomen", 3), ("breathing", "peristalsis", "breathing_rigid", "drift"), 0)
    yield _Subject("knee", _phantom("knee", 3), ("sudden", "drift", "tremor"), 0)


def _phantom(region: str, seed: int) -> dict:
    return {"kind": "phantom", "region": region, "seed": seed, "size": _SIZE}


def _draw(subject: _Subject, seed: int, bar: tqdm) -> Figure:
    clean = LoadSourced("image")({"image": subject.source})["image"]
    rows, columns = len(subject.families), 1 + len(DISPLACEMENTS_MM)
    figure = Figure(figsize=(2.6 * columns, 3.5 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(2 * rows, columns, height_ratios=[3, 1] * rows)
    for row, family in enumerate(subject.families):
        axes = [figure.add_subplot(grid[2 * row, column]) for column in range(columns)]
        below = [figure.add_subplot(grid[2 * row + 1, column]) for column in range(columns)]
        _show(axes[0], clean, f"{family}: clean", subject.phase_encode_axis)
        below[0].axis("off")
        samples = _one_motion_at_every_score(clean, family, subject.phase_encode_axis, seed + row)
        for column, (displacement_mm, sample) in enumerate(zip(DISPLACEMENTS_MM, samples, strict=True), start=1):
            label = f"{band_of(displacement_mm)}, {displacement_mm:g} mm"
            _fill(axes[column], below[column], label, sample, subject.phase_encode_axis)
            bar.update()
    return figure


def _one_motion_at_every_score(
    clean: MetaTensor, family: str, phase_encode_axis: int, seed: int
) -> Iterator[MotionSample | None]:
    """The same course of motion scaled to each score; None where tissue would have to fold."""
    most = (DISPLACEMENTS_MM[0], DISPLACEMENTS_MM[-1])
    draw = RandKSpaceMotion(1.0, family, most, phase_encode_axis, (24, 32), "interleaved")
    draw.set_random_state(seed)
    draw.randomize(clean)
    drawn = draw.drawn
    assert drawn is not None  # drawn with probability one
    image, spacing_mm = clean.as_tensor(), clean.pixdim[: clean.ndim - 1].tolist()
    acquisition = drawn.scan.plan(image.shape[1:], drawn.motion.num_shots)
    energy = line_energy(image, acquisition, image.ndim - 1)
    for displacement_mm in DISPLACEMENTS_MM:
        try:
            scaled = scale_to_displacement(drawn.motion, displacement_mm, acquisition, energy, image, spacing_mm)
        except ValueError:
            yield None
            continue
        yield KSpaceMotion.from_scan(scaled, drawn.scan, None, family).simulate(clean)


def _fill(axes: Axes, below: Axes, label: str, sample: MotionSample | None, phase_encode_axis: int) -> None:
    """One cell: the moved image over its trajectory; or that there is none."""
    if sample is not None:
        _show(axes, cast("MetaTensor", sample.image), label, phase_encode_axis)
        _show_motion(below, sample)
        return
    for part in (axes, below):
        part.axis("off")
    reason = f"{label}\nbeyond what tissue\ncan stretch"
    axes.text(0.5, 0.5, reason, color=TEXT, ha="center", transform=axes.transAxes)


def _show(axes: Axes, image: MetaTensor, title: str, phase_encode_axis: int) -> None:
    """The image upright, dark to bright as the clean one; an arrow along the phase-encode axis."""
    picture, arrow = _upright(image, phase_encode_axis)
    axes.imshow(picture, cmap="gray", vmin=0, vmax=1.1, interpolation="nearest")
    axes.set_title(title, color=TEXT, fontsize=9)
    style = {"arrowstyle": "->", "color": _COLOURS[0]}
    axes.annotate("", arrow, (0.04, 0.04), xycoords="axes fraction", arrowprops=style)
    axes.axis("off")


def _upright(image: MetaTensor, phase_encode_axis: int) -> tuple[np.ndarray, tuple[float, float]]:
    """The slice as a radiologist looks at it, and where the arrow of the phase-encode axis ends."""
    orientation = "".join(aff2axcodes(image.affine.numpy())[:2])
    vertical = (phase_encode_axis == 0) != lies_down(orientation)
    return upright(image.as_tensor()[0].numpy(), orientation), (0.04, 0.3) if vertical else (0.3, 0.04)


def _show_motion(axes: Axes, sample: MotionSample) -> None:
    """Poses or amplitudes over the shots."""
    for (name, curve), colour in zip(curves_of(sample.metadata).items(), _COLOURS, strict=False):
        axes.plot(curve, color=colour, linewidth=1, label=name)
    axes.set_facecolor(BACKGROUND)
    axes.tick_params(colors=TEXT, labelsize=6)
    axes.set_xlabel("shot", color=TEXT, fontsize=6, labelpad=0)
    axes.legend(fontsize=5, frameon=False, labelcolor=TEXT, ncols=3, loc="lower left", bbox_to_anchor=(0, 0.95))
    for spine in axes.spines.values():
        spine.set_color("#44464d")
