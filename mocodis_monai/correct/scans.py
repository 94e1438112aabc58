"""What a scan is to the command: a NIfTI file, a DICOM file or a DICOM series in a folder; found, read and written."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np

from mocodis_monai.correct.ledger import FILE_NAME
from mocodis_monai.data.bids import SUFFIXES, folders_beside, other_suffix
from mocodis_monai.data.dicom import is_dicom, read_dicom
from mocodis_monai.data.dicom_derived import check_output_dir, is_our_dicom, is_our_series, write_derived
from mocodis_monai.data.dicom_files import dicom_files, is_dicom_name
from mocodis_monai.data.dicom_series import Series, series_of
from mocodis_monai.data.files import EXTENSIONS, MAX_BYTES, check_outputs, is_image_name, leads_nowhere, stem
from mocodis_monai.data.folders import folders_in, is_within
from mocodis_monai.data.nifti import Volume, write_volume
from mocodis_monai.data.nifti_kinds import CORRECTED_ALREADY, read_scanned
from mocodis_monai.errors import InputError, NotAScanError

__all__ = ["Image", "ScanFile", "find_scans", "read_scan"]

POSTFIX = "_corrected"


class ScanFile(NamedTuple):
    """One scan to correct and where its results go.

    Attributes:
        name: how people and ``results.jsonl`` call it: its path below the folder that was given.
        files: what it is made of, in order.
        source: the file, or the folder of the series.
        output: the corrected file, or the folder of the corrected series.
        refusal: why it is not corrected, where that shows before it is read.
    """

    name: str
    files: tuple[Path, ...]
    source: Path
    output: Path
    refusal: InputError | None = None

    @property
    def is_dicom(self) -> bool:
        """Whether it is DICOM, and so its output is a folder."""
        return not self.output.name.lower().endswith(EXTENSIONS)

    def beside(self, ending: str) -> Path:
        """The path of another result beside the output, such as ``_uncertainty.nii.gz``."""
        name = self.output.name
        return self.output.with_name((name if self.is_dicom else stem(name)) + ending)


class Image(NamedTuple):
    """The image of a scan, whatever its format.

    Attributes:
        data: float32, (x, y, z), in the intensities of the file.
        affine: (4, 4), voxel to world.
        spacing_mm: voxel size along x, y, z.
        phase_encode_axis: 0, 1 or 2 where the header says it.
        slice_axis: 0, 1 or 2 where the format says it.
        write: writes a volume like it, (path, values, decision, method): a file, or a folder for a DICOM series, whose
            header says in these words what was decided and how.
        write_map: writes a map of its grid as NIfTI, (path, values).
    """

    data: np.ndarray
    affine: np.ndarray
    spacing_mm: tuple[float, float, float]
    phase_encode_axis: int | None
    slice_axis: int | None
    write: Callable[[Path, Any, str, str], Any]
    write_map: Callable[[Path, Any], Any]


def find_scans(source: Path, output: Path) -> list[ScanFile]:
    """The scans of a file or of a folder with all its subfolders, by name; hidden files are left out.

    Linked folders count as folders, unless what they lead to is in ``source`` anyway.

    Raises:
        InputError: there is none, a folder cannot be read, ``output`` cannot hold the results, or two scans would get
            the same one.
    """
    if source.is_dir():
        if is_within(output, source):
            raise InputError(f"{output}: this lies in the folder of the inputs. Give another folder for the outputs.")
        if output.exists() and not output.is_dir():
            raise InputError(f"{output}: a file has this name. Give a folder for the outputs of a folder.")
        return _in_folder(source, output)
    if not source.is_file():  # a pipe, too: reading it would wait for ever
        raise InputError(f"{source}: no such file or folder. Check the path.")
    if is_dicom(source):
        return [_one_dicom(source, output)]
    if is_dicom_name(source.name):
        dicom_files(source)  # says what is wrong with it
    if not source.name.lower().endswith(EXTENSIONS):
        raise InputError(f"{source}: no DICOM file, and the name does not end in .nii or .nii.gz. Convert it first.")
    if not output.name.lower().endswith(EXTENSIONS):
        raise InputError(f"{output}: the name must end in {' or '.join(EXTENSIONS)}. Change the output's name.")
    check_outputs([output], [source])
    return [ScanFile(source.name, (source,), source, output)]


def read_scan(scan: ScanFile, max_bytes: int = MAX_BYTES) -> Image:
    """Read and check the image of a scan.

    Raises:
        InputError: it is no magnitude MR image that can be corrected, or is larger than ``max_bytes``; NotAScanError if
            it is sound and of another kind.
    """
    if scan.is_dicom:
        return _read_dicom(scan, max_bytes)
    volume = read_scanned(scan.source, max_bytes)
    like = volume._replace(data=np.empty(0))

    def write(path: Path, values: Any, decision: str, method: str) -> Path:
        return write_volume(path, values, like)

    def write_map(path: Path, values: Any) -> Path:
        return write_volume(path, values, like, "uncertainty")

    return Image(volume.data, volume.affine, volume.spacing_mm, volume.phase_encode_axis, None, write, write_map)


def _read_dicom(scan: ScanFile, max_bytes: int) -> Image:
    if scan.output.is_dir() and not is_our_series(scan.output):  # of an earlier run it is replaced
        check_output_dir(scan.output, scan.source)
    series = read_dicom(scan.source, scan.files, max_bytes)
    if is_our_dicom(series.frames[0].path):
        message = f"{scan.source}: MoCoDis has corrected this already. Give the series that it was made from."
        raise NotAScanError(message, CORRECTED_ALREADY)
    header = nib.Nifti1Header()
    header.set_xyzt_units("mm")
    shape = tuple(series.image.shape)
    like = Volume(np.empty(0), series.affine, series.spacing_mm, scan.source, shape, header)

    def write(path: Path, values: Any, decision: str, method: str) -> Path:
        return write_derived(series, values, path, f"MoCoDis {decision}", method)

    def write_map(path: Path, values: Any) -> Path:
        return write_volume(path, values, like, "uncertainty")

    return Image(
        series.image.numpy(),
        series.affine,
        series.spacing_mm,
        series.phase_encode_axis,
        series.slice_axis,
        write,
        write_map,
    )


def _one_dicom(source: Path, output: Path) -> ScanFile:
    """A DICOM file, or a folder that is one series and nothing else."""
    if output.name.lower().endswith(EXTENSIONS) or output.name in ("", ".."):
        raise InputError(f"{output}: DICOM is corrected to a DICOM series. Give the name of a folder to make.")
    if is_within(source, output):
        raise InputError(f"{output}: this folder holds the input. Give the output another folder.")
    if not (output.is_dir() and is_our_series(output)):
        check_output_dir(output, source)
    return ScanFile(_name(source), tuple(dicom_files(source)), source, output)


def _name(source: Path) -> str:
    """What a folder is called, ".." and "." too."""
    return Path(os.path.abspath(source)).name


def _in_folder(source: Path, output: Path) -> list[ScanFile]:
    found: list[tuple[ScanFile, Series]] = []
    folders = list(folders_in(source, output))
    for here, names in folders:
        target, has_series = output / here.relative_to(source), is_dicom(here) or any(map(is_dicom_name, names))
        for path in (here / name for name in names):
            # A series says itself what it lacks.
            if is_image_name(path) or (not has_series and _is_lost_folder(path)):
                relative = path.relative_to(source).as_posix()
                output_file = target / f"{stem(path)}{POSTFIX}.nii.gz"
                found.append((ScanFile(relative, (path,), path, output_file), Series()))
        if has_series:
            found += _series_in(here, source, output)
    beside = folders_beside(here for here, _ in folders)
    scans = [_by_place(scan, beside) for scan in _without_parts(found)]
    if not scans:
        raise InputError(f"{source}: no NIfTI (.nii, .nii.gz) and no DICOM file in this folder. Check the path.")
    is_ledger_here = (output / FILE_NAME).exists()  # of an earlier run with more scans
    if len(scans) == 1 and scans[0].source == source and not is_ledger_here:
        return [_one_dicom(source, output)]
    if output.is_dir() and is_our_series(output):
        raise InputError(f"{output}: holds the corrected series of an earlier run. Give another folder for many scans.")
    return _without_clashes(scans)


def _is_lost_folder(path: Path) -> bool:
    """A link to nothing that may have stood for a folder: a scan that fails, so that it is missed."""
    return leads_nowhere(path) and not path.suffix and not path.name.startswith(".")


def _by_place(scan: ScanFile, beside: set[Path]) -> ScanFile:
    """Refused, if the scan lies beside a BIDS tree's subjects, or its name there says that it is something else."""
    remedy = "To correct it all the same, give it by its own name."
    folder = next((folder for folder in (scan.source, *scan.source.parents) if folder in beside), None)
    if folder is not None:
        message = f"{scan.source}: lies in {folder.name} of a BIDS tree, not among its scans. {remedy}"
        return scan._replace(refusal=NotAScanError(message, f"in {folder.name}"))
    suffix = "" if scan.is_dicom else other_suffix(scan.source)
    if not suffix:
        return scan
    message = f"{scan.source}: {suffix} by its BIDS name; corrected are {', '.join(SUFFIXES)}. {remedy}"
    return scan._replace(refusal=NotAScanError(message, f"BIDS {suffix}"))


