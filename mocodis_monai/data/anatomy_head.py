"""Axial slices of the head: at the lateral ventricles, or at the orbits and the cerebellum. Sizes in mm."""

import numpy as np

from mocodis_monai.data.canvas import Canvas, Ellipse, shrink
from mocodis_monai.data.tissues import Tissue

FOV_MM = (240.0, 220.0)

# Radial shells from the skin inwards: tissue and thickness.
SCALP_AND_SKULL = (
    (Tissue.SKIN, 2.0),
    (Tissue.FAT, 4.0),
    (Tissue.CORTICAL_BONE, 2.0),
    (Tissue.YELLOW_MARROW, 2.5),
    (Tissue.CORTICAL_BONE, 2.0),
)
BRAIN = (Tissue.WHITE_MATTER, Tissue.GREY_MATTER, Tissue.CSF)


def paint_head(canvas: Canvas) -> None:
    """Scalp, skull, cortex; then ventricles and deep nuclei, or eyes, brain stem and cerebellum."""
    brain = _paint_shells(canvas)
    if canvas.rng.random() < 0.65:
        _paint_cortex(canvas, brain, fissure_gap=True)
        _paint_ventricles(canvas)
        _paint_nuclei(canvas)
    else:
        _paint_cortex(canvas, brain, fissure_gap=False)
        _paint_face(canvas)
        _paint_cerebellum(canvas, brain)


def _paint_shells(canvas: Canvas) -> Ellipse:
    outline = Ellipse((0.0, 0.0), (canvas.rng.uniform(74, 82), canvas.rng.uniform(94, 102)), 0.0)
    for tissue, thickness_mm in SCALP_AND_SKULL:
        canvas.paint(tissue, outline, power=2.2)
        outline = shrink(outline, thickness_mm * canvas.rng.uniform(0.7, 1.4))
    canvas.paint(Tissue.CSF, outline, power=2.2)
    return shrink(outline, canvas.rng.uniform(0.5, 2.5))


def _paint_cortex(canvas: Canvas, brain: Ellipse, fissure_gap: bool) -> None:
    """Grey matter follows the surface and the sulci, at a depth read from a distance in mm to both."""
    depth = (1 - np.sqrt(canvas.radius(brain, (slice(None), slice(None))))) * np.float32(brain.radii_mm[0])
    sulcus = _sulcus_distance(canvas, depth)
    pia = np.minimum(depth, sulcus)
    if fissure_gap:
        core = canvas.radius(Ellipse((0.0, 2.0), (18.0, 40.0), 0.0), (slice(None), slice(None)))
        pia = np.minimum(pia, np.abs(canvas.x) - 0.8 + 30 * (core < 1))
    thickness = np.float32(canvas.rng.uniform(2.6, 3.6)) + 0.4 * canvas.noise(25.0)
    inside = depth > 0
    canvas.labels[inside & (pia > 0)] = Tissue.GREY_MATTER
    canvas.labels[inside & (pia > thickness)] = Tissue.WHITE_MATTER


def _sulcus_distance(canvas: Canvas, depth: np.ndarray) -> np.ndarray:
    """Distance in mm to the sulci: zero lines of a wave around the brain, bent by noise, of random depth.

    Near a zero line the distance is |f| / |grad f|; sulci end where ``depth`` exceeds 4-26 mm.
    """
    folds = 2 * int(canvas.rng.integers(13, 19))
    angle = np.arctan2(canvas.y, canvas.x * np.float32(1.25))
    wave = np.sin(np.float32(folds / 2) * angle + 1.8 * canvas.noise(26.0) + 1.2 * canvas.noise(13.0))
    grad_y, grad_x = np.gradient(wave, np.float32(canvas.step_mm))
    line = np.abs(wave) / np.sqrt(grad_x * grad_x + grad_y * grad_y + np.float32(1e-4))
    half_width = np.float32(canvas.rng.uniform(0.3, 1.0))
    return np.maximum(line - half_width, depth - np.clip(13 + 6 * canvas.noise(18.0), 4, 26))


def _paint_ventricles(canvas: Canvas) -> None:
    width = canvas.rng.uniform(0.7, 1.6)
    canvas.paint(Tissue.WHITE_MATTER, Ellipse((0.0, 2.0), (20.0, 36.0), 0.0), within=BRAIN)
    for side in (-1, 1):
        canvas.organ(Tissue.CSF, (side * 9, -20), (4.5 * width, 15), side * 14, within=BRAIN)
        canvas.organ(Tissue.CSF, (side * 20, 28), (4.5 * width, 17), -side * 24, within=BRAIN)
    if canvas.rng.random() < 0.7:
        canvas.organ(Tissue.CSF, (0, 6), (1.6 * width, 10), within=BRAIN)


