"""The ``mocodis`` command. Torch, MONAI and matplotlib load inside the commands: ``--help`` is quick."""
# flake8: noqa: B008

from __future__ import annotations

import io
import json
import logging
import math
import sys
from collections.abc import Iterable, Mapping
from enum import Enum
from pathlib import Path
from typing import NoReturn

import typer

from mocodis_monai import __version__
from mocodis_monai.errors import InputError, printable

__all__ = ["app", "main"]

app = typer.Typer(
    help="Retrospective motion correction of MR images. Research use only.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


manifests = typer.Typer(help="Lists of scans, split by subject, for training and evaluation.", no_args_is_help=True)
app.add_typer(manifests, name="manifest")


class Axis(str, Enum):
    """An axis of the image in a file."""

    auto, x, y, z = "auto", "0", "1", "2"

    @property
    def number(self) -> int | None:
        """0, 1 or 2; None is to be found out."""
        return None if self is Axis.auto else int(self.value)


class Device(str, Enum):
    """Where the network runs."""

    auto, cpu, cuda = "auto", "cpu", "cuda"


class Family(str, Enum):
    """Kinds of motion that can be simulated: ``mocodis_monai.motion.FAMILIES``, which loads torch."""

    sudden, drift, breathing_rigid = "sudden", "drift", "breathing_rigid"
    tremor, nod, swallow = "tremor", "nod", "swallow"
    breathing, cardiac, peristalsis = "breathing", "cardiac", "peristalsis"


class LineOrder(str, Enum):
    """Order in which the phase-encode lines are acquired: ``mocodis_monai.motion.LINE_ORDERS``."""

    linear, interleaved, centric, random = "linear", "interleaved", "centric", "random"


INTERRUPTED = 130  # exit status after Ctrl-C


def main() -> None:
    """Entry point: exit status 0 done, 1 unfit input or a failed scan, 2 wrong usage, 130 interrupted."""
    # nibabel logs what it mends in a header; what matters to the user is said in an InputError.
    logging.getLogger("nibabel.global").setLevel(logging.CRITICAL)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files that are not UTF-8
    try:
        if "" in sys.argv[1:]:  # as a path it would mean the current folder
            _fail("an argument is empty; a variable of the shell may not be set. Give a name.")
        app()
    except SystemExit as leaving:
        if leaving.code == INTERRUPTED:
            typer.echo("stopped; what is written is whole, and the same command goes on or starts again.", err=True)
        raise
    except InputError as error:
        _fail(str(error))
    except OSError as error:  # what no check foresaw: permissions on the way, a loop of links, a name too long
        _fail(f"{error.filename or 'a file'}: {error.strerror or error}. Check the path, permissions and space.")


def _fail(message: str) -> NoReturn:
    """Say it in one line and leave."""
    typer.echo(f"error: {printable(message)}", err=True)
    sys.exit(1)


def _finite(value: float | None) -> float | None:
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"got {value}; give a number.")
    return value


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mocodis {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Show the version."
    ),
) -> None:
    pass


