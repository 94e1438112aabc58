"""What the transforms ask of the values and the shape of their images."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import torch
from monai.config.type_definitions import NdarrayOrTensor
from monai.data.meta_tensor import MetaTensor
from monai.utils.type_conversion import convert_to_tensor
from torch import Tensor

from mocodis_monai.data.intensity import NEGATIVE_TOLERANCE

# What has no imaginary part to lose, and does not round what is put into it to whole numbers.
_FLOATING = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
# What interpolation leaves below zero of an almost empty crop.
_RINGING = 1e-6


def check_simulatable(img: Tensor, spatial_dims: int, phase_encode_axes: Sequence[int]) -> None:
    """Raise unless the image is a magnitude, ``(C, H, W)`` or ``(C, H, W, D)``, float32 or float64, finite, of more
    than one voxel along each axis, with the phase-encode axes and no transform pending.
    """
    if isinstance(img, MetaTensor) and img.pending_operations:
        raise ValueError(
            f"img: got {len(img.pending_operations)} lazy transforms that are still to be applied; motion needs the "
            "image itself. Put ApplyPending before it; Compose(..., lazy=True) does so by itself."
        )
    check_floating("img", img, (torch.float32, torch.float64))
    if img.ndim != spatial_dims + 1 or spatial_dims not in (2, 3):
        raise ValueError(
            f"img: got shape {tuple(img.shape)}; allowed is (C, H, W) with a 2D trajectory and (C, H, W, D) "
            "with a 3D one. Add a channel with EnsureChannelFirst, or choose the other trajectory."
        )
    if 1 in img.shape[1:]:
        raise ValueError(
            f"img: got shape {tuple(img.shape)}; allowed are axes longer than 1, since a slice moves in its plane. "
            f"Drop the axis with SqueezeDim(dim={img.shape[1:].index(1) + 1}), and give spacing_mm and orientation."
        )
    absent = [axis for axis in phase_encode_axes if not 0 <= axis < spatial_dims]
    if absent:
        raise ValueError(
            f"phase_encode_axis: got {absent[0]} for an image of shape {tuple(img.shape)}; allowed is 0 to "
            f"{spatial_dims - 1}. Count the spatial axes from 0, without the channel."
        )
    if not bool(torch.isfinite(img).all()):
        raise ValueError(
            "img: got NaN or infinite values; allowed are finite ones. Mend the image before the transform."
        )
    check_not_negative("img", img)


def check_floating(name: Hashable, img: NdarrayOrTensor, allowed: Sequence[torch.dtype] = _FLOATING) -> None:
    """Refuse an image whose dtype could not hold the result: complex, integer or boolean.

    Args:
        name: of the argument or the key, for the error.
        img: array or tensor.
        allowed: the dtypes.

    Raises:
        TypeError: it has another dtype.
    """
    dtype = convert_to_tensor(img, track_meta=False).dtype
    if dtype not in allowed:
        *names, last = (str(one).removeprefix("torch.") for one in allowed)
        raise TypeError(
            f"{name}: got dtype {dtype}; allowed is a real magnitude image of {', '.join(names)} or {last}. Convert "
            "others with monai.transforms.EnsureType(dtype=torch.float32), and take the modulus of complex images."
        )


def check_not_negative(name: Hashable, img: NdarrayOrTensor) -> None:
    """Raise ValueError for an image with values below zero, but for the small ones that interpolation leaves."""
    values = convert_to_tensor(img, track_meta=False).detach()
    if not values.numel():
        return
    lowest, highest = (float(end) for end in torch.aminmax(values))
    if lowest < -max(NEGATIVE_TOLERANCE * highest, _RINGING):
        raise ValueError(
            f"{name}: got values from {lowest:g} to {highest:g}; allowed is a magnitude image, which has none below "
            "zero. Put what shifts the intensities, such as NormalizeIntensity, after this transform."
        )


def check_as_first(key: Hashable, what: str, shape: Sequence[int], first: Sequence[int]) -> None:
    """Refuse an image that would be given a draw of another shape, broadcast or cut.

    Args:
        key: of the image.
        what: which of its shapes this is, for the error.
        shape: that of the image.
        first: that of the first key's image, which was drawn for.

    Raises:
        ValueError: they differ.
    """
    if tuple(shape) != tuple(first):
        raise ValueError(
            f"{key}: got {what} {tuple(shape)}; allowed is that of the first key, {tuple(first)}, since one draw is "
            "for all keys. Give images of one shape, or each shape a transform of its own."
        )
