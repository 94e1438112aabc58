"""Axial slices of the thorax at the level of the heart. Sizes in mm."""

from mocodis_monai.data.anatomy_trunk import paint_body_wall, paint_ribs, paint_spine
from mocodis_monai.data.canvas import Canvas, Ellipse, shrink
from mocodis_monai.data.tissues import Tissue

FOV_MM = (290.0, 390.0)


def paint_thorax(canvas: Canvas) -> None:
    """Chest wall with ribs and sternum, lungs with vessels, heart chambers, great vessels, spine."""
    cavity = paint_body_wall(canvas, (172.0, 118.0), (8.0, 22.0), canvas.rng.uniform(14, 22), Tissue.FAT)
    _paint_lungs(canvas, cavity)
    paint_ribs(canvas, cavity, int(canvas.rng.integers(11, 15)))
    canvas.organ(Tissue.RED_MARROW, (0, -cavity.radii_mm[1] - 2), (19, 6), wall=(Tissue.CORTICAL_BONE, 1.8))
    _paint_heart(canvas)
    paint_spine(canvas, (0.0, 48.0), (19.0, 15.0))
    _paint_great_vessels(canvas)


def _paint_lungs(canvas: Canvas, cavity: Ellipse) -> None:
    width, depth = cavity.radii_mm
    for side in (-1, 1):
        lung = canvas.organ(Tissue.LUNG, (side * 0.56 * width, 4), (0.41 * width, 0.92 * depth), side * 4)
        back = ((side * 0.38 * width, 0.5 * depth), (0.24 * width, 0.42 * depth), side * 20)
        canvas.organ(Tissue.LUNG, *back, within=(Tissue.FAT, Tissue.LUNG))
        hilum = (lung.center_mm[0] - side * 0.8 * lung.radii_mm[0], lung.center_mm[1] + 10)
        for _ in range(3):
            outwards = (0 if side > 0 else 180) + canvas.rng.uniform(-75, 75)
            canvas.vessel_tree(Tissue.BLOOD, hilum, outwards, canvas.rng.uniform(5, 8), 4, (Tissue.LUNG,))


def _paint_heart(canvas: Canvas) -> None:
    """Pericardial fat, then the left ventricle as a ring, the right one as a crescent, both atria behind."""
    size = canvas.rng.uniform(0.88, 1.12)
    x, y = 22.0, -32.0
    canvas.organ(Tissue.FAT, (x, y), (62 * size, 47 * size), 35, wall=(Tissue.MUSCLE, 1.2))
    thin = (Tissue.MYOCARDIUM, 3.0)
    canvas.organ(Tissue.BLOOD, (x - 26 * size, y - 4), (32 * size, 25 * size), 50, wall=thin)
    canvas.organ(Tissue.BLOOD, (x - 16 * size, y + 26 * size), (26 * size, 15 * size), 5, wall=thin)
    muscle = Ellipse((x + 16 * size, y + 3), (40 * size, 28 * size), 38 + canvas.rng.uniform(-8, 8))
    canvas.paint(Tissue.MYOCARDIUM, muscle)
    pool = shrink(muscle, canvas.rng.uniform(9, 14))
    canvas.paint(Tissue.BLOOD, pool)
    for side in (-1, 1):
        papillary = (pool.center_mm[0] + 9 * size, pool.center_mm[1] + side * 6 * size)
        canvas.organ(Tissue.MYOCARDIUM, papillary, (3.5, 3.5), within=(Tissue.BLOOD,))


def _paint_great_vessels(canvas: Canvas) -> None:
    canvas.organ(Tissue.BLOOD, (24, 38), (12, 12), wall=(Tissue.MUSCLE, 1.5))
    canvas.organ(Tissue.BLOOD, (-36, 12), (11, 9), wall=(Tissue.MUSCLE, 1.0))
    canvas.organ(Tissue.BOWEL_CONTENT, (6, 26), (7, 5), wall=(Tissue.MUSCLE, 3.0))
