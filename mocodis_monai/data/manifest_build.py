"""``mocodis manifest build``: a manifest of the scans of a folder, split by subject."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from tqdm import tqdm

from mocodis_monai.data.bids import SUFFIXES, is_scan_name
from mocodis_monai.data.files import check_outputs, is_image_name, sha256_of, staged, stem
from mocodis_monai.data.folders import folders_in, list_volumes
from mocodis_monai.data.manifest import (
    FORMAT,
    MOVED,
    SPLITS,
    STILL,
    Manifest,
    ManifestEntry,
    check_sides,
    read_manifest,
    unpaired,
)
from mocodis_monai.data.manifest_names import alike, content_of, plain, subject_of
from mocodis_monai.data.manifest_splits import Shares, assign_splits
from mocodis_monai.data.nifti_kinds import read_scanned
from mocodis_monai.errors import InputError, NotAScanError

__all__ = ["BuiltManifest", "build_manifest", "counted"]

_MOST_NAMED = 3
_OTHER_NAMES = "by their BIDS name (no anatomical image, or no magnitude)"


class BuiltManifest(NamedTuple):
    """What :func:`build_manifest` wrote.

    Attributes:
        manifest: as it can be read again.
        num_known: subjects that the file named before, and that kept their split.
        num_away: files that it named before and that are not there now.
        left_out: how many NIfTI files of the folder are no scans, by kind.
        renamed: files that it named before, and what they are called now.
    """

    manifest: Manifest
    num_known: int
    num_away: int
    left_out: dict[str, int]
    renamed: Mapping[str, str] = MappingProxyType({})


def build_manifest(
    folder: str | Path,
    out: str | Path,
    validation: float = 0.1,
    test: float = 0.2,
    seed: int = 0,
    subject: str | None = None,
    progress: bool = False,
) -> BuiltManifest:
    """Write the manifest of a flat folder of NIfTI files, or of the ``anat`` folders of a BIDS tree.

    What ``out`` says already of a file stays, but for its sha256: a subject never changes its split. Files that are
    not there now are kept apart in ``out``, under ``away``, for when they come back, or until another file has their
    content: then that is the same scan under a new name.

    Args:
        folder: the scans; nothing in it is changed.
        out: the manifest, ``.json``; it appears whole or not at all.
        validation, test: share of the subjects in these splits; each with a share gets at least one. The rest is for
            training.
        seed: another seed gives another split.
        subject: regular expression that finds the subject in a file's name, in its first group if it has one; None
            takes the name up to the first underscore, without words such as ``moved`` and a contrast at its end, and
            leaves those that ``out`` names already as they are.
        progress: show a progress bar.

    Raises:
        InputError: the folder has no scans, too few subjects, a file that cannot be worked with, or the same content
            for two subjects; ``out`` is of another folder, says another subject of a file than ``subject`` finds, or
            cannot be written.
    """
    folder, out, shares = Path(folder), Path(out), Shares(validation, test)
    files, left_out = _find(folder)
    check_outputs([out])
    _check_names(files, out, folder)
    before = _entries_before(out, folder)
    _check_subjects(files, before, out, folder, subject)
    entries = [before.get(_relative(file, folder)) or _entry(file, folder, subject) for file in files]
    for entry in entries:
        entry["subject"] = str(entry["subject"])
    known = {str(entry["subject"]): str(entry["split"]) for entry in before.values()}
    if subject is None:  # a pattern is the user's word
        _keep_names(entries, known)
    split = partial(assign_splits, shares=shares, seed=seed, known=known, source=str(folder))
    split(entry["subject"] for entry in entries)  # what is wrong with the shares is said before the files are read
    checksums = _checksums(files, progress, left_out)
    entries = [entry | {"sha256": checksum} for entry, checksum in zip(entries, checksums) if checksum]
    renamed = _keep_renamed(entries, before)
    splits = split(entry["subject"] for entry in entries)
    for entry in entries:
        entry["split"] = splits[entry["subject"]]
    check_sides(out, [_scan_of(entry, folder) for entry in entries])
    here = {entry["path"] for entry in entries} | renamed.keys()
    away = [{**entry, "split": known[str(entry["subject"])]} for path, entry in before.items() if path not in here]
    content = {**_head(out, folder), "files": sorted(entries, key=lambda entry: entry["path"])}
    if away:
        content["away"] = sorted(away, key=lambda entry: entry["path"])
    with staged(out) as (temporary,):
        temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        try:
            read_manifest(temporary)  # what cannot be read again never takes its place
        except InputError as error:
            raise InputError(str(error).replace(str(temporary), str(out))) from error
    return BuiltManifest(read_manifest(out), len(known.keys() & splits.keys()), len(away), dict(left_out), renamed)


def counted(built: BuiltManifest) -> list[str]:
    """What was built, in lines for people to check: wrong subjects show in their numbers."""
    scans = built.manifest.scans
    lines = [f"{'split':<12}{'subjects':>8}{'still':>8}{'moved':>8}   such as"]
    for split in SPLITS:
        found = [scan for scan in scans if scan.split == split]
        subjects = sorted({scan.subject for scan in found})
        of_content = [sum(scan.content == content for scan in found) for content in (STILL, MOVED)]
        lines.append(f"{split:<12}{len(subjects):>8}{of_content[0]:>8}{of_content[1]:>8}   {' '.join(subjects[:1])}")
    lines += unpaired(scans)
    contents = {scan.content for scan in scans}
    if MOVED in contents and STILL not in contents:
        lines.append(
            f"Warning: all {len(scans)} scans are moved ones and none is still, so that none can be trained on or "
            "compared with. Where their names mislead, correct `content` in the manifest by hand."
        )
    for one, other, *_ in alike(scan.subject for scan in scans):
        lines.append(
            f"Warning: the subjects {one} and {other} look like one person, who would stand on both sides of the "
            "split. If so, remove the manifest and build it anew, with --subject where names mislead."
        )
    if built.num_known:
        lines.append(
            f"{built.num_known} subjects were in the manifest before and keep their split; shares and seed are for new "
            "ones only."
        )
    if built.renamed:
        old, new = min(built.renamed.items())
        lines.append(
            f"{len(built.renamed)} files have another name than in the manifest before, such as {old}, now {new}; they "
            "keep what it said of them."
        )
    if built.num_away:
        lines.append(f"{built.num_away} files of the manifest before are not there now; it keeps what it said of them.")
    if built.left_out:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(built.left_out.items()))
        lines.append(f"{sum(built.left_out.values())} other NIfTI files are left out: {kinds}.")
    return [line.rstrip() for line in lines]


def _find(folder: Path) -> tuple[list[Path], Counter[str]]:
    """The scans of a folder, and how many NIfTI files beside them are left out, by kind."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder. Give a folder with .nii or .nii.gz files, or a BIDS tree.")
    people = sorted(child for child in folder.glob("sub-*") if child.is_dir())
    if not people:
        return [Path(record["image"]) for record in list_volumes(folder)], Counter()
    found = [here / name for person in people for here, names in folders_in(person) for name in names]
    images = [path for path in found if is_image_name(path)]
    scans = [path for path in images if path.parent.name == "anat" and is_scan_name(path)]
    if not scans:
        raise InputError(
            f"{folder}: a BIDS tree without a scan such as sub-01/anat/sub-01_T1w.nii.gz "
            f"(read are {', '.join(SUFFIXES)}). Give another folder."
        )
    for scan in scans:
        person = scan.relative_to(folder).parts[0]
        if stem(scan).split("_")[0] != person:
            raise InputError(f"{scan}: lies in the folder of {person}, but its name says otherwise. Rename or move it.")
    return scans, +Counter({_OTHER_NAMES: len(images) - len(scans)})