def _paint_nuclei(canvas: Canvas) -> None:
    inner = (Tissue.WHITE_MATTER, Tissue.GREY_MATTER)
    for side in (-1, 1):
        canvas.organ(Tissue.DEEP_GREY_MATTER, (side * 16, -18), (4.5, 11), side * 14, within=inner)
        canvas.organ(Tissue.DEEP_GREY_MATTER, (side * 12, 9), (7.5, 12), -side * 24, within=inner)
        canvas.organ(Tissue.DEEP_GREY_MATTER, (side * 27, -5), (5.5, 14), side * 10, within=inner)
        canvas.tube(Tissue.GREY_MATTER, (side * 38, -8), (side * 62, -14), (9, 9), within=BRAIN)
        canvas.tube(Tissue.CSF, (side * 40, -8), (side * 68, -14), (2.0, 2.5), within=BRAIN)


def _paint_face(canvas: Canvas) -> None:
    """Orbits with eyes, optic nerves and muscles, nasal cavity with its septum, temporal muscles."""
    canvas.organ(Tissue.CORTICAL_BONE, (0, -60), (30, 24))
    canvas.organ(Tissue.AIR, (0, -66), (11, 24), wall=(Tissue.MUSCLE, 2.5))
    canvas.tube(Tissue.CARTILAGE, (0, -92), (0, -44), (2.0, 1.5))
    for side in (-1, 1):
        wall = (Tissue.CORTICAL_BONE, 2.0)
        orbit = canvas.organ(Tissue.FAT, (side * 34, -66), (20, 24), side * 25, wall=wall)
        x, y = orbit.center_mm
        canvas.tube(Tissue.WHITE_MATTER, (x, y - 4), (x - side * 12, y + 22), (5, 4))
        canvas.tube(Tissue.MUSCLE, (x + side * 12, y - 8), (x - side * 6, y + 18), (3.5, 3))
        canvas.tube(Tissue.MUSCLE, (x - side * 12, y - 8), (x - side * 12, y + 18), (3.5, 3))
        eye = Ellipse((x, y - 8), (12.0, 12.0), 0.0)
        canvas.paint(Tissue.MUSCLE, eye)
        canvas.paint(Tissue.VITREOUS, shrink(eye, 1.2))
        canvas.paint(Tissue.CARTILAGE, Ellipse((x, y - 16), (5.0, 2.2), 0.0))
        canvas.organ(Tissue.MUSCLE, (side * 64, -34), (6, 17), -side * 14, wall=(Tissue.FAT, 1.5))


def _paint_cerebellum(canvas: Canvas, brain: Ellipse) -> None:
    """Petrous bones, brain stem, fourth ventricle, and a cerebellum of thin leaves parallel to its rim."""
    everywhere = (slice(None), slice(None))
    for side in (-1, 1):
        start, end = (side * 64, 18), (side * 18, -2)
        canvas.tube(Tissue.CORTICAL_BONE, start, end, (16, 9))
        canvas.tube(Tissue.YELLOW_MARROW, start, end, (7, 3))
        canvas.organ(Tissue.AIR, (side * 60, 22), (6, 8))
    rim = Ellipse((0.0, 50.0), (canvas.rng.uniform(48, 54), brain.radii_mm[1] - 58.0), 0.0)
    canvas.paint(Tissue.CSF, Ellipse(rim.center_mm, (rim.radii_mm[0] + 3, rim.radii_mm[1] + 3), 0.0))
    radius = np.sqrt(canvas.radius(rim, everywhere))
    leaves = np.sin(radius * np.float32(canvas.rng.uniform(36, 46)) + 2.2 * canvas.noise(14.0))
    white = (radius < 0.62) | (leaves > 0.55)
    canvas.labels[radius < 1] = Tissue.GREY_MATTER
    canvas.labels[(radius < 0.9) & white] = Tissue.WHITE_MATTER
    canvas.labels[(radius < 0.96) & (leaves < -0.93)] = Tissue.CSF
    canvas.tube(Tissue.GREY_MATTER, (0, 40), (0, 78), (9, 7), within=BRAIN)
    canvas.organ(Tissue.CSF, (0, 6), (26, 14))
    canvas.organ(Tissue.WHITE_MATTER, (0, 14), (17, 14))
    canvas.organ(Tissue.CSF, (0, 30), (8, 4))
