"""Texture for phantoms and averaged brains: single scans have detail at all scales, which a corrector must keep."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, RandomizableTransform
from monai.utils import convert_to_dst_type, convert_to_tensor
from scipy.ndimage import gaussian_filter

from mocodis_monai.data.intensity import WITHIN, check_scaled
from mocodis_monai.transforms.image_checks import check_as_first, check_floating
from mocodis_monai.transforms.motion_inputs import as_range

__all__ = ["RandLayersd", "RandTextured"]

# Exponents of the amplitude spectrum 1 / |k|^a: nearly white to cloudy. Natural images have about 1
# (Field 1987, J Opt Soc Am A 4:2379, doi:10.1364/JOSAA.4.002379).
_EXPONENTS = (0.3, 2.0)
# What becomes of the field: grain, threads where it passes zero, patches with edges, stripes (like folia).
_SHAPES = (lambda field: field, torch.abs, lambda field: torch.tanh(4 * field), lambda field: torch.sin(5 * field))
# Layers: blur of the image in pixels, oscillations over its intensity scale, their depth and phase.
_BLUR_PX, _TURNS, _DEPTH, _PHASE = (1.0, 6.0), (2.0, 9.0), (0.1, 0.6), (0.0, 2 * np.pi)


class _Texture(NamedTuple):
    """A drawn texture: its strength, the exponent and the seed of its field, and which of ``_SHAPES`` it has."""

    strength: float = 0.0
    exponent: float = 0.0
    shape: int = 0
    seed: int = 0

    def factor(self, shape: tuple[int, ...]) -> torch.Tensor:
        """What multiplies an image of a spatial shape, ``(*shape)`` float32."""
        field = _SHAPES[self.shape](power_law_field(shape, self.exponent, np.random.RandomState(self.seed)))
        return (1 + self.strength * ((field - field.mean()) / _spread(field))).clamp(min=0)


class _Layers(NamedTuple):
    """Drawn layers: blur in pixels, oscillations over the intensity scale, their depth and phase."""

    blur_px: float = 0.0
    turns: float = 0.0
    depth: float = 0.0
    phase: float = 0.0


class RandTextured(RandomizableTransform, MapTransform):
    """Multiply images by ``1 + strength * texture``: grain, threads, patches or stripes, out of a random field.

    Phantoms are nearly flat within a tissue and ICBM152 is an average of 152 brains. A corrector trained on them alone
    takes the detail of a single scan for an artifact and paints it over.

    Args:
        keys: magnitude images ``(C, *spatial)`` of one spatial shape; all get the same texture.
        prob: probability of a texture.
        strength: standard deviation of the texture relative to the intensity, or a ``(low, high)`` range.
        allow_missing_keys: leave out keys that the data does not have.

    Raises:
        ValueError: ``strength`` is negative or the wrong way round.
    """

    def __init__(
        self,
        keys: KeysCollection,
        prob: float = 0.5,
        strength: float | Sequence[float] = (0.02, 0.3),
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, prob)
        self.strength = as_range("strength", strength, 0)
        self.texture = _Texture()

    def randomize(self, data: Any = None) -> None:
        """Draw whether there is a texture, and which."""
        super().randomize(None)
        if self._do_transform:
            strength, exponent = self.R.uniform(*self.strength), self.R.uniform(*_EXPONENTS)
            self.texture = _Texture(strength, exponent, self.R.randint(len(_SHAPES)), self.R.randint(2**31))

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Give the images of ``keys`` their texture; they keep type and metadata, and what falls below zero is zero.

        Raises:
            TypeError: an image is complex, or of whole numbers.
            ValueError: an image has another spatial shape than the first.
        """
        textured = dict(data)
        for key in self.key_iterator(textured):
            check_floating(key, textured[key])
        self.randomize()
        first = textured.get(self.first_key(textured))
        if not self._do_transform or first is None:
            return textured
        factor = self.texture.factor(tuple(first.shape[1:]))
        for key in self.key_iterator(textured):
            plain = convert_to_tensor(textured[key], dtype=torch.float32, track_meta=False)
            check_as_first(key, "spatial shape", plain.shape[1:], factor.shape)
            textured[key] = convert_to_dst_type(plain * factor.to(plain.device), textured[key])[0]
        return textured


class RandLayersd(RandomizableTransform, MapTransform):
    """Let the intensity oscillate with the blurred image, which draws thin layers along every edge.

    The layers of scalp, skull and muscle look like ringing. A corrector that has never seen such layers in a clean
    image takes them all for ghosts.

    Args:
        keys: magnitude images ``(C, *spatial)`` with the 99.5th percentile of the foreground at 1; all get the same
            layers.
        prob: probability of layers.
        allow_missing_keys: leave out keys that the data does not have.
    """

    def __init__(self, keys: KeysCollection, prob: float = 0.5, allow_missing_keys: bool = False) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, prob)
        self.layers = _Layers()

    def randomize(self, data: Any = None) -> None:
        """Draw whether there are layers, and which."""
        super().randomize(None)
        if self._do_transform:
            drawn = (self.R.uniform(*ends) for ends in (_BLUR_PX, _TURNS, _DEPTH, _PHASE))
            self.layers = _Layers(*drawn)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Give the images of ``keys`` their layers; they keep type and metadata.

        Raises:
            TypeError: an image is complex, or of whole numbers.
            ValueError: an image is on another scale.
        """
        layered = dict(data)
        for key in self.key_iterator(layered):
            check_floating(key, layered[key])
        self.randomize()
        if not self._do_transform:
            return layered
        blur_px, turns, depth, phase = self.layers
        for key in self.key_iterator(layered):
            plain = convert_to_tensor(layered[key], dtype=torch.float32, track_meta=False)
            check_scaled(plain, WITHIN)
            blurred = gaussian_filter(plain.detach().cpu().numpy(), (0, *[blur_px] * (plain.ndim - 1)))
            soft = torch.from_numpy(blurred).to(plain.device)
            layer = 1 + depth * torch.sin(2 * torch.pi * turns * soft + phase)
            layered[key] = convert_to_dst_type(plain * layer, layered[key])[0]
        return layered


def power_law_field(shape: tuple[int, ...], exponent: float, rng: np.random.RandomState) -> torch.Tensor:
    """A Gaussian random field of mean zero and variance one whose amplitude spectrum falls as ``1 / |k|^exponent``.

    That of a single pixel is zero.

    Args:
        shape: spatial shape; k is counted in cycles per pixel, so that the field looks alike on any grid.
        exponent: 0 is white noise.
        rng: the only source of randomness.

    Returns:
        ``(*shape)`` float32.
    """
    spectrum = torch.fft.fftn(torch.from_numpy(rng.standard_normal(shape)))
    squares = [torch.fft.fftfreq(size, dtype=torch.float64).square() for size in shape]
    radius = torch.stack(torch.meshgrid(*squares, indexing="ij")).sum(0).sqrt()
    mean = (0,) * len(shape)
    radius[mean], spectrum[mean] = 1, 0
    field = torch.fft.ifftn(spectrum / radius**exponent).real
    return (field / _spread(field)).float()


def _spread(values: torch.Tensor) -> torch.Tensor:
    """The standard deviation, above zero also where nothing varies, such as of a single pixel."""
    least = torch.finfo(values.dtype).tiny
    return values.std().clamp(min=least) if values.numel() > 1 else values.new_tensor(least)
