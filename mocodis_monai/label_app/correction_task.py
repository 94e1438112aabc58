"""Correction as a MONAI Label inference task. It needs no torchvision, which MONAI Label's own bundle task imports."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from fastapi import HTTPException
from monailabel.interfaces.tasks.infer_v2 import InferType
from monailabel.tasks.infer.basic_infer import BasicInferTask

from mocodis_monai.data.nifti import write_volume
from mocodis_monai.errors import InputError
from mocodis_monai.inferers import VolumeCorrection, VolumeCorrector
from mocodis_monai.release import default_weights_path, load_corrector
from mocodis_monai.transforms.volumes import LoadVolumed, phase_encode_axis_of, source_path, spatial_array

__all__ = ["CorrectionTask", "summary"]


class CorrectionTask(BasicInferTask):
    """Corrects one scan per request.

    The result is a float32 NIfTI file with the shape, affine and intensity scale of the input, whatever data type or
    extension the client asks for: clients ask for the 8 or 16 bits of a label. The JSON holds :func:`summary` and the
    latencies that MONAI Label measures.

    Args:
        weights: a checkpoint; None takes the released weights.
    """

    def __init__(self, weights: str | None = None) -> None:
        super().__init__(
            path=str(weights or default_weights_path()),
            network=load_corrector(weights),  # unfit weights end the start of the server, not the first request
            type=InferType.OTHERS,
            labels={},
            dimension=3,
            description="Corrected image, float32, with the motion score in the JSON. Research use only.",
            model_state_dict="network",  # of a training checkpoint; a plain state dict is taken as it is
        )

    def __call__(self, request: dict[str, Any], callbacks: Any = None) -> tuple[str | None, dict[str, Any]]:
        """Path of the corrected file, and the JSON.

        Raises:
            HTTPException: 400 with the reason, if the file is not a magnitude volume that ``mocodis correct`` takes.
        """
        try:
            return super().__call__(request, callbacks)
        except InputError as error:
            raise HTTPException(status_code=400, detail=str(error)) from error

    def pre_transforms(self, data: dict[str, Any] | None = None) -> Sequence[Callable[..., Any]]:
        """Checked reading: ``image``, no mask and not corrected yet, becomes a MetaTensor ``(1, x, y, z)``."""
        return [LoadVolumed(self.input_key, scans_only=True)]

    def run_inferer(
        self, data: dict[str, Any], convert_to_batch: bool = True, device: str = "cuda"
    ) -> dict[str, Any]:
        """Add the corrected volume ``pred``, ``(1, x, y, z)`` on the CPU, and ``result`` for the JSON."""
        image = data[self.input_key]
        corrector = VolumeCorrector(self._get_network(device, None))
        spacing_mm = tuple(image.meta["spacing_mm"].tolist())
        phase = phase_encode_axis_of(image)
        correction = corrector.correct(image.as_subclass(torch.Tensor)[0], spacing_mm, phase_encode_axis=phase)
        data[self.output_label_key] = correction.corrected[None]
        data[self.output_json_key] = summary(correction)
        return data

    def post_transforms(self, data: dict[str, Any] | None = None) -> Sequence[Callable[..., Any]]:
        """None: the result is already on the grid of the input."""
        return []

    def writer(self, data: dict[Any, Any], extension: Any = None, dtype: Any = None) -> tuple[str, dict[str, Any]]:
        """Write ``pred`` to a temporary file, which MONAI Label removes after sending it; no other user can read it."""
        with tempfile.TemporaryDirectory(prefix="mocodis-") as private:
            written = Path(private, "corrected.nii.gz")
            corrected = spatial_array(data[self.output_label_key])
            write_volume(written, corrected, like=source_path(data, self.input_key))
            written.chmod(0o600)
            handle, path = tempfile.mkstemp(prefix="mocodis-", suffix=".nii.gz")
            os.close(handle)
            written.replace(path)
        return path, dict(data[self.output_json_key])


def summary(correction: VolumeCorrection) -> dict[str, Any]:
    """What the client is told beside the image; slices with too little tissue to be judged are left out.

    ``motion_score_mm`` is the median over slices (None if there are none), ``gate`` the mean share of the correction
    that was applied, ``slices_corrected`` and ``slices_left_alone`` what the gate decided, and ``slice_axis`` the axis
    of the file that was cut along.
    """
    judged, corrected = int(correction.judged.sum()), int((correction.gate > 0).sum())
    return {
        "motion_score_mm": round(correction.median_score_mm, 3) if judged else None,
        "gate": round(correction.mean_gate, 3),
        "gate_decision": correction.decision,
        "slices_corrected": corrected,
        "slices_left_alone": judged - corrected,
        "slice_axis": correction.slice_axis,
        "notice": "Research use only: not a medical device.",
    }
