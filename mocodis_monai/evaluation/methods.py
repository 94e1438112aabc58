"""What is compared: the corrector as it is used, its variants, and anything else that turns a scan into a scan."""

from __future__ import annotations

import time
from typing import NamedTuple, Protocol

import torch
from scipy.ndimage import gaussian_filter

from mocodis_monai.errors import InputError
from mocodis_monai.evaluation.cases import Case
from mocodis_monai.inferers import VolumeCorrector
from mocodis_monai.metrics.monai_metrics import as_measured
from mocodis_monai.networks import MotionCorrector

__all__ = [
    "UNCORRECTED",
    "Blurred",
    "CorrectorMethod",
    "Method",
    "Output",
    "Uncorrected",
    "correct_with",
    "corrector_methods",
    "num_parameters_of",
]

UNCORRECTED = "uncorrected"
"""Name of the scan as it is among the methods of a table."""
BLUR_PX = 0.7
"""Standard deviation of the blur that stands beside the corrector."""


class Output(NamedTuple):
    """What a method makes of a scan.

    Attributes:
        image: ``(x, y, z)`` float32 in the units of the scan, of its shape, all values finite.
        seconds: wall time.
        score_mm: motion score that the method gives the scan; NaN if it gives none.
        surprise_nats: mean negative log-likelihood of the scan's own codes in the foreground; NaN likewise.
        uncertainty: likewise; None if the method has none.
    """

    image: torch.Tensor
    seconds: float
    score_mm: float = float("nan")
    surprise_nats: float = float("nan")
    uncertainty: torch.Tensor | None = None


class Method(Protocol):
    """A row of the table.

    A ceiling that needs the target asks for it by an attribute ``sees_target = True``.
    """

    name: str
    num_parameters: int

    def correct(self, case: Case) -> Output:
        """Correct ``case.moved``: a copy of its own, without the target."""
        ...


class Uncorrected:
    """The scan as it is: what every method is measured against."""

    name = UNCORRECTED
    num_parameters = 0

    def correct(self, case: Case) -> Output:
        """The scan itself."""
        return Output(case.moved, 0.0)


class CorrectorMethod:
    """The corrector slice by slice at full size, exactly as ``mocodis correct`` runs it.

    Args:
        name: row of the table.
        network: the corrector.
        fidelity, guidance: see :class:`mocodis_monai.inferers.VolumeCorrector`.
    """

    def __init__(
        self, name: str, network: MotionCorrector, fidelity: float = 1.0, guidance: float | None = None
    ) -> None:
        self.name, self.network, self.fidelity, self.guidance = name, network, fidelity, guidance
        self.num_parameters = num_parameters_of(network)

    def correct(self, case: Case) -> Output:
        """Correct the scan; the score is the median over the slices, the surprise the mean over the foreground."""
        corrector = VolumeCorrector(
            self.network, case.slice_axis, fidelity=self.fidelity, guidance=self.guidance
        )
        start = time.perf_counter()
        result = corrector.correct(case.moved, case.spacing_mm)
        seconds = time.perf_counter() - start
        return Output(
            image=result.corrected,
            seconds=seconds,
            score_mm=result.median_score_mm,
            surprise_nats=result.surprise_nats,
            uncertainty=result.uncertainty,
        )


class Blurred:
    """A Gaussian blur within the slices, which undoes no motion: what smoothing alone gains, and a corrector must beat.

    SSIM rewards it where there are ghosts, and in pairs of real scans, whose noise differs, without any motion too.
    """

    name = "Gaussian blur"
    num_parameters = 0

    def correct(self, case: Case) -> Output:
        """Blur the scan by :data:`BLUR_PX`."""
        start = time.perf_counter()
        sigma = [0.0 if axis == case.slice_axis else BLUR_PX for axis in range(3)]
        image = torch.from_numpy(gaussian_filter(case.moved.numpy(), sigma))
        return Output(image, time.perf_counter() - start)


def num_parameters_of(network: torch.nn.Module) -> int:
    """How many numbers the weights of ``network`` are, buffers such as codebooks left out."""
    return sum(weight.numel() for weight in network.parameters())


def correct_with(method: Method, case: Case) -> Output:
    """What ``method`` makes of ``case``, of which it gets its own copy, without the target unless it asks for it.

    Raises:
        InputError: an image of another shape, of whole numbers or with values that are not finite, which would fall out
            of the means without a word.
    """
    output = method.correct(_copy(case, with_target=getattr(method, "sees_target", False)))
    for what, image in (("image", output.image), ("uncertainty", output.uncertainty)):
        if image is None:
            continue
        if not isinstance(image, torch.Tensor):
            raise InputError(
                f"{method.name!r} on {case.name!r}: its {what} is a {type(image).__name__}; allowed is a torch tensor. "
                "Convert it with torch.as_tensor."
            )
        infinite = int((~image.isfinite()).sum())
        if image.shape != case.moved.shape or not image.is_floating_point() or infinite:
            raise InputError(
                f"{method.name!r} on {case.name!r}: its {what} has shape {tuple(image.shape)}, {image.dtype} and "
                f"{infinite} values that are not finite; allowed are finite floats of shape {tuple(case.moved.shape)}, "
                "that of the scan. Correct the method, or leave it out."
            )
    uncertainty = None if output.uncertainty is None else as_measured(output.uncertainty)
    return output._replace(image=as_measured(output.image), uncertainty=uncertainty)


def _copy(case: Case, with_target: bool) -> Case:
    """The case with images of its own: in the clean cells of the grid scan and target are one tensor."""
    target = case.target.clone() if with_target and case.target is not None else None
    return case._replace(moved=case.moved.clone(), target=target, motion=dict(case.motion))


def corrector_methods(network: MotionCorrector) -> list[Method]:
    """The corrector as its users get it, first; then without the prior, with all of it, its codes alone, and a blur.

    A variant that is the same as the first is left out.
    """
    variants: list[Method] = [CorrectorMethod("ours", network)]
    if network.guidance != 0:
        variants.append(CorrectorMethod("ours, unguided", network, guidance=0.0))
    if network.guidance != 1:
        variants.append(CorrectorMethod("ours, guided", network, guidance=1.0))
    return [*variants, CorrectorMethod("ours, codes only", network, fidelity=0.0), Blurred()]
