"""What stands beside the corrector in the table: plain networks, and gradient-entropy autofocus."""

from __future__ import annotations

import time
from typing import Any

import torch
from monai.networks.nets import BasicUNet
from monai.networks.nets.restormer import Restormer
from monai.utils.enums import CommonKeys as Keys
from torch import nn
from torch.nn import functional as F

from mocodis_monai.data.intensity import foreground_mask, foreground_scale
from mocodis_monai.engines import descend, prepare_twins
from mocodis_monai.evaluation import Case, Cell, Method, Output
from mocodis_monai.evaluation.methods import num_parameters_of
from mocodis_monai.losses import CorrectionLoss, balanced_error
from mocodis_monai.motion import to_image, to_kspace
from mocodis_monai.networks.checks import SIZE_MULTIPLE
from mocodis_monai.optimizers import groups_around
from mocodis_monai.precision import mixed_precision


class ResidualNetwork(nn.Module):
    """A network that predicts what to add to the image, of any size: padded by its edge values and cropped back.

    Our corrector adds a residual too, so the baselines are not left with the harder task of drawing the image anew.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(B, 1, H, W) -> (B, 1, H, W)."""
        missing = [-size % SIZE_MULTIPLE for size in image.shape[2:]]
        padded = F.pad(image, (0, missing[1], 0, missing[0]), mode="replicate")
        return image + self.network(padded)[..., : image.shape[2], : image.shape[3]].to(image.dtype)


def basic_unet(features: tuple[int, ...] = (32, 64, 128, 208, 320, 32)) -> ResidualNetwork:
    """MONAI's BasicUNet, three quarters as large as our corrector: 4.4 million weights against 5.9."""
    return ResidualNetwork(BasicUNet(2, 1, 1, features))


def restormer(
    dim: int = 24, num_blocks: tuple[int, ...] = (2, 2, 2, 2), num_refinement_blocks: int = 2
) -> ResidualNetwork:
    """MONAI's Restormer, narrower than in its paper: 2.6 million weights, for its steps are three times as slow."""
    heads = tuple(2**level for level in range(len(num_blocks)))
    network = Restormer(
        2, 1, 1, dim=dim, num_blocks=num_blocks, heads=heads, num_refinement_blocks=num_refinement_blocks
    )
    return ResidualNetwork(network)


OUTER_LAYERS = {BasicUNet: ("conv_0.conv_0.conv", "final_conv"), Restormer: ("patch_embed", "output")}
"""First and last layer of each network: they touch the image, and Muon leaves them to AdamW."""


def muon_groups_of(network: ResidualNetwork) -> list[dict[str, Any]]:
    """Its parameter groups for ``pytorch_optimizer.Muon``, cut as those of ours: what touches the image by AdamW.

    Raises:
        KeyError: nobody has said which layers these are.
    """
    kind = type(network.network)
    if kind not in OUTER_LAYERS:
        raise KeyError(f"{kind.__name__} is not in OUTER_LAYERS of {__name__}: name its first and last layer there.")
    return groups_around(network, map(network.network.get_submodule, OUTER_LAYERS[kind]))


