"""Correcting whole volumes slice by slice, at full size: padded, never resized."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import torch
from monai.inferers import Inferer
from monai.utils import convert_to_dst_type
from tqdm import tqdm

from mocodis_monai.data.intensity import SCALE_FLOOR, foreground_mask, foreground_scale
from mocodis_monai.networks import Correction, MotionCorrector
from mocodis_monai.networks.checks import check_share
from mocodis_monai.precision import mixed_precision
from mocodis_monai.transforms.volumes import phase_encode_axis_of, spacing_mm_of

LEFT_ALONE = "left alone"
LEAST_TISSUE = 0.25
"""Tissue of a slice, as a share of the fullest one's, from which on it is judged.

Training showed slices with enough to see alone: of those with less, some are held for moved in a still head, and with
motion the correction gains nothing (python -m benchmarks.still_volumes)."""
FAIR_PIXELS = 48
"""Pixels along each side of a slice from which on it is cut in place of one across the phase-encode axis."""


class VolumeCorrection(NamedTuple):
    """A corrected volume; maps are (x, y, z) like the input, intensities in its units.

    Attributes:
        corrected: the corrected volume.
        uncertainty: distance of the result from what the codes draw and from the input, in intensity units; zero in
            slices that were not judged.
        artifact_map: negative log-likelihood of the image's own codes, in nats; zero in slices that were not judged.
        motion_score_mm: (slices,), estimated displacement score; NaN for slices with too little tissue to be judged.
        gate: (slices,), share of the correction that was applied.
        slice_axis: the axis that was cut along.
        foreground: (x, y, z), true where there is tissue in a slice that was judged.
    """

    corrected: torch.Tensor
    uncertainty: torch.Tensor
    artifact_map: torch.Tensor
    motion_score_mm: torch.Tensor
    gate: torch.Tensor
    slice_axis: int
    foreground: torch.Tensor

    @property
    def judged(self) -> torch.Tensor:
        """(slices,) bool: the slices that were judged, which have a motion score."""
        return self.motion_score_mm.isfinite()

    @property
    def median_score_mm(self) -> float:
        """Motion score of the scan: the median over the slices that were judged; NaN where there are none."""
        return float(self.motion_score_mm.nanmedian())

    @property
    def surprise_nats(self) -> float:
        """Mean negative log-likelihood of the image's own codes over the tissue; NaN where there is none."""
        return float(self.artifact_map[self.foreground].mean())

    @property
    def mean_gate(self) -> float:
        """Share of the correction that was applied, over the slices that were judged; zero where there are none."""
        return float(self.gate[self.judged].mean()) if self.judged.any() else 0.0

    @property
    def decision(self) -> str:
        """What was decided over all slices that were judged: left alone, partly corrected or corrected."""
        gate = self.gate[self.judged]
        if not (gate > 0).any():
            return LEFT_ALONE
        return "corrected" if (gate == 1).all() else "partly corrected"


def thickest_axis(spacing_mm: tuple[float, ...]) -> int:
    """The axis with the largest voxel size, the last one if they are alike."""
    largest = max(spacing_mm)
    return max(axis for axis, size in enumerate(spacing_mm) if size > 0.99 * largest)


def choose_slice_axis(
    shape: tuple[int, ...], spacing_mm: tuple[float, ...], phase_encode_axis: int | None = None
) -> int:
    """The axis to cut a volume (x, y, z) along: across a single slice, else the one with the thickest voxels.

    The phase-encode axis is left out, since ghosts run along it and a slice must hold them to be corrected, where what
    remains gives slices that the network can judge: at least :data:`FAIR_PIXELS` along each side, and pixels at most
    twice as long as wide. Of a thin stack encoded across its slices it gives strips, in which still tissue scores
    many mm: it is cut as if the axis were unknown. So is it where the axis has a single voxel, which holds no ghost.
    """
    single = [axis for axis in range(3) if shape[axis] == 1]
    others = [axis for axis in range(3) if phase_encode_axis not in (None, axis)]
    fair = [axis for axis in others if _is_fair(shape, spacing_mm, axis)]
    if not fair and phase_encode_axis is not None and not _is_fair(shape, spacing_mm, phase_encode_axis):
        # A small volume: what is no worse than a cut across the phase-encode axis is better, for it holds the ghosts.
        least = least_side(shape, phase_encode_axis)
        fair = [axis for axis in others if least_side(shape, axis) >= least]
    allowed = single or fair or [0, 1, 2]
    return allowed[thickest_axis(tuple(spacing_mm[axis] for axis in allowed))]


