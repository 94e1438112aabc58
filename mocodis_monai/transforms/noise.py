"""Thermal noise that a moved image and its motion-free target share, so that it tells nothing of motion."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection, NdarrayOrTensor
from monai.transforms import MapTransform, RandomizableTransform
from monai.utils import convert_to_dst_type, convert_to_tensor

from mocodis_monai.motion import to_image, to_kspace
from mocodis_monai.transforms.image_checks import check_as_first, check_floating, check_not_negative
from mocodis_monai.transforms.motion_inputs import as_range
from mocodis_monai.transforms.zero_fill import lines_window

__all__ = ["RandThermalNoised"]


class RandThermalNoised(RandomizableTransform, MapTransform):
    """Take the magnitude of the images plus one draw of complex noise, the same for all keys.

    Noise does not move with the patient. A network that sees it in the moved image alone learns to smooth, and to take
    noise for motion; with the same noise in the target it learns to leave it. The magnitude is Rician (Gudbjartsson &
    Patz 1995, Magn Reson Med 34:910). In every second case the noise is smooth, as in an image that is stored with more
    pixels than were measured (see :class:`RandZeroFilld`).

    Args:
        keys: magnitude images ``(C, *spatial)`` of one shape, such as a moved image and its target.
        prob: probability of noise.
        noise_std: standard deviation of its real and imaginary part, in image units, or a ``(low, high)`` range.
        kept: share of the lines along each axis that smooth noise is made of, or a ``(low, high)`` range.
        allow_missing_keys: leave out keys that the data does not have.

    Raises:
        ValueError: a range the wrong way round; ``noise_std`` below 0; ``kept`` reaches 0 or passes 1.
    """

    def __init__(
        self,
        keys: KeysCollection,
        prob: float = 0.5,
        noise_std: float | Sequence[float] = (0.0, 0.05),
        kept: float | Sequence[float] = (0.45, 0.9),
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, prob)
        self.noise_std = as_range("noise_std", noise_std, 0)
        self.kept = as_range("kept", kept, 0, 1, above=True)
        self.noise = torch.zeros(())

    def randomize(self, data: NdarrayOrTensor | None) -> None:
        """Draw whether there is noise, and which, for an image ``(C, *spatial)``; None where there is none."""
        super().randomize(None)
        if self._do_transform and data is not None:
            self.noise = self._draw(tuple(data.shape))

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Add the noise to the images of ``keys``; they keep type and metadata.

        Raises:
            TypeError: an image is complex, or of whole numbers.
            ValueError: an image has values below zero, or another shape than the first.
        """
        noisy = dict(data)
        for key in self.key_iterator(noisy):
            check_floating(key, noisy[key])
            check_not_negative(key, noisy[key])
        self.randomize(noisy.get(self.first_key(noisy)))
        if not self._do_transform:
            return noisy
        for key in self.key_iterator(noisy):
            plain = convert_to_tensor(noisy[key], dtype=torch.float32, track_meta=False)
            check_as_first(key, "shape", plain.shape, self.noise.shape)
            noisy[key] = convert_to_dst_type((plain + self.noise.to(plain.device)).abs(), noisy[key])[0]
        return noisy

    def _draw(self, shape: tuple[int, ...]) -> torch.Tensor:
        """Complex noise, white or smooth."""
        std = self.R.uniform(*self.noise_std)
        white = self.R.standard_normal((2, *shape)).astype("float32")
        noise = torch.complex(*torch.from_numpy(white))
        if self.R.rand() < 0.5:
            dims = range(1 - len(shape), 0)
            kspace = to_kspace(noise, tuple(dims))
            for dim in dims:
                window = lines_window(shape[dim], self.R.uniform(*self.kept))
                kspace = kspace * (window / window.mean().sqrt()).reshape(-1, *(1,) * (-dim - 1))
            noise = to_image(kspace, tuple(dims))
        return std * noise