class ImageLoss(nn.Module):
    """The image terms of :class:`mocodis_monai.losses.CorrectionLoss`, with its weights: the others need codes.

    Args:
        given: arguments of that loss, as the configs have them.
    """

    def __init__(self, **given: Any) -> None:
        super().__init__()
        ours = CorrectionLoss(**given)
        self.structure_weight, self.balance_floor = ours.structure_weight, ours.balance_floor
        self.structural_loss = ours.structural_loss

    def forward(self, prediction: torch.Tensor, moved: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
        """Mean absolute error of (B, 1, *spatial) images relative to what the motion did, and the structural term."""
        error = balanced_error(prediction, moved, clean, self.balance_floor)
        return error + self.structure_weight * self.structural_loss(prediction, clean)


class ImageStep:
    """One optimiser step of a plain network: ``iteration_update`` of a ``SupervisedTrainer``."""

    def __call__(self, engine: Any, batch: dict[str, Any]) -> dict[str, Any]:
        """Run the step on a batch of twins.

        Raises:
            FloatingPointError: the loss is not finite.
        """
        moved, clean, _ = prepare_twins(batch, engine.state.device)
        engine.network.train()
        with mixed_precision(engine.state.device):
            prediction = engine.network(moved)
        loss = engine.loss_function(prediction.float(), moved, clean)
        descend(engine, loss)
        images = {Keys.IMAGE: moved, Keys.LABEL: clean, Keys.PRED: prediction.detach()}
        return {Keys.LOSS: loss.detach(), **images, "terms": {"image": loss.item()}}


class NetworkMethod:
    """A plain network slice by slice at full size, on the same intensity scale as the corrector.

    Args:
        name: row of the table.
        network: (B, 1, H, W) to the same.
        batch_size: slices at once.
    """

    def __init__(self, name: str, network: nn.Module, batch_size: int = 8) -> None:
        self.name, self.network, self.batch_size = name, network.eval(), batch_size
        self.num_parameters = num_parameters_of(network)

    @torch.no_grad()
    def correct(self, case: Case) -> Output:
        """Correct the slices that hold tissue."""
        start = time.perf_counter()
        scale = foreground_scale(case.moved)
        slices = case.moved.float().movedim(case.slice_axis, 0) / scale
        result = slices.clone()
        for batch in _with_tissue(case).split(self.batch_size):
            images = slices[batch].unsqueeze(1).to(memory_format=torch.channels_last)
            with mixed_precision("cpu"):
                result[batch] = self.network(images).float().squeeze(1)
        return Output((result * scale).movedim(0, case.slice_axis), time.perf_counter() - start)


class Remembered:
    """A method that corrects the same case once, however many rows of the table ask for it in a row."""

    def __init__(self, method: Method) -> None:
        self.name, self.num_parameters, self.method = method.name, method.num_parameters, method
        self.last: tuple[tuple[Cell, str, str], Output] | None = None

    def correct(self, case: Case) -> Output:
        """What the method makes of the case."""
        named = (case.cell, case.subject, case.name)  # each row gets its own copy of the case
        if self.last is None or self.last[0] != named:
            self.last = named, self.method.correct(case)
        return self.last[1]


class ShareOfResidual:
    """Another method with another share of the residual that it predicts.

    Args:
        method: it adds the share ``added`` of its residual.
        share: how much this one adds.
        added: 1 for a plain network; ours adds less.
    """

    def __init__(self, method: Method, share: float, added: float = 1.0) -> None:
        self.name, self.num_parameters = f"{method.name}, share {share:g}", method.num_parameters
        self.method, self.times = method, share / added

    def correct(self, case: Case) -> Output:
        """A part of the way from the scan to the method's result, or beyond it."""
        output = self.method.correct(case)
        return Output(torch.lerp(case.moved.float(), output.image, self.times), output.seconds, output.score_mm)


class Autofocus:
    """Autofocus on the finished image: the shifts of its phase-encode lines whose undoing minimises gradient entropy.

    After Atkinson et al. 1997 (doi:10.1109/42.650886) and Loktyushin et al. 2013 (Magn Reson Med 70:1608), as far as a
    magnitude image allows: its spectrum has lost the phase, and the order of the lines is unknown, so contiguous bands
    of lines share an in-plane shift, and both phase-encode axes are tried. Rotation is not searched for. The image is
    left as it is where the entropy does not fall.

    Args:
        num_bands: bands of lines with a shift of their own.
        steps: steps of Adam for each phase-encode axis.
    """

    name = "autofocus"
    num_parameters = 0

    def __init__(self, num_bands: int = 32, steps: int = 60) -> None:
        self.num_bands, self.steps = num_bands, steps

    def correct(self, case: Case) -> Output:
        """Correct the slices that hold tissue."""
        start = time.perf_counter()
        slices = case.moved.float().movedim(case.slice_axis, 0)
        result = slices.clone()
        for index in _with_tissue(case).tolist():
            result[index] = self.focus(slices[index])
        return Output(result.movedim(0, case.slice_axis), time.perf_counter() - start)

    def focus(self, image: torch.Tensor) -> torch.Tensor:
        """The image (H, W), or a sharper one."""
        candidates = [image, *(self._along(image, axis) for axis in (0, 1))]
        return min(candidates, key=lambda candidate: float(gradient_entropy(candidate)))

    def _along(self, image: torch.Tensor, axis: int) -> torch.Tensor:
        spectrum = to_kspace(image, (0, 1))
        band = torch.arange(image.shape[axis]) * self.num_bands // image.shape[axis]
        shifts = torch.zeros(2, self.num_bands, requires_grad=True)
        optimizer = torch.optim.Adam([shifts], lr=0.1)
        for _ in range(self.steps):
            optimizer.zero_grad()
            gradient_entropy(_shifted(spectrum, shifts[:, band], axis)).backward()
            optimizer.step()
        with torch.no_grad():
            return _shifted(spectrum, shifts[:, band], axis)


def gradient_entropy(image: torch.Tensor) -> torch.Tensor:
    """Entropy in nats of the gradient magnitudes of (H, W), which sharp edges on flat ground make small."""
    rows, columns = image.diff(dim=0)[:, :-1], image.diff(dim=1)[:-1]
    strength = (rows.square() + columns.square() + 1e-12).sqrt()
    share = strength / strength.sum()
    return -(share * (share + 1e-12).log()).sum()


def _shifted(spectrum: torch.Tensor, shift_px: torch.Tensor, axis: int) -> torch.Tensor:
    """Magnitude of the image whose phase-encode lines are shifted by (2, lines) pixels along H and W."""
    height, width = spectrum.shape
    rows, columns = (torch.fft.fftshift(torch.fft.fftfreq(size)) for size in (height, width))
    down, right = (part.unsqueeze(1 - axis) for part in shift_px)
    angle = -2 * torch.pi * (rows[:, None] * down + columns[None] * right)
    return to_image(spectrum * torch.complex(angle.cos(), angle.sin()), (0, 1)).abs()


def _with_tissue(case: Case) -> torch.Tensor:
    """Numbers of the slices that have foreground."""
    mask = foreground_mask(case.moved[None])[0].movedim(case.slice_axis, 0)
    return mask.flatten(1).any(1).nonzero().flatten()
