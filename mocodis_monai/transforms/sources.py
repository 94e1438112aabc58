"""From a record to an image: phantoms, slices of volumes, and random contrast for real slices."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config.type_definitions import KeysCollection, NdarrayOrTensor
from monai.data import MetaTensor
from monai.transforms import MapTransform, RandomizableTransform, ResizeWithPadOrCrop
from monai.utils import convert_to_dst_type, convert_to_tensor
from nibabel.orientations import axcodes2ornt, inv_ornt_aff
from scipy.interpolate import PchipInterpolator

from mocodis_monai.data.files import stem
from mocodis_monai.data.intensity import check_scaled, foreground_scale
from mocodis_monai.data.phantom import make_phantom
from mocodis_monai.data.planes import MIN_FOREGROUND, random_plane
from mocodis_monai.data.slices import read_slice
from mocodis_monai.transforms.image_checks import check_floating

__all__ = ["LoadSourced", "RandContrast", "RandContrastd"]

BACKGROUND = 0.04
KNOTS = np.array([0.0, BACKGROUND, 0.2, 0.4, 0.6, 0.8, 1.0, 1.4])
CURVE_SAMPLES = 512
# The foreground scale may be off by this factor from 1, for which the knots are meant.
_WITHIN = 2.0


class LoadSourced(MapTransform):
    """Turn the sources of ``mocodis_monai.data.records`` into images, MetaTensors of shape ``(1, H, W)``.

    All kinds come as float32 magnitude with the 99.5th percentile of the foreground at 1. The affine has no origin:
    its columns point where H, W and the slice axis point in the patient (right, anterior, superior), as long as a pixel
    along H, along W, and the slice thickness (1 for a phantom), in mm.

    Args:
        keys: keys whose values are sources.
        size: rows and columns to pad with zeros or crop to, about the centre; None keeps the size.
            Pixels are never resampled.

    Raises:
        ValueError: for a kind of source that is none of "phantom", "slice" and "plane".
    """

    def __init__(
        self, keys: KeysCollection, size: Sequence[int] | None = None, allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.fit = ResizeWithPadOrCrop(size) if size is not None else None

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """A copy of ``data`` with the images of the sources."""
        loaded = dict(data)
        for key in self.key_iterator(loaded):
            image = _load(loaded[key])
            loaded[key] = image if self.fit is None else self.fit(image)
        return loaded


def _load(source: Mapping[str, Any]) -> MetaTensor:
    kind = source["kind"]
    if kind == "phantom":
        phantom = make_phantom(source["region"], source["seed"], tuple(source["size"]))
        name = f"phantom_{source['region']}_{source['seed']}"
        return _meta_tensor(phantom.image, (*phantom.spacing_mm, 1.0), phantom.orientation, name)
    if kind == "slice":
        cut = read_slice(source["path"], source["axis"], source["index"])
        magnitude = np.maximum(cut.image, 0)  # interpolation leaves small negative values
        image = torch.from_numpy(magnitude / np.float32(foreground_scale(magnitude)))[None]
        name = f"{stem(source['path'])}_axis{source['axis']}_slice{source['index']}"
        orientation = "".join(letter for axis, letter in enumerate("RAS") if axis != source["axis"])
        return _meta_tensor(image, (*cut.spacing_mm, cut.thickness_mm), orientation, name)
    if kind == "plane":
        least = source.get("min_foreground", MIN_FOREGROUND)
        plane = random_plane(source["path"], source["seed"], tuple(source["size"]), least)
        image = torch.from_numpy(plane / np.float32(foreground_scale(plane)))[None]
        # A tilted and mirrored plane has no directions of its own; a pixel counts as a millimetre.
        return _meta_tensor(image, (1.0, 1.0, 1.0), "PL", f"{stem(source['path'])}_plane{source['seed']}")
    raise ValueError(f"kind of the source is {kind!r}; allowed are 'phantom', 'slice' and 'plane'. Mend the record.")


def _meta_tensor(
    image: torch.Tensor, spacing_mm: tuple[float, float, float], orientation: str, name: str
) -> MetaTensor:
    across = next(letter for letters, letter in zip(("RL", "AP", "SI"), "RAS") if not set(letters) & set(orientation))
    directions = inv_ornt_aff(axcodes2ornt((*orientation, across)), (1, 1, 1))
    affine = torch.from_numpy(np.linalg.inv(directions))
    affine[:3, 3] = 0
    affine[:3, :3] *= torch.tensor(spacing_mm, dtype=torch.float64)
    return MetaTensor(image, affine=affine, meta={"filename_or_obj": name})


class RandContrast(RandomizableTransform):
    """Remap intensities by a random smooth curve: many contrasts from one, such as T2-like from T1.

    The curve is a shape-preserving cubic (PCHIP; Fritsch and Carlson 1980, doi:10.1137/0717021) through
    random values at 0.2, 0.4, ... 1.4 times the scale. Zero stays zero, and so nearly does all below
    4 % (background). One third of the curves rise, one third fall (inverted contrast), one third do neither.
    The result is scaled so that the 99.5th percentile of the foreground is 1 again.

    No gradient goes through it: what is remapped is cut off from what the image was computed from.

    Args:
        prob: probability of a remap.

    Shape: ``(C, *spatial)``, magnitude with foreground scale 1, in and out.
    """

    def __init__(self, prob: float = 0.5) -> None:
        RandomizableTransform.__init__(self, prob)
        self.values = KNOTS

    def randomize(self, data: Any = None) -> None:
        super().randomize(None)
        levels = self.R.uniform(0.08, 1.0, len(KNOTS) - 2)
        order = self.R.randint(3)
        if order < 2:
            levels = np.sort(levels)[:: 1 if order == 0 else -1]
        self.values = np.array([0.0, BACKGROUND / 2, *levels])

    def __call__(self, img: NdarrayOrTensor, randomize: bool = True) -> NdarrayOrTensor:
        """The image with its intensities remapped, again on the foreground scale; it keeps type and metadata.

        An empty image stays as it is, and so does every image by chance.

        Raises:
            TypeError: the image is complex, or of whole numbers.
            ValueError: the image has another scale.
        """
        check_floating("img", img)
        if randomize:
            self.randomize()
        plain = convert_to_tensor(img, dtype=torch.float32, track_meta=False).detach()
        if not self._do_transform or not plain.any():
            return img
        check_scaled(plain, _WITHIN)
        remapped = remap_intensities(plain, self.values)
        return convert_to_dst_type(remapped / foreground_scale(remapped), img)[0]


class RandContrastd(RandomizableTransform, MapTransform):
    """Dictionary version of ``RandContrast``: one curve for all keys, and no gradient through it either.

    Args:
        keys: images ``(C, *spatial)`` on the foreground scale.
        prob: probability of a new contrast.
        allow_missing_keys: leave out keys that the data does not have.
    """

    def __init__(self, keys: KeysCollection, prob: float = 0.5, allow_missing_keys: bool = False) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, prob)
        self.contrast = RandContrast(prob=1.0)
        self.contrast.set_random_state(state=self.R)

    def set_random_state(self, seed: int | None = None, state: np.random.RandomState | None = None) -> RandContrastd:
        super().set_random_state(seed, state)
        self.contrast.set_random_state(state=self.R)
        return self

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """A copy of ``data`` with the images of ``keys`` remapped.

        Raises:
            TypeError: an image is complex, or of whole numbers.
            ValueError: an image has another scale.
        """
        changed = dict(data)
        for key in self.key_iterator(changed):
            check_floating(key, changed[key])
        self.randomize(None)
        if not self._do_transform:
            return changed
        self.contrast.randomize()
        for key in self.key_iterator(changed):
            changed[key] = self.contrast(changed[key], randomize=False)
        return changed


def remap_intensities(image: torch.Tensor, values: np.ndarray) -> torch.Tensor:
    """Apply the PCHIP curve through ``values`` at ``KNOTS``, constant past the last, to a plain float32 image."""
    positions = np.linspace(KNOTS[0], KNOTS[-1], CURVE_SAMPLES)
    curve = PchipInterpolator(KNOTS, values)(positions)
    return torch.from_numpy(np.interp(image.cpu().numpy(), positions, curve).astype(np.float32)).to(image.device)
