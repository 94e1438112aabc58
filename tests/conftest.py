"""What tests of several folders share: a small corrector whose parts all work, and a pair of images."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from torch import nn

from mocodis_monai.networks import MotionCorrector


class ImagePair(NamedTuple):
    """A moved and a clean image, (B, 1, H, W) each."""

    moved: torch.Tensor
    clean: torch.Tensor


@pytest.fixture
def awaken() -> Callable[[nn.Module], nn.Module]:
    """Fill the parameters that start at zero, as training would; a test of zeros proves nothing."""

    def fill(network: nn.Module) -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(1)
            with torch.no_grad():
                for weight in network.parameters():
                    weight += 0.1 * torch.randn(weight.shape) * (weight == 0)
        return network

    return fill


@pytest.fixture
def small_corrector(awaken) -> Callable[..., MotionCorrector]:
    """Makes a corrector of a few thousand weights, the same one each time, whose parts all have an effect."""

    def make(seed: int = 0, awake: bool = True, **changes) -> MotionCorrector:
        sizes = {
            "channels": (8, 8, 16),
            "fidelity_channels": (8, 8, 12, 16),
            "num_embeddings": (12, 20),  # different on each level, so that a mix-up shows
            "embedding_dim": 6,
            "fine_stages": 2,
            "num_motion_embeddings": (8, 10),
            "motion_embedding_dim": 4,
            "prior_hidden_size": 16,
            "prior_layers": 1,
        }
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            network = MotionCorrector(**{**sizes, **changes})
        return _calibrated(awaken(network)) if awake else network

    return make


def _calibrated(network: MotionCorrector) -> MotionCorrector:
    """The network after one look at images, as training would begin: as drawn, all images get one and the same code."""
    norms = [part for part in network.vqvae.modules() if hasattr(part, "running_mean")]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = None  # the average over all batches: this one
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(2)
        clean = torch.rand(2, 1, *(32,) * network.spatial_dims)
        network.train().reconstruct(clean.roll(3, dims=2).lerp(clean, 0.5), clean)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    final = network.fidelity_branch.score_head[-1]
    with torch.no_grad():
        final.weight.mul_(20)  # scores that differ from image to image, all above what opens the gate
        final.bias.add_(2)
    return network


@pytest.fixture
def image_pair() -> ImagePair:
    """Ellipses with an inner structure, and the same with a ghost along one axis: 2 images of 64 x 64."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, 64), torch.linspace(-1, 1, 64), indexing="ij")
    images = []
    for width, height in ((0.6, 0.8), (0.75, 0.5)):
        radius = (x / width) ** 2 + (y / height) ** 2
        images.append((radius < 1) * (0.6 + 0.4 * torch.cos(9 * x) * torch.cos(7 * y)))
    clean = torch.stack(images).unsqueeze(1)
    return ImagePair(moved=0.75 * clean + 0.25 * clean.roll(9, dims=2), clean=clean)
