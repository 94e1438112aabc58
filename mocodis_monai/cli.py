"""The ``mocodis`` command. Torch, MONAI and matplotlib load inside the commands: ``--help`` is quick."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Iterable, Mapping
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from mocodis_monai import __version__
from mocodis_monai.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from monai.data import MetaTensor

    from mocodis_monai.data.nifti import Volume

__all__ = ["app", "main"]

app = typer.Typer(
    help="Retrospective motion correction of MR images. Research use only.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


UNCERTAINTY_SAMPLES = 4


class SliceAxis(str, Enum):
    """Axis of the file across the slices."""

    auto, x, y, z = "auto", "0", "1", "2"


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


def main() -> None:
    """Entry point: exit status 0 done, 1 unfit input (one line on stderr), 2 wrong usage."""
    # nibabel logs what it mends in a header; what matters to the user is said in an InputError.
    logging.getLogger("nibabel.global").setLevel(logging.CRITICAL)
    try:
        app()
    except InputError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(1)


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
    source: Path = typer.Argument(..., metavar="IN", help="NIfTI magnitude volume, .nii or .nii.gz."),
    out: Path = typer.Argument(..., metavar="OUT", help="Corrected volume to write, .nii or .nii.gz."),
    picture: Path | None = typer.Option(None, help="PNG before/after/difference. Default: beside OUT."),
    no_picture: bool = typer.Option(False, "--no-picture", help="Write no picture."),
    uncertainty: Path | None = typer.Option(None, help="Also write the uncertainty map, in intensity units."),
    fidelity: float = typer.Option(
        1.0, min=0, max=1, help="0: from the codes only; 1: all detail of the input."
    ),
    guidance: float | None = typer.Option(
        None, min=0, max=1, help="Weight of the prior. Default: the network's."
    ),
    slice_axis: SliceAxis = typer.Option(
        SliceAxis.auto, help="Axis across the slices; auto: from the voxel size."
    ),
    weights: Path | None = typer.Option(None, help="Checkpoint. Default: the one that comes with MoCoDis."),
    device: Device = typer.Option(Device.auto, help="auto: the GPU if there is one."),
) -> None:
    """Correct one volume slice by slice; write it with the same shape, affine and intensity scale."""
    from mocodis_monai.data.nifti import EXTENSIONS, check_outputs, read_volume, staged, stem, write_volume

    shown = None if no_picture else picture or out.with_name(stem(out) + ".png")
    outputs = {"corrected": out, "uncertainty": uncertainty, "picture": shown}
    paths = {name: path for name, path in outputs.items() if path is not None}
    volume = read_volume(source)
    for name, path in paths.items():
        _check_extension(path, (".png",) if name == "picture" else EXTENSIONS)
    check_outputs(list(paths.values()), [source, *([weights] if weights else [])])
    start = time.monotonic()
    axis = None if slice_axis is SliceAxis.auto else int(slice_axis.value)
    options = {"fidelity": fidelity, "guidance": guidance, "num_samples": UNCERTAINTY_SAMPLES if uncertainty else 0}
    result = _run_corrector(volume, weights, device, slice_axis=axis, **options)
    with staged(*paths.values()) as temporaries:
        staged_at = dict(zip(paths, temporaries))
        write_volume(staged_at["corrected"], result.corrected, like=volume)
        if "uncertainty" in paths:
            write_volume(staged_at["uncertainty"], result.uncertainty, like=volume)
        if "picture" in paths:
            _draw(staged_at["picture"], volume, result)
    score = float(result.motion_score_mm.nanmedian())
    num_slices = int(result.motion_score_mm.isfinite().sum())
    typer.echo(f"estimated motion    {score:.2f} mm (median over {num_slices} slices)")
    typer.echo(f"time                {time.monotonic() - start:.1f} s")
    _echo_outputs(paths)


@app.command()
def simulate(
    source: Path = typer.Argument(..., metavar="IN", help="NIfTI magnitude volume without motion."),
    out: Path = typer.Argument(..., metavar="OUT", help="Volume with motion to write, .nii or .nii.gz."),
    family: Family = typer.Option(..., help="Kind of motion."),
    displacement_mm: float = typer.Option(3.0, min=0, help="Displacement score to reach, in mm."),
    phase_encode_axis: int = typer.Option(1, min=0, max=2, help="Phase-encode axis of the file."),
    seed: int = typer.Option(1, min=0, max=2**32 - 1, help="The same seed gives the same motion."),
    num_shots: int | None = typer.Option(
        None, min=2, help="Shots of the acquisition. Default: the simulator's."
    ),
    line_order: LineOrder = typer.Option(LineOrder.interleaved, help="Order of the phase-encode lines."),
    target: Path | None = typer.Option(None, help="Also write the co-registered motion-free volume."),
    trajectory_out: Path | None = typer.Option(None, help="Also write the motion as JSON."),
) -> None:
    """Put simulated motion into a clean volume, through its k-space."""
    from mocodis_monai.data.nifti import EXTENSIONS, check_outputs, read_volume, staged, write_volume

    outputs = {"with motion": out, "target": target, "trajectory": trajectory_out}
    paths = {name: path for name, path in outputs.items() if path is not None}
    volume = read_volume(source)
    for name, path in paths.items():
        _check_extension(path, (".json",) if name == "trajectory" else EXTENSIONS)
    check_outputs(list(paths.values()), [source])
    options = {
        "families": (family.value,),
        "displacement_mm": displacement_mm,
        "line_orders": (line_order.value,),
    }
    if num_shots is not None:
        options["num_shots"] = num_shots
    moved, registered, motion = _run_simulator(volume, phase_encode_axis, seed, options)
    with staged(*paths.values()) as temporaries:
        staged_at = dict(zip(paths, temporaries))
        write_volume(staged_at["with motion"], moved, like=volume)
        if "target" in paths:
            write_volume(staged_at["target"], registered, like=volume)
        if "trajectory" in paths:
            staged_at["trajectory"].write_text(json.dumps(_plain(motion), indent=1) + "\n")
    typer.echo(f"displacement score  {float(motion['displacement_mm']):.2f} mm")
    typer.echo(f"corrupted lines     {100 * float(motion['corrupted_line_fraction']):.0f} %")
    _echo_outputs(paths)


@app.command()
def gallery(
    out: Path = typer.Argument(..., metavar="OUT", help="Folder for the pictures; made if it is missing."),
    seed: int = typer.Option(0, min=0, max=2**32 - 1, help="The same seed gives the same motion."),
) -> None:
    """Show what the simulator does: families of motion by severity on a brain, an abdomen and a knee."""
    from mocodis_monai.gallery import save_gallery
    from mocodis_monai.transforms.volumes import make_output_dir

    for path in save_gallery(make_output_dir(out), seed, progress=True):
        typer.echo(path)


@app.command()
def evaluate(
    out: Path = typer.Option(..., metavar="DIR", help="Folder for report.html, summary.json and cases.csv."),
    manifest: Path | None = typer.Option(None, help="Real scans, see data_manifests. Default: the built-in grid."),
    quick: bool = typer.Option(False, "--quick", help="Fewer subjects in each cell of the grid."),
    weights: Path | None = typer.Option(None, help="Checkpoint. Default: the one that comes with MoCoDis."),
    device: Device = typer.Option(Device.auto, help="auto: the GPU if there is one."),
) -> None:
    """Measure the corrector on simulated motion, or on pairs of real scans: a table, intervals and pictures."""
    from mocodis_monai.report.evaluation import evaluate_into

    files = evaluate_into(out, weights, manifest, quick, device=_device_name(device), progress=True)
    _echo_outputs(files._asdict())


def _run_corrector(volume: Volume, weights: Path | None, device: Device, **options: Any) -> Any:
    import torch

    from mocodis_monai.inferers import VolumeCorrector
    from mocodis_monai.release import load_corrector

    where = torch.device(_device_name(device))
    corrector = VolumeCorrector(load_corrector(weights, where), device=where, progress=True, **options)
    return corrector.correct(torch.from_numpy(volume.data), volume.spacing_mm)


def _device_name(device: Device) -> str:
    import torch

    available = torch.cuda.is_available()
    if device is Device.cuda and not available:
        raise InputError("--device cuda: no CUDA GPU was found on this machine. Use --device cpu or auto.")
    return "cuda" if available and device is not Device.cpu else "cpu"


def _run_simulator(
    volume: Volume, phase_encode_axis: int, seed: int, options: Mapping[str, Any]
) -> tuple[np.ndarray, np.ndarray, Mapping[str, Any]]:
    """Moved and target volume ``(x, y, z)`` and the record of the motion; a single slice is run in 2D."""
    kept = [axis for axis in range(3) if volume.data.shape[axis] > 1]
    if len(kept) < 2 or phase_encode_axis not in kept:
        raise InputError(
            f"--phase-encode-axis {phase_encode_axis}: the volume has shape {volume.data.shape}; "
            f"it needs at least two axes longer than 1, and one of them here (one of {kept})."
        )
    import numpy as np

    from mocodis_monai.transforms import RandKSpaceMotiond

    axis = kept.index(phase_encode_axis)
    try:
        transform = RandKSpaceMotiond("image", "target", prob=1.0, phase_encode_axis=axis, **options)
        result: dict[Any, Any] = transform.set_random_state(seed=seed)(
            {"image": _simulator_image(volume, kept)}
        )
    except ValueError as error:  # options that do not fit this volume, such as more shots than lines
        raise InputError(f"{volume.path}: {error}") from error
    moved, target = (np.asarray(result[key], dtype=np.float32) for key in ("image", "target"))
    shape = volume.data.shape
    motion = dict(result["image"].meta["motion"])
    motion |= {"phase_encode_axis": phase_encode_axis, "seed": seed}  # the axis of the file, not of the slice
    if isinstance(motion.get("trajectory"), str):  # MONAI's meta holds it as text, so that it collates
        motion["trajectory"] = json.loads(motion["trajectory"])
    return moved.reshape(shape), target.reshape(shape), motion


def _simulator_image(volume: Volume, kept: list[int]) -> MetaTensor:
    """``(1, *kept axes)`` with an affine in mm, whatever the unit of the file: the motion is in mm."""
    import torch
    from monai.data import MetaTensor

    columns = [*kept, *(axis for axis in range(3) if axis not in kept), 3]
    affine = torch.as_tensor(volume.affine[:, columns])
    spacing_mm = torch.tensor([volume.spacing_mm[axis] for axis in columns[:3]], dtype=affine.dtype)
    affine[:3, :3] *= spacing_mm / affine[:3, :3].norm(dim=0)
    return MetaTensor(torch.from_numpy(volume.data.squeeze().copy())[None], affine=affine)


def _draw(path: Path, volume: Volume, result: Any) -> None:
    from mocodis_monai.report import save_comparison

    save_comparison(
        path,
        volume.data,
        result.corrected,
        volume.spacing_mm,
        affine=volume.affine,
        motion_score_mm=float(result.motion_score_mm.nanmedian()),
        title=volume.path.name,
    )


def _check_extension(path: Path, allowed: Iterable[str]) -> None:
    if not path.name.lower().endswith(tuple(allowed)):
        raise InputError(f"{path}: the name must end in {' or '.join(allowed)}. Change the output's name.")


def _echo_outputs(paths: Mapping[str, Path]) -> None:
    for name, path in paths.items():
        typer.echo(f"{name:<20}{path}")
    typer.echo("Research use only: not a medical device.")


def _plain(value: Any) -> Any:
    """Arrays and tensors to lists, so that JSON takes them."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value.tolist() if hasattr(value, "tolist") else value


if __name__ == "__main__":
    main()