def _check_names(files: Iterable[Path], out: Path, folder: Path) -> None:
    """A manifest is UTF-8, and so must be the names in it."""
    names = {folder: folder.resolve().name + _root(folder, out)}
    for path, name in (names | {file: _relative(file, folder) for file in files}).items():
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise InputError(f"{path}: this name is not UTF-8. Rename it.") from error


def _entry(file: Path, folder: Path, pattern: str | None) -> dict[str, Any]:
    """What the name of a file says of it."""
    subject, rest = subject_of(file, pattern)
    return {"subject": subject, **content_of(rest), "path": _relative(file, folder)}


def _keep_names(entries: Iterable[dict[str, Any]], known: Iterable[str]) -> None:
    """A person whom an earlier manifest calls ``p0-T1`` keeps that name in new files too."""
    earlier = {plain(name): name for name in known}
    for entry in entries:
        if entry["subject"] not in known:
            entry["subject"] = earlier.get(plain(entry["subject"]), entry["subject"])


def _keep_renamed(entries: list[dict[str, Any]], before: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Give files with the content of one that is gone what was said of it; new names by old ones.

    Further new files whose names tell the same new subject are of that person, too. An entry notes under ``was`` the
    path that told its subject, for a pattern to be held against.
    """
    told = {str(entry["subject"]) for entry in before.values()}
    now = {entry["path"]: entry["sha256"] for entry in entries}
    gone = {known.get("sha256"): known for path, known in before.items() if now.get(path) != known.get("sha256")}
    gone.pop(None, None)  # nothing is known of it
    renamed: dict[str, str] = {}
    persons: dict[str, dict[str, str]] = {}
    for entry in entries:
        old, known = gone.get(entry["sha256"]), before.get(entry["path"])
        if old is None or (known is not None and known.get("sha256", entry["sha256"]) == entry["sha256"]):
            continue
        if known is None and entry["subject"] not in told:
            persons.setdefault(entry["subject"], {})[str(old["subject"])] = old.get("was", old["path"])
        renamed.setdefault(str(old["path"]), entry["path"])
        kept = {"subject": str(old["subject"]), "was": old.get("was", old["path"])}
        entry.update({**old, **kept, "path": entry["path"], "sha256": entry["sha256"]})
    for entry in entries:
        found = persons.get(entry["subject"], {})
        if entry["path"] not in before and entry["sha256"] not in gone and len(found) == 1:
            ((entry["subject"], entry["was"]),) = found.items()
    return renamed


def _checksums(files: list[Path], progress: bool, left_out: Counter[str]) -> list[str | None]:
    """SHA-256 of each file, once it was read as training will read it; None if it is no scan, ``left_out`` by kind.

    Raises:
        InputError: a file is unfit, or all are no scans.
    """
    checksums: list[str | None] = []
    unfit, reason = [], ""
    for file in tqdm(files, desc="reading scans", unit="scan", disable=not progress):
        try:
            read_scanned(file)
            checksums.append(sha256_of([file]))
        except NotAScanError as error:
            left_out[error.kind] += 1
            checksums.append(None)
            reason = str(error)
        except (InputError, OSError) as error:
            unfit.append(str(error))
    if unfit:
        named = " | ".join(unfit[:_MOST_NAMED]) + (" | ..." if len(unfit) > _MOST_NAMED else "")
        raise InputError(f"{len(unfit)} of {len(files)} scans are unfit; mend them or move them away: {named}")
    if not any(checksums):
        raise InputError(f"none of {len(files)} files is a scan. The last one: {reason}")
    return checksums


def _entries_before(out: Path, folder: Path) -> dict[str, dict[str, Any]]:
    """The entries of a manifest that is there already, by path; refused where it is of another folder."""
    if not out.exists():
        return {}
    read_manifest(out)
    content = json.loads(out.read_text(encoding="utf-8"))
    if (out.parent / str(content.get("root") or ".")).resolve() != folder.resolve():
        raise InputError(f"{out}: the manifest of another folder. Give another name (--out), or remove it first.")
    away = content.get("away", [])
    keys = {"path", "subject"}
    if not isinstance(away, list) or not all(
        isinstance(entry, dict) and keys <= entry.keys() and entry.get("split") in SPLITS for entry in away
    ):
        raise InputError(f"{out}: `away` is no list of files. Correct it, or remove it. {FORMAT}")
    of_all = {key: content[key] for key in ("subject", "content", "session", "contrast", "split") if key in content}
    return {str(entry["path"]): {**of_all, **entry} for entry in (*away, *content["files"])}


def _check_subjects(
    files: Iterable[Path], before: Mapping[str, Mapping[str, Any]], out: Path, folder: Path, pattern: str | None
) -> None:
    """Refuse a pattern that tells a file another subject than the manifest does: there the file keeps its own."""
    for file in files if pattern is not None else ():
        entry = before.get(_relative(file, folder), {})
        told, _ = subject_of(Path(entry.get("was", file)), pattern)
        if entry and told != str(entry["subject"]):
            raise InputError(
                f"{out}: {file.name} is of subject {str(entry['subject'])!r} there, of {told!r} by --subject "
                f"{pattern!r}; a manifest keeps its subjects. Remove it, to have all splits drawn anew, or correct "
                "`subject` in it by hand and leave --subject out."
            )


def _head(out: Path, folder: Path) -> dict[str, Any]:
    """What is said of all files; what was added by hand to a manifest that is there already stays."""
    head = {"name": folder.resolve().name, "root": Path(_root(folder, out)).as_posix()}
    if out.exists():
        head |= json.loads(out.read_text(encoding="utf-8"))
    return {key: value for key, value in head.items() if key not in ("files", "away")}


def _root(folder: Path, out: Path) -> str:
    """The folder as seen from that of the manifest, links followed: ".." of a linked folder is not its parent."""
    return os.path.relpath(os.path.realpath(folder), os.path.realpath(out.parent))


def _scan_of(entry: Mapping[str, Any], folder: Path) -> ManifestEntry:
    return ManifestEntry(
        entry["subject"], entry["split"], entry["content"], folder / str(entry["path"]), sha256=entry["sha256"]
    )


def _relative(file: Path, folder: Path) -> str:
    return file.relative_to(folder).as_posix()