@app.command()
def correct(
    source: Path = typer.Argument(..., metavar="IN", help="A NIfTI or DICOM file, a DICOM series, a folder of many."),
    out: Path = typer.Argument(..., metavar="OUT", help="A .nii or .nii.gz for a NIfTI file; else a folder to make."),
    picture: Path | None = typer.Option(None, help="PNG before/after/difference of one scan. Default: beside OUT."),
    no_picture: bool = typer.Option(False, "--no-picture", help="Draw no pictures."),
    report: Path | None = typer.Option(None, help="Also write an HTML page of the run."),
    uncertainty: bool = typer.Option(
        False, "--uncertainty", help="Also write the uncertainty map beside each output, in intensity units."
    ),
    fidelity: float = typer.Option(
        1.0, min=0, max=1, callback=_finite, help="0: from the codes only; 1: all detail of the input."
    ),
    guidance: float | None = typer.Option(
        None, min=0, max=1, callback=_finite, help="Weight of the prior. Default: the network's; 0 if released."
    ),
    phase_encode_axis: Axis = typer.Option(
        Axis.auto, help="Axis of the image that the ghosts run along: slices are cut along another. auto: the header's."
    ),
    slice_axis: Axis = typer.Option(
        Axis.auto, help="Axis across the slices. auto: a DICOM series' own, else that of the largest voxels."
    ),
    weights: Path | None = typer.Option(None, help="Checkpoint. Default: the one that comes with MoCoDis."),
    device: Device = typer.Option(Device.auto, help="auto: the GPU if there is one."),
    jobs: int = typer.Option(1, min=1, help="Scans at once. Each takes the memory of one."),
    max_gb: float = typer.Option(
        2.0, min=0, max=1e6, callback=_finite, help="Largest image to read, decompressed and as float32, in GB."
    ),
) -> None:
    """Correct scans slice by slice; same shape, affine and intensity scale. What is finished is not done again."""
    if slice_axis is phase_encode_axis is not Axis.auto:
        raise typer.BadParameter("the same as --slice-axis; slices must hold it", param_hint="--phase-encode-axis")
    if picture and no_picture:
        raise typer.BadParameter("not together with --no-picture", param_hint="--picture")

    from mocodis_monai.correct.correction import Settings
    from mocodis_monai.correct.run import Request, run_correction

    settings = Settings(
        fidelity=fidelity,
        guidance=guidance,
        slice_axis=slice_axis.number,
        phase_encode_axis=phase_encode_axis.number,
        uncertainty=uncertainty,
        pictures=not no_picture,
        max_bytes=int(max_gb * 1e9),
    )
    request = Request(source, out, settings, weights, device.value, jobs, picture, report)
    raise typer.Exit(run_correction(request))


@app.command()
def simulate(
    source: Path = typer.Argument(..., metavar="IN", help="NIfTI magnitude volume without motion."),
    out: Path = typer.Argument(..., metavar="OUT", help="Volume with motion to write, .nii or .nii.gz."),
    family: Family = typer.Option(..., help="Kind of motion."),
    displacement_mm: float = typer.Option(
        3.0, min=0, callback=_finite, help="Displacement score to reach, in mm; cardiac, peristalsis: tenths at most."
    ),
    phase_encode_axis: int | None = typer.Option(
        None, min=0, max=2, help="Phase-encode axis of the file. Default: the header's (dim_info), else 1."
    ),
    seed: int = typer.Option(1, min=0, max=2**32 - 1, help="The same seed gives the same motion."),
    num_shots: int | None = typer.Option(
        None, min=2, help="Shots of the acquisition. Default: 4 to 32, drawn from the seed."
    ),
    line_order: LineOrder = typer.Option(LineOrder.interleaved, help="Order of the phase-encode lines."),
    target: Path | None = typer.Option(None, help="Also write the co-registered motion-free volume."),
    trajectory_out: Path | None = typer.Option(None, help="Also write the motion as JSON."),
) -> None:
    """Put simulated motion into a clean volume, through its k-space."""
    from mocodis_monai.data.files import EXTENSIONS, check_outputs, staged
    from mocodis_monai.data.nifti import read_volume, write_volume
    from mocodis_monai.simulation import simulate_volume, with_phase_encode_axis

    outputs = {"with motion": out, "target": target, "trajectory": trajectory_out}
    paths = {name: path for name, path in outputs.items() if path is not None}
    for name, path in paths.items():
        _check_extension(path, (".json",) if name == "trajectory" else EXTENSIONS)
    check_outputs(list(paths.values()), [source])
    volume = read_volume(source)
    options = {
        "families": (family.value,),
        "displacement_mm": displacement_mm,
        "line_orders": (line_order.value,),
    }
    if num_shots is not None:
        options["num_shots"] = num_shots
    if phase_encode_axis is None:
        phase_encode_axis = 1 if volume.phase_encode_axis is None else volume.phase_encode_axis
    moved, registered, motion = simulate_volume(volume, phase_encode_axis, seed, options)
    volume = with_phase_encode_axis(volume, phase_encode_axis)
    with staged(*paths.values()) as temporaries:
        staged_at = dict(zip(paths, temporaries))
        write_volume(staged_at["with motion"], moved, like=volume, what="simulated motion")
        if "target" in paths:
            write_volume(staged_at["target"], registered, like=volume, what="simulated, without motion")
        if "trajectory" in paths:
            staged_at["trajectory"].write_text(json.dumps(motion, indent=1) + "\n")
    typer.echo(f"displacement score  {float(motion['displacement_mm']):.2f} mm")
    typer.echo(f"corrupted lines     {100 * float(motion['corrupted_line_fraction']):.0f} %")
    _echo_outputs(paths)


