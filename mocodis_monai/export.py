"""A self-contained folder for the MONAI Model Zoo: the bundle with the package beside its ``configs/``, and its zip.

``python -m monai.bundle`` puts the folder that it is started in on the import path, so that the dotted targets of the
configs find the vendored package; MONAI Label does the same with the bundles that it loads.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import torch

from mocodis_monai.data.files import not_written, sha256_of
from mocodis_monai.errors import InputError
from mocodis_monai.release import bundle_root, load_corrector, write_checksum

__all__ = ["LARGE_FILE_BYTES", "ExportedBundle", "export_bundle"]

LARGE_FILE_BYTES = 25 * 10**6
"""Larger files are not kept in the Zoo's repository but named in ``large_files.yml``."""
OTHER_WEIGHTS = (
    "**The weights of this bundle are not those that this card tells of**: data, training and figures below are those\n"
    "of the released ones. Rewrite it, `data_license.txt` and `configs/metadata.json` before you share the bundle."
)
_PARTS = ("LICENSE", "configs", "docs", "models")
# What running leaves behind, and the bundle inside the package of a wheel: it is copied as the bundle.
_NOT_COPIED = ("__pycache__", "*.pyc", ".*", "bundle")


class ExportedBundle(NamedTuple):
    """What :func:`export_bundle` made.

    Attributes:
        folder: the bundle.
        archive: the same as a zip, ``<folder>.zip`` beside it, with the folder's name as its one top entry.
        large_files: files above :data:`LARGE_FILE_BYTES`, relative to the folder; ``large_files.yml`` waits for
            the addresses that they are uploaded to.
    """

    folder: Path
    archive: Path
    large_files: tuple[Path, ...]


def export_bundle(folder: str | Path, weights: str | Path | None = None) -> ExportedBundle:
    """Copy the bundle and the package into ``folder`` and zip it; both appear by rename, whole or not at all.

    Args:
        folder: the folder to make, named as the bundle shall be named; its parent exists.
        weights: a checkpoint of your own in the place of the released one; the model card of the export says so.

    Raises:
        InputError: the folder or the zip is already there, its parent is not, it lies inside what is copied, or the
            disk refuses; the weights are unfit.
    """
    folder = Path(folder).absolute()
    archive = folder.with_name(folder.name + ".zip")
    root, package = Path(bundle_root()), Path(__file__).resolve().parent
    _check_place(folder, archive, root, package)
    own = None if weights is None else load_corrector(weights).state_dict()
    try:
        with tempfile.TemporaryDirectory(prefix=".mocodis-", dir=folder.parent) as staging:
            made = Path(staging) / folder.name
            _copy(root, package, made)
            if own is not None:
                _exchange_weights(made, own)
            large_files = _list_large_files(made)
            zipped = shutil.make_archive(str(made), "zip", root_dir=staging, base_dir=folder.name)
            made.replace(folder)
            Path(zipped).replace(archive)
    except OSError as error:
        raise not_written(folder, error) from error
    return ExportedBundle(folder, archive, large_files)


def _check_place(folder: Path, archive: Path, root: Path, package: Path) -> None:
    if not folder.parent.is_dir():
        raise InputError(f"{folder}: the folder {folder.parent} does not exist. Make it first.")
    for path in (folder, archive):
        if path.exists():
            raise InputError(f"{path}: is already there. Remove it, or export to another name.")
    for source in (root, package):
        if folder.parent.resolve().is_relative_to(source):
            raise InputError(f"{folder}: lies inside {source}, which is to be copied. Export to another place.")


def _copy(root: Path, package: Path, target: Path) -> None:
    target.mkdir()
    ignore = shutil.ignore_patterns(*_NOT_COPIED)
    for name in _PARTS:
        source = root / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=ignore)
        else:
            shutil.copy(source, target / name)
    shutil.copytree(package, target / package.name, ignore=ignore)


def _exchange_weights(folder: Path, state: dict[str, Any]) -> None:
    """Put other weights and their checksum into an export, and say in its model card that it tells of others."""
    weights = folder / "models" / "model.pt"
    torch.save(state, weights)
    write_checksum(weights)
    card = folder / "docs" / "README.md"
    title, rest = card.read_text(encoding="utf-8").split("\n", 1)
    card.write_text(f"{title}\n\n{OTHER_WEIGHTS}\n{rest}", encoding="utf-8")


def _list_large_files(folder: Path) -> tuple[Path, ...]:
    """Write ``large_files.yml`` as the Zoo reads it; no file where there is nothing to list."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    large = tuple(path.relative_to(folder) for path in files if path.stat().st_size > LARGE_FILE_BYTES)
    lines = ["large_files:"]
    for path in large:
        digest = sha256_of([folder / path])
        lines += [f'- path: "{path.as_posix()}"', '  url: ""', f'  hash_val: "{digest}"', '  hash_type: "sha256"']
    if large:
        (folder / "large_files.yml").write_text("\n".join(lines) + "\n")
    return large
