"""Building blocks shared by the networks: residual convolutions, axial attention, down and up steps.

No normalisation layers stand in the convolution blocks of the VQ-VAE: codes have to keep absolute intensities. The
last convolution of such a block starts at zero instead (Fixup, Zhang, Dauphin & Ma 2019, arXiv 1901.09321), so that it
starts as the identity. The fidelity branch only adds to an image; its blocks have instance normalisation and learn
faster.
"""

from __future__ import annotations

import torch
from monai.networks.layers.factories import Conv, Norm
from torch import nn
from torch.nn import functional as F
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.instancenorm import _InstanceNorm


def convolution(spatial_dims: int, in_channels: int, out_channels: int, kernel_size: int = 3) -> _ConvNd:
    """A stride-one convolution that keeps the spatial size (odd ``kernel_size``)."""
    return Conv[Conv.CONV, spatial_dims](in_channels, out_channels, kernel_size, padding=kernel_size // 2)


def fold(spatial_dims: int, in_channels: int, out_channels: int) -> _ConvNd:
    """Halve every spatial axis: a 2 x 2 (x 2) patch becomes one site (PixelUnshuffle and 1 x 1 convolution in one)."""
    return Conv[Conv.CONV, spatial_dims](in_channels, out_channels, kernel_size=2, stride=2)


def unfold(spatial_dims: int, in_channels: int, out_channels: int) -> _ConvNd:
    """Double every spatial axis: the transpose of :func:`fold`."""
    return Conv[Conv.CONVTRANS, spatial_dims](in_channels, out_channels, kernel_size=2, stride=2)


def check_heads(channels: int, num_heads: int) -> None:
    """Refuse features that cannot be dealt out to the heads of an attention.

    Raises:
        ValueError: the channels are no multiple of the heads.
    """
    if channels % num_heads:
        raise ValueError(
            f"attention has {channels} channels and {num_heads} heads; the channels must be a multiple of the heads."
        )


def start_at_zero(layer: _ConvNd | nn.Linear) -> None:
    """Zero weight and bias, so that ``layer`` puts out nothing until it has learned to."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


class ResidualBlock(nn.Module):
    """``x + conv(relu(conv(relu(x))))`` with the second convolution starting at zero.

    Args:
        spatial_dims: 2 or 3.
        channels: channels of input and output.
    """

    def __init__(self, spatial_dims: int, channels: int) -> None:
        super().__init__()
        self.first = convolution(spatial_dims, channels, channels)
        self.second = convolution(spatial_dims, channels, channels)
        start_at_zero(self.second)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, *spatial) -> (B, C, *spatial)."""
        return x + self.second(F.relu(self.first(F.relu(x))))


class NormalisedBlock(nn.Module):
    """``x + norm(conv(leaky(norm(conv(leaky(x))))))`` with instance normalisation over space.

    Args:
        spatial_dims: 2 or 3.
        channels: channels of input and output.
    """

    slope = 0.1
    """Of the leaky rectifier, below zero."""

    def __init__(self, spatial_dims: int, channels: int) -> None:
        super().__init__()
        norm = Norm[Norm.INSTANCE, spatial_dims]
        self.first = convolution(spatial_dims, channels, channels)
        self.first_norm = norm(channels, affine=True)
        self.second = convolution(spatial_dims, channels, channels)
        self.second_norm = norm(channels, affine=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, *spatial) -> (B, C, *spatial)."""
        hidden = _normalise(self.first(F.leaky_relu(x, self.slope)), self.first_norm)
        return x + _normalise(self.second(F.leaky_relu(hidden, self.slope)), self.second_norm)


def _normalise(x: torch.Tensor, norm: _InstanceNorm) -> torch.Tensor:
    """Instance normalisation of (B, C, *spatial), in the layout of the convolutions.

    Torch's own leaves that layout. Without gradients, in float32, it is written out instead, which is faster on a CPU
    (docs/scaling.md). Torch's group normalisation with a group for each channel keeps the layout too, but takes
    variances as differences of sums: where an image is mostly air they are wrong.
    """
    if torch.is_grad_enabled() or x.dtype != torch.float32:
        return norm(x).contiguous(memory_format=torch.channels_last if x.dim() == 4 else torch.channels_last_3d)
    space = tuple(range(2, x.ndim))
    centred = x - x.mean(space, keepdim=True)
    variance = centred.square().mean(space, keepdim=True)
    scale, shift = (values.reshape(-1, *(1,) * len(space)) for values in (norm.weight, norm.bias))
    return torch.addcmul(shift, centred, scale * (variance + norm.eps).rsqrt())


class AxialAttention(nn.Module):
    """Self-attention along each spatial axis in turn (Ho et al. 2019, arXiv 1912.12180).

    Ghosts travel along the whole phase-encode axis, and a magnitude image does not tell which axis that was, so
    every site has to see its whole row and its whole column. Positions enter through a depthwise convolution, which
    holds for any image size.

    Args:
        spatial_dims: 2 or 3.
        channels: channels of input and output, a multiple of ``num_heads``.
        num_heads: attention heads.

    Raises:
        ValueError: the channels are no multiple of the heads.
    """

    def __init__(self, spatial_dims: int, channels: int, num_heads: int = 4) -> None:
        super().__init__()
        check_heads(channels, num_heads)
        self.spatial_dims, self.num_heads = spatial_dims, num_heads
        self.position = Conv[Conv.CONV, spatial_dims](channels, channels, 3, padding=1, groups=channels)
        self.norm = nn.LayerNorm(channels)
        self.qkv = nn.ModuleList(nn.Linear(channels, 3 * channels) for _ in range(spatial_dims))
        self.project = nn.Linear(spatial_dims * channels, channels)
        start_at_zero(self.project)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, *spatial) -> (B, C, *spatial)."""
        sites = self.norm((x + self.position(x)).movedim(1, -1))
        attended = [self._attend(sites, axis) for axis in range(self.spatial_dims)]
        return x + self.project(torch.cat(attended, dim=-1)).movedim(-1, 1)

    def _attend(self, sites: torch.Tensor, axis: int) -> torch.Tensor:
        """Attention of (B, *spatial, C) along one spatial axis; the other axes count as batch."""
        lines = self.qkv[axis](sites).movedim(axis + 1, -2)  # (B, others, length, 3C)
        split = lines.reshape(*lines.shape[:-1], 3, self.num_heads, -1).flatten(0, -5)  # (N, length, 3, heads, dim)
        query, key, value = split.permute(2, 0, 3, 1, 4)
        # Written out: on lines this short the fused kernel's backward pass takes five times as long on a CPU.
        weights = (query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5).softmax(dim=-1)
        out = (weights @ value).transpose(1, 2).flatten(-2)
        return out.reshape(*lines.shape[:-1], -1).movedim(-2, axis + 1)


class Modulation(nn.Module):
    """Scale and shift features by a condition of a coarser grid (FiLM, Perez et al. 2018, arXiv 1709.07871).

    Starts as the identity.

    Args:
        spatial_dims: 2 or 3.
        condition_channels: channels of the condition.
        channels: channels of the features.
    """

    def __init__(self, spatial_dims: int, condition_channels: int, channels: int) -> None:
        super().__init__()
        self.to_scale_shift = convolution(spatial_dims, condition_channels, 2 * channels, kernel_size=1)
        start_at_zero(self.to_scale_shift)

    def forward(self, x: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        """(B, C, *spatial) and (B, K, *coarser spatial) -> (B, C, *spatial)."""
        scale, shift = self.to_scale_shift(condition).chunk(2, dim=1)
        scale = F.interpolate(scale, size=x.shape[2:], mode="nearest")
        shift = F.interpolate(shift, size=x.shape[2:], mode="nearest")
        return x * (1 + scale) + shift


class GlobalBlock(nn.Sequential):
    """A residual convolution, axial attention, and a residual convolution: for the coarse grids of the VQ-VAE."""

    def __init__(self, spatial_dims: int, channels: int) -> None:
        super().__init__(
            ResidualBlock(spatial_dims, channels),
            AxialAttention(spatial_dims, channels),
            ResidualBlock(spatial_dims, channels),
        )


def moments(x: torch.Tensor) -> torch.Tensor:
    """Mean and standard deviation over space of (B, C, *spatial), one after the other: (B, 2C) float32."""
    sites = x.float().flatten(2)
    return torch.cat([sites.mean(2), (sites.var(2, correction=0) + 1e-6).sqrt()], dim=1)
