"""Physics at the precision of its image, whatever ``torch.autocast`` is on around it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import torch

_Function = TypeVar("_Function", bound=Callable[..., object])


def at_full_precision(function: _Function) -> _Function:
    """The function with ``torch.autocast`` off inside.

    Autocast would round Fourier matrices to 8 or 11 bits, or give complex products a type that they do not have.
    """
    plain = function
    for device_type in ("cpu", "cuda"):
        plain = torch.autocast(device_type, enabled=False)(plain)
    return cast("_Function", plain)