def least_side(shape: tuple[int, ...], cut: int) -> int:
    """Pixels along the shorter side of the slices across the axis ``cut``."""
    return int(min(size for axis, size in enumerate(shape) if axis != cut))


def _is_fair(shape: tuple[int, ...], spacing_mm: tuple[float, ...], cut: int) -> bool:
    """Whether slices across the axis ``cut`` are such as the network can judge."""
    pixel = [float(size) for axis, size in enumerate(spacing_mm) if axis != cut]
    return least_side(shape, cut) >= FAIR_PIXELS and max(pixel) < 2.01 * min(pixel)  # affines are rounded


def slices_to_judge(images: torch.Tensor, foreground: torch.Tensor) -> torch.Tensor:
    """Slices with at least :data:`LEAST_TISSUE` of the fullest one's tissue, (slices,) bool.

    Args:
        images: (slices, H, W), one is the intensity scale.
        foreground: their mask, which may reach into an empty neighbour, of the same shape.
    """
    area = (foreground & (images > SCALE_FLOOR)).flatten(1).sum(1)
    return (area > 0) & (area >= LEAST_TISSUE * area.max())


class _Slices(NamedTuple):
    """What is found of a volume slice by slice: images (slices, H, W), numbers (slices,), on the CPU."""

    corrected: torch.Tensor
    uncertainty: torch.Tensor
    artifact_map: torch.Tensor
    motion_score_mm: torch.Tensor
    gate: torch.Tensor

    def put(self, places: torch.Tensor, result: Correction, scale: float) -> None:
        """Note the result for the slices at ``places``; those that the gate leaves alone keep their bits."""
        self.uncertainty[places] = result.uncertainty.squeeze(1).float().cpu()
        self.artifact_map[places] = result.artifact_map.squeeze(1).float().cpu()
        self.motion_score_mm[places], self.gate[places] = result.motion_score_mm.cpu(), result.gate.cpu()
        changed = self.gate[places] > 0
        self.corrected[places[changed]] = scale * result.corrected.squeeze(1).float().cpu()[changed]


class VolumeCorrector:
    """Correct volumes slice by slice with one network.

    Several threads may do so with the same network: its weights stay where and how they are. To move them, or to lay
    them out anew, while another thread computes with them would spoil them for good.

    Args:
        network: the corrector, on the device that is to compute; it is put into evaluation mode, and stays there.
        slice_axis: 0, 1 or 2; None asks :func:`choose_slice_axis`.
        batch_size: slices that go through the network at once.
        fidelity: 0 decodes the codes only, 1 takes the input with its share of the residual.
        guidance: strength of the prior; None takes the network's own.
        progress: show a progress bar.

    Raises:
        ValueError: ``slice_axis`` is not 0, 1, 2 or None, ``batch_size`` is below 1, or fidelity or guidance lie
            outside 0 to 1.
    """

    def __init__(
        self,
        network: MotionCorrector,
        slice_axis: int | None = None,
        batch_size: int = 4,
        fidelity: float = 1.0,
        guidance: float | None = None,
        progress: bool = False,
    ) -> None:
        if slice_axis not in (None, 0, 1, 2):
            raise ValueError(f"slice_axis: got {slice_axis!r}; allowed are 0, 1, 2, and None to choose it. Give one.")
        if batch_size < 1:
            raise ValueError(f"batch_size: got {batch_size!r}; allowed is 1 or more. Give slices at once, such as 4.")
        check_share("fidelity", fidelity)
        check_share("guidance", 0.0 if guidance is None else guidance)
        self.network, self.device = network.eval(), next(network.parameters()).device
        self.slice_axis, self.batch_size, self.progress = slice_axis, batch_size, progress
        self.options: dict[str, Any] = {"fidelity": fidelity, "guidance": guidance}

    @torch.no_grad()
    def correct(
        self,
        data: torch.Tensor,
        spacing_mm: tuple[float, ...],
        on_progress: Callable[[int, int], None] | None = None,
        phase_encode_axis: int | None = None,
    ) -> VolumeCorrection:
        """Correct a volume, slice by slice.

        Slices of air, those with less than :data:`LEAST_TISSUE` of the fullest one's tissue, and those that the gate
        holds for still come back as they are, to the bit.

        Args:
            data: (x, y, z).
            spacing_mm: voxel size, (3,).
            on_progress: called after each batch with the number of slices done and of all there are to do; what it
                raises ends the correction.
            phase_encode_axis: axis that the ghosts run along, where it is known: see :func:`choose_slice_axis`.
        """
        axis = self.slice_axis
        if axis is None:
            axis = choose_slice_axis(tuple(data.shape), tuple(spacing_mm), phase_encode_axis)
        in_plane = [size for other, size in enumerate(spacing_mm) if other != axis]
        scale = foreground_scale(data)
        slices = data.float().movedim(axis, 0) / scale
        foreground = foreground_mask(data[None])[0].movedim(axis, 0)
        judged = slices_to_judge(slices, foreground)
        found = _Slices(
            corrected=data.float().movedim(axis, 0).clone(),
            uncertainty=torch.zeros_like(slices),
            artifact_map=torch.zeros_like(slices),
            motion_score_mm=torch.full((len(slices),), torch.nan),
            gate=torch.zeros(len(slices)),
        )
        filled, done = judged.nonzero().flatten(), 0
        with tqdm(total=len(filled), desc="correcting", unit="slice", disable=not self.progress) as bar:
            for batch in filled.split(self.batch_size) if len(filled) else ():
                found.put(batch, self._correct_slices(slices[batch], sum(in_plane) / len(in_plane)), scale)
                done += len(batch)
                bar.update(len(batch))
                if on_progress is not None:
                    on_progress(done, len(filled))
        return VolumeCorrection(
            corrected=found.corrected.movedim(0, axis).contiguous(),
            uncertainty=scale * found.uncertainty.movedim(0, axis).contiguous(),
            artifact_map=found.artifact_map.movedim(0, axis).contiguous(),
            motion_score_mm=found.motion_score_mm,
            gate=found.gate,
            slice_axis=axis,
            foreground=(foreground & judged[:, None, None]).movedim(0, axis),
        )

    def _correct_slices(self, slices: torch.Tensor, spacing_mm: float) -> Correction:
        """Slices (B, H, W) on the scale of the network through it at once; what it gives is (B, 1, H, W)."""
        moved = slices.unsqueeze(1).to(self.device, memory_format=torch.channels_last)
        with mixed_precision(self.device):
            return self.network.correct(moved, spacing_mm=spacing_mm, **self.options)