def _without_parts(found: list[tuple[ScanFile, Series]]) -> list[ScanFile]:
    """The scans; refused are series of which other slices lie in another folder."""
    of_uid: dict[str, list[tuple[ScanFile, Series]]] = {}
    for scan, series in found:
        if series.uid:
            of_uid.setdefault(series.uid, []).append((scan, series))
    scans = []
    for scan, series in found:
        other = next((other for other, another in of_uid.get(series.uid, ()) if series.is_part(another)), None)
        if other is not None:
            message = (
                f"{scan.source}: slices of one series lie here, and others of it in {other.source}. Put them together "
                "into one folder."
            )
            scan = scan._replace(refusal=InputError(message))
        scans.append(scan)
    return scans


def _series_in(folder: Path, source: Path, output: Path) -> list[tuple[ScanFile, Series]]:
    """The DICOM series whose files lie directly in a folder, each with an output folder of its own."""
    where = folder.relative_to(source).as_posix() if folder != source else _name(source)
    try:
        series = series_of(folder)
    except InputError:  # said when the scan is read, so that the others are corrected
        series = {}
    if len(series) < 2:
        only = next(iter(series.values()), Series())
        return [(ScanFile(where, only.files, folder, output / f"{where}{POSTFIX}"), only)]
    return [
        (ScanFile(f"{where}/{name}", each.files, folder, output / where / f"{name}{POSTFIX}"), each)
        for name, each in series.items()
    ]


def _without_clashes(scans: list[ScanFile]) -> list[ScanFile]:
    """Scans whose results would have one name (a.nii and a.nii.gz) keep the whole name of their file in it.

    Raises:
        InputError: two would have one name all the same, or one would lie in the folder of another.
    """
    count = Counter(scan.beside("") for scan in scans)
    named = [
        scan
        if scan.is_dicom or count[scan.beside("")] == 1
        else scan._replace(output=scan.output.with_name(f"{scan.source.name}{POSTFIX}.nii.gz"))
        for scan in scans
    ]
    series = {scan.output: scan for scan in named if scan.is_dicom}
    first: dict[Path, ScanFile] = {}
    for scan in named:
        other = first.setdefault(scan.beside(""), scan)
        if other is not scan:
            raise InputError(f"{other.source} and {scan.source} would get one name, {scan.output}. Rename one.")
        around = next((series[folder] for folder in scan.output.parents if folder in series), None)
        if around is not None:
            raise InputError(f"{scan.output} would lie in the corrected series of {around.source}. Rename a folder.")
    return named
