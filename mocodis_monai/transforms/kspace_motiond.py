"""Dictionary version of the random motion transform."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config.type_definitions import KeysCollection, NdarrayOrTensor
from monai.transforms.transform import MapTransform, RandomizableTransform
from monai.utils.misc import ensure_tuple

from mocodis_monai.motion import LINE_ORDERS, RIGID_FAMILIES

from .kspace_motion import IrreversibleMotion
from .rand_kspace_motion import RandKSpaceMotion

__all__ = ["RandKSpaceMotionD", "RandKSpaceMotionDict", "RandKSpaceMotiond"]


class RandKSpaceMotiond(RandomizableTransform, MapTransform, IrreversibleMotion):
    """Dictionary version of :class:`RandKSpaceMotion`; all keys are acquired during the same motion.

    The motion is drawn for the first key: its number of lines, and its spectrum for the score. It is the same along
    the axes of the arrays: give all keys one orientation, with ``Orientationd`` for instance. Noise is each key's own.

    Args:
        keys: images to move; the moved image replaces each. Labels are not moved: see ``centred``.
        prob, families, displacement_mm, phase_encode_axis, num_shots, line_orders: see :class:`RandKSpaceMotion`.
        target_keys: where to put the co-registered clean image of each key, as many as ``keys``; None spares
            the registration. Without motion the target is the image itself.
        displacement_keys: where to put the displacement score of each key, a float32 scalar tensor in mm.
        allow_missing_keys: leave out keys that the data does not have.
        options: keyword arguments of :class:`RandKSpaceMotion`, such as ``centred``, ``slice_axis`` or ``receiver``.

    Images are ``(C, H, W)`` or ``(C, H, W, D)``, targets have the same shape.

    Raises:
        ValueError: not one target or displacement key for each key; whatever :class:`RandKSpaceMotion` refuses.
    """

    backend = RandKSpaceMotion.backend

    def __init__(
        self,
        keys: KeysCollection,
        prob: float = 0.1,
        *,
        target_keys: KeysCollection | None = None,
        displacement_keys: KeysCollection | None = None,
        families: str | Sequence[str] = RIGID_FAMILIES,
        displacement_mm: float | str | Sequence[float] = (0.5, 5.0),
        phase_encode_axis: int | Sequence[int | Sequence[int]] | None = None,
        num_shots: int | Sequence[int] = (4, 32),
        line_orders: str | Sequence[str] = LINE_ORDERS,
        allow_missing_keys: bool = False,
        **options: Any,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.target_keys = _one_per_key("target_keys", target_keys, self.keys)
        self.displacement_keys = _one_per_key("displacement_keys", displacement_keys, self.keys)
        self.rand_motion = RandKSpaceMotion(
            prob, families, displacement_mm, phase_encode_axis, num_shots, line_orders, **options
        )
        RandomizableTransform.__init__(self, prob=prob)

    def set_random_state(
        self, seed: int | None = None, state: np.random.RandomState | None = None
    ) -> RandKSpaceMotiond:
        super().set_random_state(seed, state)
        self.rand_motion.set_random_state(seed, state)
        return self

    def __call__(self, data: Mapping[Hashable, NdarrayOrTensor]) -> dict[Hashable, NdarrayOrTensor]:
        """Return a copy of the dictionary with moved images, and targets and scores where keys were given."""
        d = dict(data)
        self.rand_motion.prob = self.prob  # a schedule may have changed it
        together = list(self.key_iterator(d, self.target_keys, self.displacement_keys))
        if together:  # the first image that shows something tells how far the motion reaches
            shown = (d[key] for key, _, _ in together if bool((d[key] != 0).any()))
            self.rand_motion.randomize(next(shown, d[together[0][0]]))
        for number, (key, target_key, displacement_key) in enumerate(together):
            sample = self.rand_motion.simulate(d[key], target_key is not None, randomize=False, image_number=number)
            d[key] = sample.image
            if sample.target is not None:
                d[target_key] = sample.target
            if displacement_key is not None:
                d[displacement_key] = torch.tensor(sample.metadata["displacement_mm"], dtype=torch.float32)
        return d


def _one_per_key(
    name: str, values: KeysCollection | None, keys: tuple[Hashable, ...]
) -> tuple[Hashable | None, ...]:
    """The optional keys as a tuple of the length of ``keys``."""
    if values is None:
        return (None,) * len(keys)
    values = ensure_tuple(values)
    if len(values) != len(keys):
        raise ValueError(
            f"{name}: got {values} for keys {keys}; allowed is one for each key. Give {len(keys)} or None."
        )
    return values


RandKSpaceMotionD = RandKSpaceMotionDict = RandKSpaceMotiond
