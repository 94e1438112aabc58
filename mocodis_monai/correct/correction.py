"""Correct one scan from file to file: read, correct, write all its results at once, and say what was found."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from mocodis_monai import __version__
from mocodis_monai.correct.scans import Image, ScanFile, read_scan
from mocodis_monai.data.dicom_derived import is_our_series
from mocodis_monai.data.files import MAX_BYTES, leads_nowhere, make_output_dir, sha256_of, staged
from mocodis_monai.data.nifti import is_our_nifti
from mocodis_monai.errors import InputError, printable
from mocodis_monai.inferers import VolumeCorrection, VolumeCorrector, choose_slice_axis, least_side
from mocodis_monai.networks import MotionCorrector
from mocodis_monai.report import is_our_picture, save_comparison

__all__ = ["ScanCorrector", "Settings", "default_picture", "is_our_result", "results_of"]

LEAST_PIXELS = 16
"""Pixels along each side of a slice below which it is not corrected."""
_DRAWING = threading.Lock()  # matplotlib is not made for several threads


class Settings(NamedTuple):
    """What is asked of a correction.

    Attributes:
        fidelity: 0 takes what the codes draw, 1 all detail of the input.
        guidance: strength of the prior; None takes the network's own.
        slice_axis: axis of the file across the slices; None lets the scan say it.
        phase_encode_axis: axis of the file that the ghosts run along; None lets the header say it, if it does.
        uncertainty: also write the uncertainty map.
        pictures: also draw before, after and difference.
        max_bytes: the most that an image may take, decompressed and as float32.
    """

    fidelity: float = 1.0
    guidance: float | None = None
    slice_axis: int | None = None
    phase_encode_axis: int | None = None
    uncertainty: bool = False
    pictures: bool = True
    max_bytes: int = MAX_BYTES


def results_of(scan: ScanFile, settings: Settings, picture: Path | None = None) -> dict[str, Path]:
    """Where each result of a scan goes: output, and as asked for uncertainty and picture."""
    paths = {"output": scan.output}
    if settings.uncertainty:
        paths["uncertainty"] = scan.beside("_uncertainty.nii.gz")
    if settings.pictures:
        paths["picture"] = picture or default_picture(scan)
    return paths


def is_our_result(path: Path) -> bool:
    """Whether what lies at the place of a result is one that MoCoDis made, by what is written in it; never raises."""
    try:
        if path.is_dir():
            return is_our_series(path)
        by_content = is_our_picture if path.suffix.lower() == ".png" else is_our_nifti
        return path.is_file() and by_content(path)
    except OSError:
        return False


class ScanCorrector:
    """Corrects scans with one network and one set of settings; several threads may use it at once.

    Args:
        network: the corrector.
        weights_sha256: of its weights, for the fingerprint.
        settings: what is asked.
        device: where to compute.

    Raises:
        ValueError: ``slice_axis`` and ``phase_encode_axis`` are the same: such slices hold no ghost to correct.
    """

    def __init__(self, network: MotionCorrector, weights_sha256: str, settings: Settings, device: torch.device) -> None:
        if settings.slice_axis is not None and settings.slice_axis == settings.phase_encode_axis:
            raise ValueError(f"slice_axis={settings.slice_axis} is the phase_encode_axis too; give another or None.")
        self.network, self.settings, self.device = network, settings, device
        self._common = {
            "version": __version__,
            "weights": weights_sha256,
            "device": device.type,
            **{name: getattr(settings, name) for name in ("fidelity", "guidance", "slice_axis", "phase_encode_axis")},
        }

    def fingerprint(self, scan: ScanFile) -> str:
        """SHA-256 of all that the results depend on: the scan's content, the weights, the settings, the version.

        Raises:
            InputError: a file of the scan cannot be read.
        """
        try:
            content = sha256_of(scan.files)
        except OSError as error:
            if nowhere := next(filter(leads_nowhere, scan.files), None):
                message = f"{nowhere}: this link leads nowhere. Fetch what it stands for, or remove it."
                raise InputError(message) from error
            raise InputError(f"{scan.source}: cannot be read ({error.strerror}). Check its permissions.") from error
        return hashlib.sha256(json.dumps({"input": content, **self._common}).encode()).hexdigest()

    def correct(
        self, scan: ScanFile, results: Mapping[str, Path], on_progress: Callable[[int, int], None] | None = None
    ) -> dict[str, Any]:
        """Write the results of one scan, all or none; what was found, ready for JSON.

        Args:
            scan: the scan.
            results: where its results go, from :func:`results_of`; folders that are missing are made.
            on_progress: called with the slices done and of all there are to do; what it raises ends the correction.

        Raises:
            InputError: the scan cannot be corrected, or the results cannot be written.
        """
        start = time.monotonic()
        image = read_scan(scan, self.settings.max_bytes)
        found = self._compute(scan, image, on_progress)
        for path in results.values():
            make_output_dir(path.parent)
        with staged(*results.values()) as temporaries:
            places = dict(zip(results, temporaries))
            image.write(places["output"], found.corrected, found.decision, self._method(found))
            if "uncertainty" in places:
                image.write_map(places["uncertainty"], found.uncertainty)
            if "picture" in places:
                _draw(places["picture"], scan, image, found)
        return {
            **_summary(found),
            "phase_encode_axis": self._phase_encode_axis(image),
            "time_s": round(time.monotonic() - start, 2),
            "device": self.device.type,
            "version": __version__,
        }

    def _compute(
        self, scan: ScanFile, image: Image, on_progress: Callable[[int, int], None] | None
    ) -> VolumeCorrection:
        axis, phase = self.settings.slice_axis, self._phase_encode_axis(image)
        if phase is not None and image.data.shape[phase] == 1:
            raise InputError(
                f"{scan.source}: phase-encode axis {phase} has a single voxel (shape {image.data.shape}). "
                "Give the axis that the ghosts run along, or leave it out."
            )
        if axis is None and image.slice_axis != phase:
            axis = image.slice_axis
        if axis is None:
            axis = choose_slice_axis(image.data.shape, image.spacing_mm, phase)
        self._check_slices(scan, image.data.shape, axis)
        corrector = VolumeCorrector(
            self.network,
            slice_axis=axis,
            fidelity=self.settings.fidelity,
            guidance=self.settings.guidance,
        )
        try:
            return corrector.correct(torch.from_numpy(image.data), image.spacing_mm, on_progress)
        except (MemoryError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and "memory" not in str(error):
                raise
            raise InputError(
                f"{scan.source}: not enough memory for shape {image.data.shape}. Use fewer jobs, or a larger machine."
            ) from error

    def _check_slices(self, scan: ScanFile, shape: tuple[int, ...], axis: int) -> None:
        """Refuse slices in which the network sees nothing: whatever they hold, it would find motion in them."""
        if least_side(shape, axis) >= LEAST_PIXELS:
            return
        asked = self.settings.phase_encode_axis
        others = [other for other in range(3) if other != asked and least_side(shape, other) >= LEAST_PIXELS]
        remedy = " or ".join(f"--slice-axis {other}" for other in others) or "a scan with larger slices"
        rows, columns = (size for other, size in enumerate(shape) if other != axis)
        raise InputError(
            f"{scan.source}: shape {shape} cut across axis {axis} gives slices of {rows} x {columns} pixels; allowed "
            f"are {LEAST_PIXELS} or more along each side. Give {remedy}."
        )

    def _method(self, found: VolumeCorrection) -> str:
        """What was done, for the header of a derived series."""
        guidance = self.network.guidance if self.settings.guidance is None else self.settings.guidance
        said = _summary(found)
        score = said["motion_score_mm"]
        motion = "no tissue" if score is None else f"estimated motion {score:.2f} mm"
        return (
            f"retrospective motion correction, slice by slice: {said['decision']} ({motion}, gate {said['gate']:.2f}), "
            f"fidelity {self.settings.fidelity:g}, guidance {guidance:g}"
        )

    def _phase_encode_axis(self, image: Image) -> int | None:
        """What the user says, else what the header says."""
        asked = self.settings.phase_encode_axis
        return image.phase_encode_axis if asked is None else asked


def default_picture(scan: ScanFile) -> Path:
    """The picture beside the output."""
    return scan.beside(".png")


def _summary(found: VolumeCorrection) -> dict[str, Any]:
    """Numbers over the slices that hold tissue; None where there is none."""
    judged = int(found.judged.sum())
    return {
        "motion_score_mm": round(found.median_score_mm, 4) if judged else None,
        "gate": round(found.mean_gate, 4),
        "decision": found.decision,
        "log_likelihood_nats": -round(found.surprise_nats, 4) if judged else None,
        "num_slices": judged,
        "slice_axis": found.slice_axis,
    }


def _draw(path: Path, scan: ScanFile, image: Image, found: VolumeCorrection) -> None:
    with _DRAWING:
        save_comparison(
            path,
            image.data,
            found.corrected,
            image.spacing_mm,
            affine=image.affine,
            motion_score_mm=found.median_score_mm,
            title=printable(Path(scan.name).name),
        )
