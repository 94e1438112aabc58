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
                    weight += 0.1 * torch.randn_like(weight) * (weight == 0)
        return network

    return fill


@pytest.fixture
def small_corrector(awaken) -> Callable[..., MotionCorrector]:
    """Makes a corrector of a few thousand weights, the same one each time, whose parts all have an effect."""

    def make(seed: int = 0, awake: bool = True, **changes) -> MotionCorrector:
        sizes = {
            "channels": (8, 8, 16),
            "fidelity_channels": (8, 12, 16),
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
        return awaken(network) if awake else network

    return make


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
