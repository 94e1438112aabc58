"""Lists of records for MONAI datasets; ``LoadSourced`` turns a record into an image.

A record of training twins holds two sources, ``image`` and ``partner``, and a ``seed``. Any other record is
``{"image": source, "region": str, "subject": str}`` with one of these sources, plain values only:

    {"kind": "phantom", "region": "head", "seed": 7, "size": [128, 128]}
    {"kind": "slice", "path": "/data/t1.nii.gz", "axis": 2, "index": 90}
    {"kind": "plane", "path": "/data/t1.nii.gz", "seed": 7, "size": [128, 128], "min_foreground": 0.15}
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from mocodis_monai.data.files import stem
from mocodis_monai.data.intensity import SCALE_FLOOR, foreground_scale
from mocodis_monai.data.phantom import REGIONS
from mocodis_monai.data.planes import MIN_FOREGROUND
from mocodis_monai.data.slices import read_canonical

Record = dict[str, Any]
_Name = TypeVar("_Name", str, str | Path)


def phantom_records(
    num_images: int,
    first_seed: int = 0,
    regions: Sequence[str] | str = REGIONS,
    size: Sequence[int] = (128, 128),
) -> list[Record]:
    """Phantoms of the seeds ``first_seed`` to ``first_seed + num_images - 1``, the regions in turn.

    The seed is the subject: two sets whose seeds do not overlap share no subject.

    Raises:
        ValueError: a region that is not in ``REGIONS``, or none.
    """
    regions = _check_regions(_listed(regions))
    records = []
    for k, seed in enumerate(range(first_seed, first_seed + num_images)):
        region = regions[k % len(regions)]
        source = {"kind": "phantom", "region": region, "seed": seed, "size": [int(n) for n in size]}
        records.append({"image": source, "region": region, "subject": f"phantom_{seed}"})
    return records


def slice_records(
    path: str | Path,
    axes: Sequence[int] = (0, 1, 2),
    step: int = 1,
    min_foreground: float = 0.1,
    region: str = "head",
) -> list[Record]:
    """Every ``step``-th slice of a volume across each axis whose foreground fraction is high enough.

    The foreground is all above 5 % of the volume's ``foreground_scale``. The file's name is the subject.

    Raises:
        InputError: the file is unfit.
        ValueError: no slice has enough foreground.
    """
    data = read_canonical(path).data
    foreground = data > SCALE_FLOOR * foreground_scale(data)
    records = []
    for axis in axes:
        fraction = foreground.mean(axis=tuple(k for k in range(3) if k != axis))
        for index in np.flatnonzero(fraction >= min_foreground)[::step].tolist():
            source = {"kind": "slice", "path": str(path), "axis": int(axis), "index": index}
            records.append({"image": source, "region": region, "subject": stem(path)})
    if not records:
        raise ValueError(
            f"min_foreground is {min_foreground}; no slice of {path} across axes {list(axes)} has that much "
            "foreground. Lower it."
        )
    return records


def plane_records(
    volumes: Sequence[str | Path] | str | Path,
    num_images: int,
    first_seed: int = 0,
    size: Sequence[int] = (128, 128),
    region: str = "volume",
) -> list[Record]:
    """Random planes of the seeds ``first_seed`` to ``first_seed + num_images - 1``, as many of each volume, in a row.

    The file's name is the subject.

    Raises:
        ValueError: there are no volumes.
    """
    volumes = _listed(volumes)
    if not volumes:
        raise ValueError("volumes is empty. Name at least one.")
    records = []
    for k in range(num_images):
        path = str(volumes[k * len(volumes) // num_images])
        source = {"kind": "plane", "path": path, "seed": first_seed + k, "size": [int(n) for n in size]}
        records.append({"image": source, "region": region, "subject": stem(path)})
    return records


def twin_records(
    num_records: int,
    first_seed: int = 0,
    regions: Sequence[str] | str = REGIONS,
    size: Sequence[int] = (128, 128),
    volumes: Sequence[str | Path] | str | Path = (),
    volume_share: float = 0.0,
    volume_block: int | None = None,
    min_foreground: float = MIN_FOREGROUND,
) -> list[Record]:
    """Two anatomies each, ``image`` and ``partner``, to be moved by the same trajectory, and the sample's ``seed``.

    An anatomy is a phantom of a random region, or for ``volume_share`` of them a random plane of a random volume.
    Opening a volume takes far longer than cutting a plane: with ``volume_block``, so many records in a row draw from
    the same two volumes, so that simulating them in their order opens each volume once. ``min_foreground`` is the share
    of a plane that must show something.

    Raises:
        ValueError: a region that is not in ``REGIONS``, or none; a share of no volumes.
    """
    regions, volumes = _check_regions(_listed(regions)), _listed(volumes)
    if volume_share > 0 and not volumes:
        raise ValueError(f"volume_share is {volume_share} and volumes is empty. Name volumes, or set it to 0.")
    records, plane = [], {"kind": "plane", "min_foreground": min_foreground}
    for seed in range(first_seed, first_seed + num_records):
        rng = np.random.default_rng((21, seed))
        near = volumes
        if volume_block is not None and len(volumes) > 2:
            chosen = np.random.default_rng((22, seed // volume_block)).choice(len(volumes), 2, replace=False)
            near = [volumes[k] for k in chosen.tolist()]
        anatomies = {}
        for number, key in enumerate(("image", "partner")):
            from_volume = rng.random() < volume_share
            names: Sequence[str | Path] = near if from_volume else regions
            name = str(names[int(rng.integers(len(names)))])
            where = plane | {"path": name} if from_volume else {"kind": "phantom", "region": name}
            anatomies[key] = {**where, "seed": 2 * seed + number, "size": [int(n) for n in size]}
        records.append({**anatomies, "seed": seed, "subject": f"twins_{seed}"})
    return records


def spread_off_ends(records: Sequence[Record], count: int) -> list[Record]:
    """``count`` of the slices of a volume, spread evenly off its ends, where there is little to see.

    Each comes once; there are fewer where the volume has not as many.
    """
    places = np.linspace(0, len(records) - 1, count + 2)[1:-1]
    return [records[place] for place in dict.fromkeys(map(int, places))]


def _listed(names: Sequence[_Name] | _Name) -> Sequence[_Name]:
    """A name alone is a list of one: the command line gives ``--volumes a.nii.gz`` as a text."""
    return [names] if isinstance(names, str | Path) else names


def _check_regions(regions: Sequence[str]) -> Sequence[str]:
    unknown = sorted(set(regions) - set(REGIONS))
    if unknown or not regions:
        raise ValueError(f"regions is {list(regions)}; allowed are {list(REGIONS)}. Pass at least one.")
    return regions
