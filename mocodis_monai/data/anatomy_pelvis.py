"""Axial slices of the pelvis at the hip joints. Sizes in mm."""

from mocodis_monai.data.anatomy_trunk import BODY_POWER, paint_body_wall
from mocodis_monai.data.canvas import Canvas, Ellipse, shrink
from mocodis_monai.data.tissues import Tissue

FOV_MM = (280.0, 400.0)


def paint_pelvis(canvas: Canvas) -> None:
    """Fat and gluteal muscles, hip joints, pubic bones, bladder, prostate or womb, rectum, coccyx."""
    paint_body_wall(canvas, (178.0, 112.0), (12.0, 35.0), 0.0, Tissue.FAT)
    _paint_muscles(canvas)
    for side in (-1, 1):
        _paint_hip(canvas, side)
    _paint_viscera(canvas)


def _paint_muscles(canvas: Canvas) -> None:
    for side in (-1, 1):
        canvas.organ(Tissue.MUSCLE, (side * 72, 56), (62, 29), side * -14, wall=(Tissue.FAT, 1.5))
        canvas.organ(Tissue.MUSCLE, (side * 96, -44), (26, 32), side * 20, wall=(Tissue.FAT, 1.5))
        canvas.organ(Tissue.MUSCLE, (side * 128, -14), (20, 42), side * -10, wall=(Tissue.FAT, 1.5))
        canvas.organ(Tissue.MUSCLE, (side * 58, -52), (22, 15), side * 24, wall=(Tissue.FAT, 1.5))
        canvas.organ(Tissue.MUSCLE, (side * 50, 6), (12, 34), side * 8)
        canvas.organ(Tissue.BLOOD, (side * 72, -72), (6, 5), wall=(Tissue.MUSCLE, 1.0))
        canvas.organ(Tissue.BLOOD, (side * 60, -70), (7, 5), wall=(Tissue.MUSCLE, 0.8))
    inner = Ellipse((0.0, 2.0), (46.0, 62.0), 0.0)
    canvas.paint(Tissue.FAT, inner, BODY_POWER)


def _paint_hip(canvas: Canvas, side: int) -> None:
    """Acetabulum around the femoral head, cartilage between, neck and trochanter, pubic bone in front."""
    x, y = side * 92.0, 2.0
    bone = (Tissue.CORTICAL_BONE, 2.0)
    canvas.organ(Tissue.RED_MARROW, (x - side * 22, y + 20), (13, 24), side * 38, wall=bone)
    canvas.organ(Tissue.RED_MARROW, (x - side * 22, y - 18), (11, 22), side * -35, wall=bone)
    canvas.tube(Tissue.CORTICAL_BONE, (x - side * 34, y - 30), (side * 8, -62), (15, 13))
    canvas.tube(Tissue.RED_MARROW, (x - side * 34, y - 30), (side * 8, -62), (11, 9))
    canvas.tube(Tissue.CORTICAL_BONE, (x, y), (x + side * 44, y + 22), (34, 28))
    canvas.tube(Tissue.YELLOW_MARROW, (x, y), (x + side * 44, y + 22), (29, 24))
    canvas.organ(Tissue.YELLOW_MARROW, (x + side * 46, y + 22), (16, 22), side * -20, wall=bone)
    canvas.organ(Tissue.YELLOW_MARROW, (x, y), (27, 27), wall=(Tissue.CARTILAGE, 2.5))
    head = canvas.organ(Tissue.CORTICAL_BONE, (x, y), (24.5, 24.5))
    canvas.paint(Tissue.YELLOW_MARROW, shrink(head, 1.8))


def _paint_viscera(canvas: Canvas) -> None:
    fill = canvas.rng.uniform(0.6, 1.15)
    canvas.organ(Tissue.URINE, (0, -28), (40 * fill, 27 * fill), wall=(Tissue.MUSCLE, 3.0))
    middle = canvas.organ(Tissue.PROSTATE, (0, 14), (23, 15), wall=(Tissue.MUSCLE, 1.5))
    canvas.organ(Tissue.MUSCLE, middle.center_mm, (11, 8), within=(Tissue.PROSTATE,))
    for side in (-1, 1):
        canvas.organ(Tissue.URINE, (side * 16, 30), (11, 4), side * 15, within=(Tissue.FAT,))
    content = canvas.rng.choice([Tissue.AIR, Tissue.BOWEL_CONTENT, Tissue.MUSCLE])
    canvas.organ(int(content), (0, 46), (17, 14), wall=(Tissue.MUSCLE, 3.5))
    canvas.organ(Tissue.RED_MARROW, (0, 76), (15, 7), wall=(Tissue.CORTICAL_BONE, 1.8))
