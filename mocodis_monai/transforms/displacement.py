"""The displacement score in pixels: what a network that sees only pixels can know."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data.utils import affine_to_spacing
from monai.transforms import MapTransform

__all__ = ["DisplacementInPixelsd"]


class DisplacementInPixelsd(MapTransform):
    """Write ``displacement_px`` for a displacement score in mm: divided by the mean pixel size of the image.

    Args:
        keys: key of the score in mm (a scalar tensor).
        image_key: the MetaTensor (C, *spatial) whose affine gives the pixel size.
    """

    def __init__(self, keys: KeysCollection, image_key: str = "image", allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.image_key = image_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Add ``displacement_px``, a float32 scalar tensor."""
        d = dict(data)
        image = d[self.image_key]
        spacing_mm = affine_to_spacing(image.affine)[: image.ndim - 1]
        for key in self.key_iterator(d):
            d["displacement_px"] = torch.as_tensor(float(d[key]) / float(spacing_mm.mean()), dtype=torch.float32)
        return d
