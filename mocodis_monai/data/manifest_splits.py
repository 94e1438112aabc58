"""Which subjects of a manifest go into which split, for ``mocodis manifest build``."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from mocodis_monai.data.manifest import SPLITS
from mocodis_monai.errors import InputError

__all__ = ["Shares", "assign_splits"]


class Shares(NamedTuple):
    """Which part of the subjects goes into a split; the rest is for training."""

    validation: float
    test: float


def assign_splits(
    subjects: Iterable[str], shares: Shares, seed: int = 0, known: Mapping[str, str] | None = None, source: str = ""
) -> dict[str, str]:
    """A split for each subject: that of ``known``, else drawn by the SHA-256 of seed and name.

    The order in which subjects come does not matter. Where nothing is known, the numbers are those of the shares, but
    for rounding, and at least one for each split with a share.

    Raises:
        InputError: the shares are below 0 or above 1 together, or there are fewer subjects than splits.
    """
    names, known = sorted(set(subjects)), known or {}
    wanted = _wanted(len(names), shares, source)
    splits = {name: known[name] for name in names if name in known}
    have = Counter(splits.values())
    for name in sorted(set(names) - set(splits), key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).digest()):
        split = max(SPLITS, key=lambda split: wanted[split] - have[split])
        splits[name] = split
        have[split] += 1
    return splits


def _wanted(count: int, shares: Shares, source: str) -> dict[str, int]:
    """How many subjects each split shall have: one for each that has a share, then where most are missing."""
    if min(shares) < 0 or sum(shares) > 1 + 1e-9:
        raise InputError(
            f"the shares of validation and test are {shares.validation:g} and {shares.test:g}; allowed is 0 to 1 "
            "together. Lower one."
        )
    due = dict(zip(SPLITS, (count * share for share in (max(0.0, round(1 - sum(shares), 9)), *shares))))
    wanted = {split: int(number > 0) for split, number in due.items()}
    if sum(wanted.values()) > count:
        splits = ", ".join(split for split in SPLITS if wanted[split])
        raise InputError(
            f"{source}: {count} subjects are too few for the splits {splits}, each of which wants its own. "
            "Add subjects, or set a share (--validation, --test) to 0; if all files were taken for one subject, "
            "say how to tell them apart (--subject)."
        )
    for _ in range(count - sum(wanted.values())):
        wanted[max(SPLITS, key=lambda split: due[split] - wanted[split])] += 1
    return wanted
