"""Axial slices of the upper abdomen. The liver lies on the left of the image. Sizes in mm."""

import math

from mocodis_monai.data.anatomy_trunk import paint_body_wall, paint_ribs, paint_spine
from mocodis_monai.data.canvas import Canvas, Ellipse
from mocodis_monai.data.tissues import Tissue

FOV_MM = (280.0, 385.0)


def paint_abdomen(canvas: Canvas) -> None:
    """Body wall, spine with psoas, kidneys, bowel loops, stomach, pancreas, spleen, liver, great vessels."""
    cavity = paint_body_wall(canvas, (168.0, 116.0), (8.0, 32.0), canvas.rng.uniform(9, 15), Tissue.FAT)
    paint_ribs(canvas, cavity, int(canvas.rng.integers(8, 12)), (12, 4.5))
    paint_spine(canvas, (0.0, 42.0), (23.0, 17.0))
    _paint_bowel(canvas, cavity)
    for side in (-1, 1):
        canvas.organ(Tissue.MUSCLE, (side * 36, 48), (11, 17), side * 12)
        if canvas.rng.random() < 0.85:
            _paint_kidney(canvas, side)
    _paint_left_organs(canvas, cavity)
    _paint_liver(canvas, cavity)
    _paint_great_vessels(canvas)


def _paint_bowel(canvas: Canvas, cavity: Ellipse) -> None:
    contents = (Tissue.BOWEL_CONTENT, Tissue.BOWEL_CONTENT, Tissue.AIR, Tissue.MUSCLE, Tissue.FAT)
    for _ in range(int(canvas.rng.integers(8, 18))):
        x = canvas.rng.uniform(-0.75, 0.75) * cavity.radii_mm[0]
        y = canvas.rng.uniform(-0.8, 0.15) * cavity.radii_mm[1]
        radii = canvas.rng.uniform(9, 22), canvas.rng.uniform(8, 14)
        content, wall = int(canvas.rng.choice(contents)), (Tissue.MUSCLE, canvas.rng.uniform(1.5, 3))
        canvas.organ(content, (x, y), radii, canvas.rng.uniform(0, 180), (Tissue.FAT, *contents), wall)


def _paint_kidney(canvas: Canvas, side: int) -> None:
    """Cortex, a ring of medullary pyramids, sinus fat towards the midline with the pelvis inside."""
    size = canvas.rng.uniform(0.8, 1.1)
    kidney = canvas.organ(Tissue.KIDNEY_CORTEX, (side * 74, 40), (25 * size, 31 * size), side * 25)
    x, y = kidney.center_mm
    for k in range(7):
        turn = 2 * math.pi * k / 7 + side
        center = (x + 14.5 * size * math.cos(turn), y + 18 * size * math.sin(turn))
        radii = (5.5 * size, 5.5 * size)
        canvas.organ(Tissue.KIDNEY_MEDULLA, center, radii, within=(Tissue.KIDNEY_CORTEX,))
    canvas.paint(Tissue.FAT, Ellipse((x - side * 7 * size, y), (15 * size, 9 * size), side * 10))
    canvas.organ(Tissue.URINE, (x - side * 8 * size, y), (6 * size, 3.5 * size))


def _paint_left_organs(canvas: Canvas, cavity: Ellipse) -> None:
    width, depth = cavity.radii_mm
    soft = (Tissue.FAT, Tissue.BOWEL_CONTENT, Tissue.AIR, Tissue.MUSCLE)
    if canvas.rng.random() < 0.8:
        stomach = canvas.organ(
            Tissue.BOWEL_CONTENT, (0.42 * width, -0.42 * depth), (46, 28), -25, wall=(Tissue.MUSCLE, 4.0)
        )
        x, y = stomach.center_mm
        canvas.paint(Tissue.AIR, Ellipse((x, y - 22), (30.0, 14.0), 0.0), within=(Tissue.BOWEL_CONTENT,))
    if canvas.rng.random() < 0.85:
        canvas.organ(Tissue.SPLEEN, (0.76 * width, 0.22 * depth), (24, 46), -18)
    for x, y, radius in ((-22, 2, 13), (0, -4, 10), (24, -2, 9), (46, 6, 9), (64, 14, 7)):
        canvas.organ(Tissue.PANCREAS, (x, y), (radius * 1.5, radius), within=soft)


def _paint_liver(canvas: Canvas, cavity: Ellipse) -> None:
    """Right and left lobe, portal and hepatic veins as trees, gall bladder, now and then a lesion."""
    width, depth = cavity.radii_mm
    size = canvas.rng.uniform(0.8, 1.08)
    right = canvas.organ(Tissue.LIVER, (-0.56 * width, -0.14 * depth), (58 * size, 74 * size), 6)
    canvas.organ(Tissue.LIVER, (-0.22 * width, -0.52 * depth), (58 * size, 32 * size), -8)
    portal = (right.center_mm[0] + 34 * size, right.center_mm[1] + 8)
    for direction in (150, 215, 265):
        angle, width_mm = direction + canvas.rng.uniform(-15, 15), canvas.rng.uniform(7, 11)
        canvas.vessel_tree(Tissue.BLOOD, portal, angle, width_mm, 4, (Tissue.LIVER,))
    if canvas.rng.random() < 0.5:
        canvas.organ(Tissue.URINE, (-0.3 * width, -0.12 * depth), (11, 19), 25, wall=(Tissue.MUSCLE, 1.2))
    for _ in range(int(canvas.rng.integers(0, 3))):
        x, y = (c + canvas.rng.uniform(-35, 35) for c in right.center_mm)
        radius = canvas.rng.uniform(3, 10)
        lesion = int(canvas.rng.choice([Tissue.URINE, Tissue.SPLEEN, Tissue.BLOOD]))
        canvas.organ(lesion, (x, y), (radius, radius), within=(Tissue.LIVER,))


def _paint_great_vessels(canvas: Canvas) -> None:
    canvas.organ(Tissue.BLOOD, (10, 15), (10, 10), wall=(Tissue.MUSCLE, 1.5))
    canvas.organ(Tissue.BLOOD, (-21, 15), (13, 9), wall=(Tissue.MUSCLE, 0.8))