@app.command()
def gallery(
    out: Path = typer.Argument(..., metavar="OUT", help="Folder for the pictures; made if it is missing."),
    seed: int = typer.Option(0, min=0, max=2**32 - 1, help="The same seed gives the same motion."),
) -> None:
    """Show what the simulator does: families of motion by severity on a brain, an abdomen and a knee."""
    from mocodis_monai.data.files import make_output_dir
    from mocodis_monai.gallery import save_gallery

    for path in save_gallery(make_output_dir(out), seed, progress=True):
        typer.echo(path)


@app.command()
def export_bundle(
    folder: Path = typer.Argument(..., metavar="DIR", help="Folder to make; its zip appears beside it."),
    weights: Path | None = typer.Option(None, help="A checkpoint of your own, instead of the released one."),
) -> None:
    """Make a self-contained MONAI Model Zoo bundle: configs, weights, documents and this package."""
    from mocodis_monai.export import export_bundle as export

    made = export(folder, weights)
    typer.echo(f"{made.folder}\n{made.archive}")
    for path in made.large_files:
        typer.echo(f"{path} is above 25 MB: upload it and put its address into large_files.yml")


@app.command()
def evaluate(
    out: Path = typer.Option(..., metavar="DIR", help="Folder for report.html, table.md, summary.json, cases.csv."),
    manifest: Path | None = typer.Option(None, help="Your own scans, split test. Default: the built-in grid."),
    quick: bool = typer.Option(False, "--quick", help="Fewer subjects and severities of simulated motion."),
    weights: Path | None = typer.Option(None, help="Checkpoint. Default: the one that comes with MoCoDis."),
    device: Device = typer.Option(Device.auto, help="auto: the GPU if there is one."),
) -> None:
    """Measure the corrector on simulated motion, or on scans of your own: a table, intervals and pictures."""
    from mocodis_monai.precision import device_of
    from mocodis_monai.report.evaluation import evaluate_into

    files = evaluate_into(
        out, weights=weights, manifest=manifest, quick=quick, device=device_of(device.value), progress=True
    )
    typer.echo(files.table.read_text(encoding="utf-8"))
    _echo_outputs(files._asdict())


@manifests.command()
def build(
    folder: Path = typer.Argument(..., metavar="FOLDER", help="A flat folder of NIfTI files, or a BIDS tree."),
    out: Path = typer.Option(
        Path("manifest.json"), metavar="FILE", help="The manifest. One that is there is extended; its entries stay."
    ),
    validation: float = typer.Option(
        0.1, min=0, max=1, callback=_finite, help="Share of the subjects to watch a training on."
    ),
    test: float = typer.Option(
        0.2, min=0, max=1, callback=_finite, help="Share of the subjects to measure on; the rest trains."
    ),
    seed: int = typer.Option(0, help="Another seed gives another split."),
    subject: str | None = typer.Option(
        None, metavar="REGEX", help="Finds the subject in a file's name. Default: the name up to the first underscore."
    ),
) -> None:
    """List the scans of a folder with checksums, each subject in one split: train, validation or test."""
    from mocodis_monai.data.manifest_build import build_manifest, counted

    _check_extension(out, (".json",))
    built = build_manifest(folder, out, validation, test, seed, subject, progress=True)
    typer.echo("\n".join(counted(built)))
    typer.echo(out)


def _check_extension(path: Path, allowed: Iterable[str]) -> None:
    if not path.name.lower().endswith(tuple(allowed)):
        raise InputError(f"{path}: the name must end in {' or '.join(allowed)}. Change the output's name.")


def _echo_outputs(paths: Mapping[str, Path]) -> None:
    for name, path in paths.items():
        typer.echo(f"{name:<20}{printable(str(path))}")
    typer.echo("Research use only: not a medical device.")


if __name__ == "__main__":
    main()
