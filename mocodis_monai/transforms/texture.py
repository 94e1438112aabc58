"""Texture for phantoms and averaged brains: single scans have detail at all scales, which a corrector must keep."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, RandomizableTransform

__all__ = ["RandTextured"]

# Exponents of the amplitude spectrum 1 / |k|^a: nearly white to cloudy. Natural images have about 1
# (Field 1987, J Opt Soc Am A 4:2379, doi:10.1364/JOSAA.4.002379).
_EXPONENTS = (0.3, 2.0)
# What becomes of the field: grain, threads where it passes zero (like folia and fat septa), patches with edges.
_SHAPES = (lambda field: field, torch.abs, lambda field: torch.tanh(4 * field))


class RandTextured(RandomizableTransform, MapTransform):
    """Multiply images by ``1 + strength * texture``: grain, threads or patches out of a power-law random field.

    Phantoms are nearly flat within a tissue and ICBM152 is an average of 152 brains. A corrector trained on them alone
    takes the detail of a single scan for an artifact and paints it over.

    Args:
        keys: magnitude images ``(C, *spatial)``; all get the same texture.
        prob: probability of a texture.
        strength: ``(low, high)``, standard deviation of the texture relative to the intensity.
    """

    def __init__(
        self,
        keys: KeysCollection,
        prob: float = 0.5,
        strength: Sequence[float] = (0.02, 0.3),
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, prob)
        low, high = strength
        if not 0 <= low <= high:
            raise ValueError(f"strength: got {tuple(strength)}; allowed is (low, high) with 0 <= low <= high. Mend it.")
        self.strength = (float(low), float(high))

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Give the images of ``keys`` their texture; what would fall below zero is zero."""
        textured = dict(data)
        self.randomize(None)
        if not self._do_transform:
            return textured
        strength, exponent = self.R.uniform(*self.strength), self.R.uniform(*_EXPONENTS)
        shape, seed = _SHAPES[self.R.randint(len(_SHAPES))], self.R.randint(2**31)
        for key in self.key_iterator(textured):
            image = textured[key]
            field = shape(power_law_field(tuple(image.shape[1:]), exponent, np.random.RandomState(seed)))
            texture = ((field - field.mean()) / field.std()).to(image.device)
            textured[key] = image * (1 + strength * texture).clamp(min=0)
        return textured


def power_law_field(shape: tuple[int, ...], exponent: float, rng: np.random.RandomState) -> torch.Tensor:
    """A Gaussian random field of mean zero and variance one whose amplitude spectrum falls as ``1 / |k|^exponent``.

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
    radius[(0,) * len(shape)] = torch.inf
    field = torch.fft.ifftn(spectrum / radius**exponent).real
    return (field / field.std()).float()
