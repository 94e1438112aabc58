"""Focal lesions put into clean images: what the motion leaves of them is no artifact, and a corrector must keep it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection, NdarrayOrTensor
from monai.transforms import MapTransform, RandomizableTransform
from monai.utils import convert_to_dst_type, convert_to_tensor
from scipy.ndimage import gaussian_filter

from mocodis_monai.data.intensity import MASK_THRESHOLD, WITHIN, check_scaled
from mocodis_monai.transforms.image_checks import check_as_first, check_floating
from mocodis_monai.transforms.motion_inputs import as_range

__all__ = ["RandLesionsd"]

_MOST = 6
# Length of the shortest axis relative to the longest, width of the edge in pixels, and how far the outline strays from
# the ellipse (standard deviation of the logarithm of the distance from the centre).
_ASPECT, _EDGE_PX, _STRAY = (0.5, 1.0), (1.0, 3.0), 0.15
_MOST_STRAY = 300.0


class RandLesionsd(RandomizableTransform, MapTransform):
    """Brighten or darken one to six small places in the tissue, ragged ellipses with a soft edge.

    A small lesion under motion looks like a piece of a ghost. A corrector that has never seen one in a clean image
    takes part of it away.

    Args:
        keys: magnitude images ``(C, *spatial)`` of one spatial shape with the 99.5th percentile of the foreground at
            1; all get the same lesions, in the tissue of the first.
        prob: probability of lesions.
        diameter_px: length of the longest axis in pixels, or a ``(low, high)`` range; small ones are as frequent as
            large ones.
        contrast: what is added or taken away in the middle, in image units, or a ``(low, high)`` range.
        allow_missing_keys: leave out keys that the data does not have.

    Raises:
        ValueError: a range the wrong way round; ``diameter_px`` reaches 0; ``contrast`` below 0.
    """

    def __init__(
        self,
        keys: KeysCollection,
        prob: float = 0.5,
        diameter_px: float | Sequence[float] = (3.0, 16.0),
        contrast: float | Sequence[float] = (0.1, 0.5),
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, prob)
        self.diameter_px = as_range("diameter_px", diameter_px, 0, above=True)
        self.contrast = as_range("contrast", contrast, 0)
        self.added = torch.zeros(())

    def randomize(self, data: NdarrayOrTensor | None) -> None:
        """Draw whether there are lesions, and what they add, for an image ``(C, *spatial)``; None where there is none.

        The image is needed for where its tissue is.
        """
        super().randomize(None)
        if self._do_transform and data is not None:
            brightest = convert_to_tensor(data, track_meta=False).detach().amax(0)
            self.added = torch.from_numpy(self._draw((brightest > MASK_THRESHOLD).cpu().numpy()))

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Put lesions into the images of ``keys``; they keep type and metadata, and what falls below zero is zero.

        Raises:
            TypeError: an image is complex, or of whole numbers.
            ValueError: an image is on another scale, or has another spatial shape than the first.
        """
        diseased = dict(data)
        for key in self.key_iterator(diseased):
            check_floating(key, diseased[key])
        self.randomize(diseased.get(self.first_key(diseased)))
        if not self._do_transform:
            return diseased
        for key in self.key_iterator(diseased):
            plain = convert_to_tensor(diseased[key], dtype=torch.float32, track_meta=False)
            check_as_first(key, "spatial shape", plain.shape[1:], self.added.shape)
            check_scaled(plain, WITHIN)
            diseased[key] = convert_to_dst_type((plain + self.added.to(plain.device)).clamp(min=0), diseased[key])[0]
        return diseased

    def _draw(self, tissue: np.ndarray) -> np.ndarray:
        """What the lesions add to an image with this ``tissue`` (*spatial, bool): (*spatial) float32."""
        places, added = np.argwhere(tissue), np.zeros(tissue.shape, np.float32)
        for _ in range(self.R.randint(1, _MOST + 1) if len(places) else 0):
            centre = places[self.R.randint(len(places))]
            depth = self.R.uniform(*self.contrast) * self.R.choice((-1, 1))
            radius_px = np.exp(self.R.uniform(*np.log(self.diameter_px))) / 2
            added += np.float32(depth) * self._lesion(tissue.shape, centre, radius_px)
        return added

    def _lesion(self, shape: tuple[int, ...], centre: np.ndarray, radius_px: float) -> np.ndarray:
        """One inside a lesion, zero outside, (*spatial) float32."""
        dims = len(shape)
        stretch = 1 / np.array([1.0, *self.R.uniform(*_ASPECT, dims - 1)])  # the first axis is the longest
        axes = np.linalg.qr(self.R.standard_normal((dims, dims)))[0] * stretch[:, None]
        offsets = np.stack(np.meshgrid(*(np.arange(n) - c for n, c in zip(shape, centre, strict=True)), indexing="ij"))
        distance_px = np.sqrt((np.tensordot(axes, offsets, 1) ** 2).sum(0))
        stray = gaussian_filter(self.R.standard_normal(shape), radius_px / 2)
        # Where nothing varies, as in a single pixel, what is divided by is tiny: held to what exp can be taken of.
        strays = (_STRAY * stray / max(stray.std(), np.finfo(float).tiny)).clip(-_MOST_STRAY, _MOST_STRAY)
        distance_px = distance_px * np.exp(strays)
        edge_px = self.R.uniform(*_EDGE_PX)
        return np.clip(0.5 + (radius_px - distance_px) / edge_px, 0, 1).astype(np.float32)
