"""The built-in grid of simulated cases: region x family x severity, on subjects that no training has seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

from monai.bundle import ConfigParser
from monai.data import MetaTensor
from nibabel.orientations import aff2axcodes

from mocodis_monai.data.packaged import COLIN27_PATH
from mocodis_monai.data.phantom import REGIONS
from mocodis_monai.data.records import Record, phantom_records, slice_records, spread_off_ends
from mocodis_monai.evaluation.cases import NO_MOTION, Case, Cell
from mocodis_monai.motion import FAMILIES, RIGID_FAMILIES, band_of
from mocodis_monai.release import bundle_root
from mocodis_monai.transforms import LoadSourced, OutOfReachError, RandKSpaceMotiond, RandTextured

__all__ = [
    "DISPLACEMENTS_MM",
    "FIRST_SEED",
    "Grid",
    "Trained",
    "builtin_grid",
    "cells_of",
    "load_record",
    "missing_from",
    "simulated_cells",
    "trained_on",
]

FIRST_SEED = 500_000
"""Seeds from here on are those of the phantoms of the grid; tests/benchmarks/test_seeds.py holds all sets apart."""
SIZE = (128, 128)
DISPLACEMENTS_MM = (0.75, 1.75, 3.5, 6.0)
"""One displacement score in each band of severity."""
LINE_ORDERS = ("linear", "interleaved")
PHANTOM_REGIONS = ("head", "thorax", "abdomen", "pelvis", "knee")
NON_RIGID = {"thorax": ("breathing", "cardiac"), "abdomen": ("breathing", "peristalsis"), "pelvis": ("peristalsis",)}
"""Organs that move, by region."""
VIEWS = ("sagittal", "coronal", "axial")


class Trained(NamedTuple):
    """What the configs of the release training name; the rest of the grid is marked as held out."""

    regions: tuple[str, ...]
    families: tuple[str, ...]


class Grid(NamedTuple):
    """Which cells are made.

    Attributes:
        regions: regions of the phantom, and names of real volumes with their view, such as ``"colin27 axial"``.
        families: kinds of motion; a region takes those that befall it.
        displacements_mm: displacement scores; a clean image is always added.
        num_subjects: phantoms, or slices of a real volume, in each cell; fewer where a volume is short.
        volumes: path of each real volume by the name used in ``regions``.
    """

    regions: tuple[str, ...]
    families: tuple[str, ...] = FAMILIES
    displacements_mm: tuple[float, ...] = DISPLACEMENTS_MM
    num_subjects: int = 6
    volumes: tuple[tuple[str, str], ...] = ()


def builtin_grid(quick: bool = False) -> Grid:
    """Phantoms of five regions, and Colin27 in three views where it is installed.

    ``quick`` has two subjects in a cell instead of six, and only moderate and severe motion.
    """
    regions: tuple[str, ...] = PHANTOM_REGIONS
    volumes: tuple[tuple[str, str], ...] = ()
    if COLIN27_PATH.is_file():
        volumes = (("colin27", str(COLIN27_PATH)),)
        regions += tuple(f"colin27 {view}" for view in reversed(VIEWS))
    if quick:
        return Grid(regions, displacements_mm=DISPLACEMENTS_MM[1:3], num_subjects=2, volumes=volumes)
    return Grid(regions, volumes=volumes)


@lru_cache(maxsize=1)
def trained_on() -> Trained:
    """The regions and families that the bundle's release training names."""
    configs = Path(bundle_root()) / "configs"
    parser = ConfigParser()
    parser.read_config([str(configs / "train.yaml"), str(configs / "train_release.yaml")])
    return Trained(tuple(dict.fromkeys(parser.get("regions", REGIONS))), tuple(parser.get("families", RIGID_FAMILIES)))


def cells_of(grid: Grid) -> Iterator[tuple[Cell, list[Case]]]:
    """Each cell with its cases, made when it is asked for; cells that no motion reaches are left out."""
    trained = trained_on()
    for region in grid.regions:
        clean = [(record, load_record(record)) for record in _records(region, grid)]
        families = [name for name in grid.families if name in (*RIGID_FAMILIES, *NON_RIGID.get(region, ()))]
        held_out = partial(_held_out, region, trained=trained)
        yield from simulated_cells(region, clean, families, grid.displacements_mm, held_out)


