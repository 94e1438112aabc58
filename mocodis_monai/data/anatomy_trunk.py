"""What the slices of the trunk share: body wall, spine, back muscles. Axial, patient seen from below; mm."""

import math

from mocodis_monai.data.canvas import Canvas, Ellipse, Pair, shrink
from mocodis_monai.data.tissues import Tissue

BODY_POWER = 2.5


def paint_body_wall(canvas: Canvas, radii_mm: Pair, fat_mm: Pair, wall_mm: float, cavity: int) -> Ellipse:
    """Skin, fat (``fat_mm`` from, to; thicker in front or behind), muscle wall, cavity; gives the cavity."""
    across, deep = (r * canvas.rng.uniform(0.93, 1.05) for r in radii_mm)
    skin = Ellipse((0.0, 0.0), (across, deep), 0.0)
    canvas.paint(Tissue.SKIN, skin, BODY_POWER)
    fat = shrink(skin, 2.0)
    canvas.paint(Tissue.FAT, fat, BODY_POWER)
    thickness = canvas.rng.uniform(*fat_mm)
    center = (0.0, float(canvas.rng.uniform(-0.4, 0.4) * thickness))
    muscle = shrink(fat, thickness)._replace(center_mm=center)
    canvas.paint(Tissue.MUSCLE, muscle, BODY_POWER)
    inner = shrink(muscle, wall_mm)
    canvas.paint(cavity, inner, BODY_POWER)
    return inner


def paint_spine(canvas: Canvas, center_mm: Pair, radii_mm: Pair) -> None:
    """Vertebral body (or disc), canal with cord or roots in CSF, pedicles, processes, back muscles."""
    x, y = center_mm
    back = y + radii_mm[1] + 9
    for side in (-1, 1):
        muscle = ((x + side * 36, back + 8), (29, 21), side * 12)
        canvas.organ(Tissue.MUSCLE, *muscle, wall=(Tissue.FAT, 1.5))
        canvas.tube(Tissue.CORTICAL_BONE, (x + side * 12, back - 4), (x + side * 34, back + 3), (9, 6))
        canvas.tube(Tissue.RED_MARROW, (x + side * 12, back - 4), (x + side * 33, back + 3), (5, 3))
    canvas.tube(Tissue.CORTICAL_BONE, (x, back + 6), (x, back + 34), (8, 5))
    canvas.tube(Tissue.RED_MARROW, (x, back + 8), (x, back + 32), (3.5, 2))
    canvas.organ(Tissue.FAT, (x, back), (13, 10), wall=(Tissue.CORTICAL_BONE, 2.0))
    sac = canvas.organ(Tissue.CSF, (x, back), (9, 7.5), within=(Tissue.FAT,))
    canvas.paint(Tissue.WHITE_MATTER, Ellipse(sac.center_mm, (5.0, 3.8), 0.0))
    canvas.paint(Tissue.GREY_MATTER, Ellipse(sac.center_mm, (3.0, 1.2), 0.0))
    body = canvas.rng.choice([Tissue.RED_MARROW, Tissue.RED_MARROW, Tissue.CARTILAGE])
    canvas.organ(int(body), center_mm, radii_mm, wall=(Tissue.CORTICAL_BONE, 1.8))


def paint_ribs(canvas: Canvas, cavity: Ellipse, count: int, size_mm: tuple[float, float] = (13, 5)) -> None:
    """Oblique cuts through ribs along the wall of a cavity, marrow inside a cortical rim."""
    for k in range(count):
        turn = 2 * math.pi * (k + canvas.rng.uniform(0.2, 0.8)) / count
        if abs(math.sin(turn)) > 0.93:
            continue
        x, y = (1.03 * math.copysign(abs(f(turn)) ** 0.8, f(turn)) * r for f, r in _axes(cavity))
        width, depth = cavity.radii_mm
        along = math.degrees(math.atan2(depth * math.cos(turn), -width * math.sin(turn)))
        x, y = x + cavity.center_mm[0], y + cavity.center_mm[1]
        canvas.organ(Tissue.RED_MARROW, (x, y), size_mm, along, wall=(Tissue.CORTICAL_BONE, 1.8))


def _axes(ellipse: Ellipse):
    return zip((math.cos, math.sin), ellipse.radii_mm, strict=True)
