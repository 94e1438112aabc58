"""The one intensity scale and the one foreground mask of the project.

An image is divided by ``foreground_scale`` before any network sees it, and multiplied by it afterwards.
Metrics are taken inside ``foreground_mask``.
"""

from pathlib import Path

import numpy as np
import torch
from scipy import ndimage

from mocodis_monai.errors import InputError, NotAScanError

SCALE_PERCENTILE = 99.5
SCALE_FLOOR = 0.05
MASK_THRESHOLD = 0.08
MIN_COMPONENT_FRACTION = 0.1
NEGATIVE_TOLERANCE = 0.01
"""Interpolation and filtering leave small negative values in a magnitude image; a phase image has far larger."""
WITHIN = 10.0
"""Factor from 1 within which the scale of a textured, layered or diseased image may lie, see :func:`check_scaled`."""
# Of the voxels that are not zero: in a phase image half, in a magnitude image whose brightest values ran over few.
_NEGATIVE_SHARE = 0.2
# Of the voxels of a label, how many have a neighbour of the same label: .65 to .93 in atlases at 1 and 2 mm. Of a grey
# value of heads and phantoms at most .2 at 8 bit, .5 at 5 bit, and .52 where voxels were doubled along all axes.
_SAME_NEIGHBOURS = 0.6
_MOST_LABELS = 1 << 20


def check_magnitude(path: Path, values: np.ndarray) -> None:
    """Refuse finite values of any shape that are no magnitude image.

    Raises:
        InputError: they are all the same, or some are far below zero; NotAScanError if many are, as in a phase image.
    """
    low, high = float(values.min()), float(values.max())
    if low == high:
        what = "all values are zero" if low == 0 else f"all values are {low:g}"
        raise InputError(f"{path}: {what}, so there is no image in it. Check the export.")
    if low < -NEGATIVE_TOLERANCE * max(high, 0.0):
        found = f"negative values (minimum {low:g}, maximum {high:g})"
        message = (
            f"{path}: {found}, as in a phase image. Give the magnitude; if it was interpolated or filtered, set to 0 "
            "what is below."
        )
        many = high > 0 and np.count_nonzero(values < 0) > _NEGATIVE_SHARE * np.count_nonzero(values)
        raise NotAScanError(message, "phase image") if many else InputError(message)


def check_no_labels(path: Path, values: np.ndarray) -> None:
    """Refuse a mask, and a map of labels: two values, or whole numbers that lie in even patches.

    Noise alone sees to it that grey values do not, also where there are few of them.

    Raises:
        NotAScanError: they are such.
    """
    low, high = float(values.min()), float(values.max())
    if high - low >= _MOST_LABELS or not np.array_equal(values, np.rint(values)):
        return
    labels = (values - low).astype(np.int32)
    count = np.count_nonzero(np.bincount(labels.ravel()))
    if count == 2 or all(_patchiness(labels, axis) > _SAME_NEIGHBOURS for axis in range(3) if labels.shape[axis] > 1):
        raise NotAScanError(
            f"{path}: {count} values, whole numbers in even patches: a mask or a map of labels. Give the image that it "
            "was made from.",
            "mask or labels",
        )


def _patchiness(labels: np.ndarray, axis: int) -> float:
    """Of the voxels of a value, how many follow one of the same value along the axis; the median over the values.

    Over values, not voxels: an even background, or what was clipped, is much of an image and one value.
    """
    along = np.moveaxis(labels, axis, 0)
    here, before = along[1:], along[:-1]
    voxels, alike = np.bincount(here.ravel()), np.bincount(here[here == before])
    alike = np.pad(alike, (0, len(voxels) - len(alike)))
    return float(np.median(alike[voxels > 0] / voxels[voxels > 0]))


def foreground_scale(image: torch.Tensor | np.ndarray) -> float:
    """The 99.5th percentile of the foreground of a magnitude image of any shape, in its own unit.

    The foreground is all above 5 % of the 99.5th percentile of the values above zero.

    Raises:
        ValueError: the image has no positive value, or one that is not finite.
    """
    values = _to_numpy(image).ravel()
    if not np.isfinite(values).all():
        raise ValueError(
            "image holds NaN or infinite values; a magnitude image must be finite. "
            "Replace them, for example with numpy.nan_to_num, or leave the image out."
        )
    positive = values[values > 0]
    if positive.size == 0:
        raise ValueError(
            f"image of shape {tuple(image.shape)} has no value above zero; a magnitude image needs a "
            "foreground. Check the file, or leave empty slices out."
        )
    first = np.percentile(positive, SCALE_PERCENTILE)
    return float(np.percentile(positive[positive > SCALE_FLOOR * first], SCALE_PERCENTILE))


def check_scaled(image: torch.Tensor, factor: float) -> None:
    """Refuse an image whose ``foreground_scale`` is not within a ``factor`` of 1; an empty one has none and passes.

    Raises:
        ValueError: it has another scale.
    """
    if not image.any():
        return
    scale = foreground_scale(image)
    if not 1 / factor < scale < factor:
        raise ValueError(
            f"img: its foreground reaches up to {scale:g}; allowed is {1 / factor:g} to {factor:g}. Divide it by "
            "mocodis_monai.data.intensity.foreground_scale first."
        )


def foreground_mask(image: torch.Tensor) -> torch.Tensor:
    """Solid mask of the object, bool, of the image's shape ``(channel, *spatial)``, on the image's device.

    Each channel on its own: mean over 3 pixels along each axis, threshold at 8 % of ``foreground_scale``,
    all components of at least a tenth of the largest one's size, holes filled (lungs, sinuses, bone).
    Background noise must stay under the threshold.

    Raises:
        ValueError: the image has no channel axis, no positive value, or one that is not finite.
    """
    if image.ndim not in (3, 4):
        raise ValueError(
            f"image has shape {tuple(image.shape)}; allowed are (channel, H, W) and (channel, H, W, D). "
            "Add a channel axis with image[None], or take one image of the batch."
        )
    channels = [_solid(channel) for channel in _to_numpy(image)]
    return torch.from_numpy(np.stack(channels)).to(image.device)


def _solid(channel: np.ndarray) -> np.ndarray:
    threshold = MASK_THRESHOLD * foreground_scale(channel)
    above = ndimage.uniform_filter(channel, 3, mode="nearest") > threshold
    components, count = ndimage.label(above)
    sizes = np.bincount(components.ravel(), minlength=count + 1)
    sizes[0] = 0
    kept = (sizes >= MIN_COMPONENT_FRACTION * sizes.max()) & (sizes > 0)
    return _fill_holes(kept[components])


def _fill_holes(mask: np.ndarray) -> np.ndarray:
    """Fill what cannot be reached from the border: ndimage.binary_fill_holes, much faster on volumes.

    An axis of length one has no border: a slice with such an axis is filled as the plain slice is.
    """
    flat = np.squeeze(mask)
    components, _ = ndimage.label(np.pad(~flat, 1, constant_values=True))
    outside = components == components[(0,) * flat.ndim]
    return ~outside[(slice(1, -1),) * flat.ndim].reshape(mask.shape)


def _to_numpy(image: torch.Tensor | np.ndarray) -> np.ndarray:
    if isinstance(image, torch.Tensor):
        return image.detach().as_subclass(torch.Tensor).to("cpu", torch.float32).numpy()
    return np.asarray(image, dtype=np.float32)