class VolumeInferer(Inferer):
    """:class:`VolumeCorrector` as a MONAI inferer: (B, 1, x, y, z) volumes with their affine -> corrected volumes.

    Args:
        options: arguments of :class:`VolumeCorrector` but the network.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.options = options

    def __call__(
        self, inputs: torch.Tensor, network: Callable[..., torch.Tensor], *args: Any, **kwargs: Any
    ) -> torch.Tensor:
        """Correct each volume of the batch, which have one geometry; ``network`` is a :class:`MotionCorrector`.

        The result is (B, 1, x, y, z) float32 on the CPU, with the metadata of the input.

        Raises:
            ValueError: ``inputs`` has another shape than (B, 1, x, y, z).
        """
        if inputs.ndim != 5 or inputs.shape[1] != 1:
            raise ValueError(
                f"inputs has shape {tuple(inputs.shape)}; wanted volumes of one channel, (B, 1, x, y, z). "
                "Give channels one by one, and a slice as (B, 1, x, y, 1)."
            )
        corrector = VolumeCorrector(cast("MotionCorrector", network), **self.options)
        spacing, phase = spacing_mm_of(inputs), phase_encode_axis_of(inputs)
        plain = torch.as_tensor(inputs).as_subclass(torch.Tensor)
        volumes = [
            corrector.correct(volume[0].cpu(), spacing, phase_encode_axis=phase).corrected for volume in plain
        ]
        return _like(inputs, torch.stack(volumes).unsqueeze(1))


class SliceInferer2D(Inferer):
    """A network on ready-made slices (B, 1, H, W) in the precision that training uses."""

    def __call__(
        self, inputs: torch.Tensor, network: Callable[..., torch.Tensor], *args: Any, **kwargs: Any
    ) -> torch.Tensor:
        """Corrected slices, float32, with the metadata of the input."""
        images = inputs.as_subclass(torch.Tensor).to(memory_format=torch.channels_last)
        with mixed_precision(images.device):
            return _like(inputs, network(images).float())


def _like(inputs: torch.Tensor, result: torch.Tensor) -> torch.Tensor:
    """``result`` where and as precise as it is, with the metadata of ``inputs`` if they have some."""
    same, *_ = convert_to_dst_type(result, inputs, dtype=result.dtype, device=result.device)
    return cast("torch.Tensor", same)