def simulated_cells(
    region: str,
    clean: Sequence[tuple[Record, MetaTensor]],
    families: Sequence[str],
    displacements_mm: Sequence[float],
    held_out: Callable[[str | None], str],
) -> Iterator[tuple[Cell, list[Case]]]:
    """The cell without motion, and one for each family and band of severity that the images can reach.

    Where a band has several displacements, the names of its cases say which.

    Args:
        region: where the cases are counted.
        clean: records, with the ``subject`` and the name of the ``case``, and their images (1, H, W).
        families: kinds of motion.
        displacements_mm: displacement scores.
        held_out: why training has not seen a family (None: no motion) in this region, see :class:`Cell`.
    """
    cell = Cell(region, NO_MOTION, NO_MOTION, held_out(None))
    yield cell, [_case(cell, record, image, image, image, {}) for record, image in clean]
    bands: dict[str, list[float]] = {}
    for displacement_mm in dict.fromkeys(displacements_mm):
        bands.setdefault(band_of(displacement_mm), []).append(displacement_mm)
    for family in families:
        for band, scores in bands.items():
            cell = Cell(region, family, band, held_out(family))
            made = [(score, _simulate(cell, *subject, score)) for score in scores for subject in clean]
            cases = [_told_apart(case, score, scores) for score, case in made if case is not None]
            if cases:
                yield cell, cases


def _told_apart(case: Case, displacement_mm: float, scores: Sequence[float]) -> Case:
    """The case with its displacement in its name, where its band has others."""
    return case if len(scores) == 1 else case._replace(name=f"{case.name} {displacement_mm} mm")


def _held_out(region: str, family: str | None, trained: Trained) -> str:
    if region not in REGIONS:
        return "subject"
    if region not in trained.regions:
        return "region"
    return "" if family is None or family in trained.families else "family"


def _records(region: str, grid: Grid) -> list[Record]:
    """Records of the subjects of a region, by number."""
    records = []
    for record in _sources(region, grid):
        subject = f"{region} {record['image'].get('seed', record['image'].get('index'))}"
        records.append({**record, "subject": subject, "case": subject})
    return records


def _sources(region: str, grid: Grid) -> list[Record]:
    """Phantoms; or slices of a volume, spread over those with enough tissue."""
    name, _, view = region.partition(" ")
    volumes = dict(grid.volumes)
    if name in volumes:
        records = slice_records(volumes[name], axes=(VIEWS.index(view),), min_foreground=0.3)
        return spread_off_ends(records, grid.num_subjects)
    first = FIRST_SEED + 1000 * REGIONS.index(name)
    return phantom_records(grid.num_subjects, first, (name,), SIZE)


def load_record(record: Record) -> MetaTensor:
    """A clean image (1, H, W); phantoms get texture, since they are smoother than patients."""
    loaded: dict[Any, Any] = {"image": record["image"]}
    loaded = LoadSourced("image")(loaded)
    if record["image"]["kind"] == "phantom":
        texture = RandTextured("image", prob=1.0)
        texture.set_random_state(record["image"]["seed"] % 2**32)
        loaded = texture(loaded)
    return loaded["image"]


def _simulate(cell: Cell, record: Record, clean: MetaTensor, displacement_mm: float) -> Case | None:
    """A moved image; None where the motion cannot reach the score in this subject.

    The draw begins with the case and the family: each subject moves in its own way, with every displacement in the same
    unless that would ask for poses out of reach, and another is drawn.
    """
    simulate = RandKSpaceMotiond(
        "image",
        target_keys="target",
        prob=1.0,
        families=cell.family,
        displacement_mm=displacement_mm,
        line_orders=LINE_ORDERS,
    ).set_random_state(crc32(f"{record['case']} {cell.family}".encode()))
    try:
        done: dict[Any, Any] = simulate({"image": clean})
    except OutOfReachError:  # tissue would have to fold
        return None
    return _case(cell, record, clean, done["image"], done["target"], dict(done["image"].meta["motion"]))


def _case(cell: Cell, record: Record, clean: MetaTensor, moved: MetaTensor, target: MetaTensor, motion: dict) -> Case:
    x, y, z = (float(size) for size in clean.affine[:3, :3].norm(dim=0))
    return Case(
        cell=cell,
        subject=record["subject"],
        name=f"{record['case']} {cell.family} {cell.severity}",
        moved=_as_volume(moved),
        target=_as_volume(target),
        spacing_mm=(x, y, z),
        slice_axis=2,
        displacement_mm=float(motion.get("displacement_mm", 0.0)),
        motion=motion,
        orientation="".join(aff2axcodes(clean.affine.numpy())),
    )


def _as_volume(image: MetaTensor):
    """(1, H, W) -> (H, W, 1)."""
    return image.as_tensor()[0].float().unsqueeze(-1)


def missing_from(grid: Grid) -> str:
    """Which rows the built-in grid would have besides, and how to get them; empty if none is missing."""
    if any(name == "colin27" for name, _ in grid.volumes):
        return ""
    return (
        f"No rows of Colin27, the held-out real head: {COLIN27_PATH} is not there or was not asked for. "
        "Install Debian's package mricron-data: apt-get install mricron-data"
    )
