"""Walk a folder of scans: links are followed without going round, and nothing that cannot be read is passed over."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from mocodis_monai.data.files import reason
from mocodis_monai.errors import InputError

__all__ = ["folders_in", "is_within"]


def folders_in(source: Path, output: Path | None = None) -> Iterator[tuple[Path, list[str]]]:
    """A folder and those in it, by name, each with the sorted names of its files; hidden folders are left out.

    A linked folder is entered once, and not where that would lead round in a circle, to what is in ``source`` anyway,
    or into ``output``.

    Raises:
        InputError: a folder cannot be read.
    """
    linked: set[str] = set()

    def is_new(folder: Path) -> bool:
        if not folder.is_symlink():
            return True
        target = os.path.realpath(folder)
        if target in linked or is_within(folder, source) or is_within(source, folder):
            return False
        linked.add(target)
        return output is None or not is_within(folder, output)

    def refuse(error: OSError) -> None:
        raise InputError(f"{error.filename}: this folder cannot be read ({reason(error)}). Check its permissions.")

    for name, subfolders, names in os.walk(source, followlinks=True, onerror=refuse):
        here = Path(name)
        subfolders[:] = sorted(sub for sub in subfolders if not sub.startswith(".") and is_new(here / sub))
        yield here, sorted(names)


def is_within(path: Path, folder: Path) -> bool:
    """Whether ``path`` is ``folder`` or lies in it, links resolved."""
    real, target = Path(os.path.realpath(path)), Path(os.path.realpath(folder))
    return target in (real, *real.parents)
