"""Zero filling: many scanners interpolate the images that they store to more pixels than they measured."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection, NdarrayOrTensor
from monai.transforms import MapTransform, RandomizableTransform
from monai.utils import convert_to_dst_type, convert_to_tensor

from mocodis_monai.motion import to_image, to_kspace
from mocodis_monai.transforms.image_checks import check_floating, check_not_negative
from mocodis_monai.transforms.motion_inputs import as_range

__all__ = ["RandZeroFilld"]


class RandZeroFilld(RandomizableTransform, MapTransform):
    """Set the outer lines of k-space to zero along one spatial axis or more, as in an image stored with more pixels
    than were measured (Bernstein, Fain & Riederer 2001, J Magn Reson Imaging 14:270, doi:10.1002/jmri.1183).

    Such an image is smooth without anything having moved. A network that knows fully sampled images alone takes it for
    blurred by motion. In every second case the kept lines are weighted with a Hamming window against ringing.

    Args:
        keys: magnitude images ``(C, *spatial)``; all get the same window.
        prob: probability of zero filling.
        kept: share of the lines that is kept along an axis, or a ``(low, high)`` range.
        allow_missing_keys: leave out keys that the data does not have.

    Raises:
        ValueError: ``kept`` is the wrong way round, or reaches 0 or passes 1.
    """

    def __init__(
        self,
        keys: KeysCollection,
        prob: float = 0.5,
        kept: float | Sequence[float] = (0.45, 0.9),
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, prob)
        self.kept = as_range("kept", kept, 0, 1, above=True)
        self.shares: dict[int, float] = {}
        self.hamming = False

    def randomize(self, data: NdarrayOrTensor | None) -> None:
        """Draw whether an image ``(C, *spatial)`` is zero-filled, along which axes and how; None where there is none.

        The image is needed for its number of axes.
        """
        super().randomize(None)
        if not self._do_transform or data is None:
            return
        dims = data.ndim - 1
        axes = [axis for axis in range(dims) if self.R.rand() < 0.5] or [self.R.randint(dims)]
        self.shares = {axis: self.R.uniform(*self.kept) for axis in axes}
        self.hamming = self.R.rand() < 0.5

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Zero-fill the images of ``keys``; they keep size, type and metadata.

        Raises:
            TypeError: an image is complex, or of whole numbers.
            ValueError: an image has values below zero.
        """
        filled = dict(data)
        for key in self.key_iterator(filled):
            check_floating(key, filled[key])
            check_not_negative(key, filled[key])
        self.randomize(filled.get(self.first_key(filled)))
        if not self._do_transform:
            return filled
        for key in self.key_iterator(filled):
            filled[key] = zero_fill(filled[key], self.shares, self.hamming)
        return filled


def zero_fill(image: torch.Tensor, shares: Mapping[int, float], hamming: bool = False) -> torch.Tensor:
    """The magnitude of ``image`` without the outer lines of its k-space.

    Args:
        image: ``(C, *spatial)``, real.
        shares: share of the lines to keep by spatial axis, above 0 and up to 1.
        hamming: weight the kept lines with a Hamming window.

    Returns:
        as ``image``.
    """
    plain = convert_to_tensor(image, dtype=torch.float32, track_meta=False)
    dims = [axis - plain.ndim + 1 for axis in shares]
    kspace = to_kspace(plain, dims)
    for dim, share in zip(dims, shares.values(), strict=True):
        window = lines_window(plain.shape[dim], share, hamming).to(plain.device)
        kspace = kspace * window.reshape(-1, *(1,) * (-dim - 1))
    return convert_to_dst_type(to_image(kspace, dims).abs(), image)[0]


def lines_window(size: int, share: float, hamming: bool = False) -> torch.Tensor:
    """Weights of ``size`` centred lines, zero for those that were not measured."""
    position = (torch.arange(size) - size // 2) / (share * size)  # from -1/2 to 1/2 where measured
    weight = 0.54 + 0.46 * torch.cos(2 * torch.pi * position) if hamming else torch.ones(size)
    return torch.where(position.abs() <= 0.5, weight, 0.0)
