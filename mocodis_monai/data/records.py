"""Lists of records for MONAI datasets; ``LoadSourced`` turns a record into an image.

A record is ``{"image": source, "region": str, "subject": str}`` with one of two sources, plain values only:

    {"kind": "phantom", "region": "head", "seed": 7, "size": [128, 128]}
    {"kind": "slice", "path": "/data/t1.nii.gz", "axis": 2, "index": 90}
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mocodis_monai.data.intensity import SCALE_FLOOR, foreground_scale
from mocodis_monai.data.nifti import stem
from mocodis_monai.data.phantom import REGIONS
from mocodis_monai.data.slices import read_canonical

Record = dict[str, Any]


def phantom_records(
    num_images: int,
    first_seed: int = 0,
    regions: Sequence[str] = REGIONS,
    size: Sequence[int] = (128, 128),
) -> list[Record]:
    """Phantoms of the seeds ``first_seed`` to ``first_seed + num_images - 1``, the regions in turn.

    The seed is the subject: two sets whose seeds do not overlap share no subject.

    Raises ValueError for a region that is not in ``REGIONS``, or none.
    """
    unknown = sorted(set(regions) - set(REGIONS))
    if unknown or not regions:
        raise ValueError(f"regions is {list(regions)}; allowed are {list(REGIONS)}. Pass at least one.")
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

    Raises InputError where the file is unfit, ValueError where no slice has enough foreground.
    """
    data = read_canonical(str(path)).data
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


def training_records(
    num_phantoms: int,
    first_seed: int = 0,
    regions: Sequence[str] = REGIONS,
    size: Sequence[int] = (128, 128),
    volumes: Sequence[str | Path] = (),
    step: int = 4,
    repeats: int = 1,
) -> list[Record]:
    """Phantoms, then every ``step``-th slice along all three axes of each real volume, ``repeats`` times."""
    records = phantom_records(num_phantoms, first_seed, regions, size)
    for path in volumes:
        records += repeats * slice_records(path, step=step)
    return records


def check_disjoint_subjects(training: Sequence[Record], validation: Sequence[Record]) -> None:
    """Raise ValueError where a subject is both in the training and in the validation records."""
    shared = sorted({r["subject"] for r in training} & {r["subject"] for r in validation})
    if shared:
        raise ValueError(
            f"validation shares {len(shared)} subjects with training, for example {shared[:3]}; a subject "
            "may be in one split only. Choose first_seed past the last training seed, or other volumes."
        )
