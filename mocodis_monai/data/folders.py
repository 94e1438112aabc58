"""Folders of scans: links are followed without going round, and nothing that cannot be read is passed over."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from mocodis_monai.data.files import is_image_name, leads_nowhere, reason, stem
from mocodis_monai.errors import InputError

__all__ = ["folders_in", "is_same", "is_within", "list_volumes"]


def folders_in(source: Path, output: Path | None = None) -> Iterator[tuple[Path, list[str]]]:
    """A folder and those in it, by name, each with the sorted names of its files; hidden folders are left out.

    Linked folders are entered, each folder once: not where that would lead round in a circle, to what is in ``source``
    anyway, or into ``output``.

    Raises:
        InputError: a folder cannot be read.
    """
    root, seen = Path(os.path.realpath(source)), set[Path]()
    outside = output if output is not None and not is_within(source, output) else None

    def is_new(folder: Path) -> bool:
        target = Path(os.path.realpath(folder))
        if folder.is_symlink() and target.is_relative_to(root):
            hidden = any(part.startswith(".") for part in target.relative_to(root).parts)
            if not hidden:  # it is walked under its own name
                return False
        if target in seen or root.is_relative_to(target) or (outside is not None and is_within(target, outside)):
            return False
        seen.add(target)
        return True

    def refuse(error: OSError) -> None:
        raise InputError(f"{error.filename}: this folder cannot be read ({reason(error)}). Check its permissions.")

    for name, subfolders, names in os.walk(source, followlinks=True, onerror=refuse):
        here = Path(name)
        subfolders[:] = sorted(sub for sub in subfolders if not sub.startswith(".") and is_new(here / sub))
        yield here, sorted(names)


def is_within(path: Path, folder: Path) -> bool:
    """Whether ``path`` is ``folder`` or lies in it, links resolved."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def is_same(path: str | Path, other: str | Path) -> bool:
    """Whether two names lead to one place, which need not be there yet."""
    return os.path.realpath(path) == os.path.realpath(other)


def list_volumes(folder: str | Path, output: str | Path | None = None) -> list[dict[str, str]]:
    """The ``.nii`` and ``.nii.gz`` files of a folder, by name, as records ``{"image": path}``.

    Args:
        folder: the inputs; its subfolders are not looked into.
        output: where results will go: another folder, or the next run would take them for inputs.

    Raises:
        InputError: no such folder, no volume in it, ``output`` is the same one, or two files whose results would have
            the same name.
    """
    folder = Path(folder)
    if output is not None and is_same(output, folder):
        raise InputError(f"{folder}: inputs and outputs in one folder. Give another folder for the outputs.")
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder. Give a folder with .nii or .nii.gz files.")
    files = sorted(filter(is_image_name, folder.iterdir()))
    if nowhere := next(filter(leads_nowhere, files), None):
        raise InputError(f"{nowhere}: this link leads nowhere. Fetch what it stands for, or remove it.")
    if not files:
        raise InputError(
            f"{folder}: no .nii or .nii.gz file directly in this folder (subfolders are not looked into here). Convert "
            "DICOM with dcm2niix."
        )
    first_of: dict[str, Path] = {}
    for file in files:
        other = first_of.setdefault(stem(file), file)
        if other != file:
            raise InputError(f"{folder}: {other.name} and {file.name} would get the same output. Rename one.")
    return [{"image": str(file)} for file in files]
