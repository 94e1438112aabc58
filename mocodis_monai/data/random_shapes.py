"""Random content inside a random body outline with a fat ring: no anatomy to learn by heart.

``random_shapes`` are smooth regions (level sets of noise), ``dead_leaves`` are hundreds of overlapping
ellipses with power-law radii, so that edges occur at all scales (Lee, Mumford, Huang 2001, Int J Comput Vis
41:35, doi:10.1023/A:1011109015675). Labels are numbers of regions: 0 air, 1 skin, 2 fat, from 3 the content.
"""

import numpy as np

from mocodis_monai.data.canvas import Canvas, Ellipse, shrink

SKIN, FAT, FIRST_CONTENT = 1, 2, 3
NUM_LEAVES = 250
SMALLEST_LEAF = 0.025
LARGEST_LEAF = 0.45
LEAF_EXPONENT = 2.0


def fov_mm(rng: np.random.Generator) -> tuple[float, float]:
    """Field of view (rows, columns) between that of a knee and that of an abdomen."""
    width = rng.uniform(160, 380)
    return width * rng.uniform(0.7, 1.0), width


def paint_random_shapes(canvas: Canvas) -> None:
    """Regions between the quantiles of smooth noise, and two more sets of islands at finer scales."""
    body = _paint_outline(canvas)
    extent = min(body.radii_mm)
    inside = canvas.radius(body, (slice(None), slice(None)), 2.4) < 1
    steps = int(canvas.rng.integers(4, 8))
    level = canvas.noise(extent * canvas.rng.uniform(0.3, 0.6))
    edges = np.quantile(level[::4, ::4], np.linspace(0, 1, steps + 1)[1:-1])
    canvas.labels[inside] = FIRST_CONTENT + np.digitize(level[inside], edges)
    for k in range(3):
        scale_mm = extent * canvas.rng.uniform(0.1, 0.25)
        islands = inside & (canvas.noise(scale_mm) > canvas.rng.uniform(0.9, 1.6))
        canvas.labels[islands] = FIRST_CONTENT + steps + k


def paint_dead_leaves(canvas: Canvas) -> None:
    """Ellipses from the largest to the smallest or in random order, each its own label."""
    body = _paint_outline(canvas)
    rng, extent = canvas.rng, min(body.radii_mm)
    low, high = SMALLEST_LEAF ** (1 - LEAF_EXPONENT), LARGEST_LEAF ** (1 - LEAF_EXPONENT)
    radii = (low + rng.random(NUM_LEAVES) * (high - low)) ** (1 / (1 - LEAF_EXPONENT)) * extent
    if rng.random() < 0.5:
        radii = np.sort(radii)[::-1]
    places = rng.uniform(-1, 1, (NUM_LEAVES, 2)) * body.radii_mm
    outside = np.flatnonzero(canvas.labels != FIRST_CONTENT)
    wall = canvas.labels.ravel()[outside]
    for k in range(NUM_LEAVES):
        leaf = Ellipse(tuple(places[k]), (radii[k], radii[k] * rng.uniform(0.3, 1)), rng.uniform(0, 180))
        canvas.paint(FIRST_CONTENT + 1 + k, leaf)
    canvas.labels.ravel()[outside] = wall


def random_intensities(rng: np.random.Generator) -> np.ndarray:
    """One intensity per label, float32 of shape ``(label,)``: air 0, fat often bright, content random."""
    values = rng.uniform(0.05, 1.0, FIRST_CONTENT + NUM_LEAVES + 1).astype(np.float32)
    values[:FIRST_CONTENT] = 0.0, rng.uniform(0.2, 0.6), rng.uniform(0.3, 1.2)
    return values


def _paint_outline(canvas: Canvas) -> Ellipse:
    """Skin and fat inside the field of view; gives the ellipse of the content (power 2.4)."""
    rows, columns = (n * canvas.step_mm / 2 * canvas.rng.uniform(0.7, 0.9) for n in canvas.shape)
    skin = Ellipse((0.0, 0.0), (columns, rows), 0.0)
    canvas.paint(SKIN, skin, 2.4)
    canvas.paint(FAT, shrink(skin, 2.0), 2.4)
    body = shrink(skin, 2.0 + min(rows, columns) * canvas.rng.uniform(0.02, 0.2))
    canvas.paint(FIRST_CONTENT, body, 2.4)
    return body
