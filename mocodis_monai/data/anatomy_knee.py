"""Sagittal slices of the knee, the patella on the left of the image. Sizes in mm."""

from mocodis_monai.data.canvas import Canvas, Ellipse, shrink
from mocodis_monai.data.tissues import Tissue

FOV_MM = (160.0, 160.0)


def paint_knee(canvas: Canvas) -> None:
    """Leg with fat and muscles, long bones, cartilage, menisci or cruciate ligaments, patella, fluid."""
    _paint_leg(canvas)
    flexion = canvas.rng.uniform(-6, 6)
    _paint_long_bones(canvas, flexion)
    _paint_joint(canvas)
    _paint_patella(canvas)


def _paint_leg(canvas: Canvas) -> None:
    fat_mm, front = canvas.rng.uniform(5, 13), -58.0
    canvas.paint(Tissue.SKIN, Ellipse((4.0, 0.0), (64.0, 190.0), 0.0))
    canvas.paint(Tissue.FAT, Ellipse((4.0, 0.0), (62.5, 190.0), 0.0))
    for center_y, lean in ((-72.0, 4.0), (70.0, -6.0)):
        canvas.organ(Tissue.MUSCLE, (44, center_y), (17 - fat_mm / 3, 58), lean, wall=(Tissue.FAT, 1.0))
        canvas.organ(Tissue.MUSCLE, (30, center_y), (9, 50), lean, wall=(Tissue.FAT, 1.0))
    canvas.organ(Tissue.MUSCLE, (-30, -82), (13, 32), -8)
    canvas.tube(Tissue.BLOOD, (30, -90), (33, 10), (7, 6))
    canvas.tube(Tissue.BLOOD, (33, 10), (24, 90), (6, 4))
    canvas.tube(Tissue.TENDON, (front + 19, -90), (front + 15, -34), (6, 7))
    canvas.tube(Tissue.TENDON, (front + 16, -20), (front + 28, 44), (6, 5))


def _paint_long_bones(canvas: Canvas, flexion_deg: float) -> None:
    """Shafts with a thick cortex, femoral condyle and tibial plateau with cartilage and a thin cortex."""
    lean = flexion_deg / 2
    canvas.tube(Tissue.CORTICAL_BONE, (-6 - lean, -110), (-2, -30), (33, 40))
    canvas.tube(Tissue.CORTICAL_BONE, (-4 + lean, 110), (4, 32), (30, 48))
    condyle = canvas.organ(Tissue.CARTILAGE, (6, -20), (31, 24), -16)
    canvas.paint(Tissue.CORTICAL_BONE, shrink(condyle, 2.8))
    canvas.organ(Tissue.CARTILAGE, (6, 13), (29, 6))
    plateau = canvas.organ(Tissue.CORTICAL_BONE, (6, 26), (29, 15), 4)
    canvas.tube(Tissue.YELLOW_MARROW, (-6 - lean, -110), (-2, -30), (25, 36))
    canvas.tube(Tissue.YELLOW_MARROW, (-4 + lean, 110), (4, 32), (22, 44))
    canvas.paint(Tissue.YELLOW_MARROW, shrink(condyle, 4.4))
    canvas.paint(Tissue.YELLOW_MARROW, shrink(plateau, 1.8))
    canvas.tube(Tissue.CORTICAL_BONE, (-20, -19), (30, -33), (0.8, 0.8), within=(Tissue.YELLOW_MARROW,))
    canvas.tube(Tissue.CORTICAL_BONE, (-18, 33), (28, 31), (0.8, 0.8), within=(Tissue.YELLOW_MARROW,))


def _paint_joint(canvas: Canvas) -> None:
    """Either the cruciate ligaments (middle slices) or the two horns of a meniscus; now and then fluid."""
    soft = (Tissue.FAT, Tissue.MUSCLE, Tissue.CARTILAGE)
    if canvas.rng.random() < 0.4:
        canvas.tube(Tissue.TENDON, (20, -30), (-8, 14), (6, 7))
        canvas.tube(Tissue.TENDON, (10, -22), (30, 6), (8, 7))
        canvas.tube(Tissue.TENDON, (30, 6), (32, 20), (7, 6))
    else:
        for side in (-1, 1):
            canvas.organ(Tissue.MENISCUS, (6 + side * 22, 7), (9, 3.6), side * 14, within=soft)
    for center, radii, angle in (((-22, -50), (4, 16), -10), ((36, -6), (4, 9), 0), ((-24, 4), (7, 2.5), 30)):
        if canvas.rng.random() < 0.6:
            canvas.organ(Tissue.SYNOVIAL_FLUID, center, radii, angle, within=(Tissue.FAT, Tissue.MUSCLE))


def _paint_patella(canvas: Canvas) -> None:
    patella = canvas.organ(Tissue.YELLOW_MARROW, (-40, -26), (9, 20), 4, wall=(Tissue.CORTICAL_BONE, 1.8))
    x, y = patella.center_mm
    cartilage = Ellipse((x + 10.5, y + 1), (3.0, 15.0), 4.0)
    canvas.paint(Tissue.CARTILAGE, cartilage, within=(Tissue.FAT, Tissue.MUSCLE, Tissue.TENDON))
