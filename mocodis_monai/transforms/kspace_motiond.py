"""Dictionary versions of the motion transforms."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config.type_definitions import KeysCollection, NdarrayOrTensor
from monai.transforms.transform import MapTransform, RandomizableTransform
from monai.utils.misc import ensure_tuple

from mocodis_monai.motion import LINE_ORDERS, RIGID_FAMILIES

from .kspace_motion import IrreversibleMotion, KSpaceMotion, MotionSample
from .rand_kspace_motion import RandKSpaceMotion

__all__ = [
    "KSpaceMotionD",
    "KSpaceMotionDict",
    "KSpaceMotiond",
    "RandKSpaceMotionD",
    "RandKSpaceMotionDict",
    "RandKSpaceMotiond",
]


class _MotionMap(MapTransform, IrreversibleMotion):
    """Base: one motion for the images of several keys, and where their targets and scores go."""

    def __init__(
        self,
        keys: KeysCollection,
        target_keys: KeysCollection | None,
        displacement_keys: KeysCollection | None,
        allow_missing_keys: bool,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.target_keys = _one_per_key("target_keys", target_keys, self.keys)
        self.displacement_keys = _one_per_key("displacement_keys", displacement_keys, self.keys)
        named = [key for key in (*self.keys, *self.target_keys, *self.displacement_keys) if key is not None]
        if twice := {key for key in named if named.count(key) > 1}:
            raise ValueError(
                f"keys, target_keys and displacement_keys: {sorted(map(str, twice))} stand there twice, and one result "
                "would take the other's place. Give each a key of its own."
            )

    def _together(self, d: dict[Hashable, Any]) -> list[tuple[Hashable, Hashable | None, Hashable | None]]:
        """Key, target key and displacement key of the images that are there."""
        return list(self.key_iterator(d, self.target_keys, self.displacement_keys))

    def _acquire(self, d: dict[Hashable, Any], simulate: Callable[[Any, bool, int], MotionSample]) -> None:
        """Put into ``d`` what ``simulate(image, with_target, image_number)`` makes of its images."""
        for number, (key, target_key, displacement_key) in enumerate(self._together(d)):
            sample = simulate(d[key], target_key is not None, number)
            d[key] = sample.image
            if sample.target is not None:
                d[target_key] = sample.target
            if displacement_key is not None:
                d[displacement_key] = torch.tensor(sample.metadata["displacement_mm"], dtype=torch.float32)


class KSpaceMotiond(_MotionMap):
    """Dictionary version of :class:`KSpaceMotion`; all keys are acquired during the same motion.

    With the metadata of the first image that a :class:`RandKSpaceMotiond` moved it makes the whole sample again, bit
    for bit, if the images have one voxel size: ``KSpaceMotiond(keys, KSpaceMotion.from_metadata(metadata))``.

    Args:
        keys, target_keys, displacement_keys, allow_missing_keys: see :class:`RandKSpaceMotiond`.
        transform: the motion, and how it is acquired. Noise is each key's own.

    Raises:
        ValueError: not one target or displacement key for each key, or a key twice; when called, what
            :class:`KSpaceMotion` refuses.
    """

    backend = KSpaceMotion.backend

    def __init__(
        self,
        keys: KeysCollection,
        transform: KSpaceMotion,
        *,
        target_keys: KeysCollection | None = None,
        displacement_keys: KeysCollection | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, target_keys, displacement_keys, allow_missing_keys)
        self.transform = transform

    def __call__(self, data: Mapping[Hashable, NdarrayOrTensor]) -> dict[Hashable, NdarrayOrTensor]:
        """Return a copy of the dictionary with moved images, and targets and scores where keys were given."""
        d = dict(data)
        self._acquire(d, lambda image, targeted, number: self.transform.numbered(number).simulate(image, targeted))
        return d


class RandKSpaceMotiond(RandomizableTransform, _MotionMap):
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
        ValueError: not one target or displacement key for each key, or a key twice; whatever
            :class:`RandKSpaceMotion` refuses.
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
        _MotionMap.__init__(self, keys, target_keys, displacement_keys, allow_missing_keys)
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
        together = self._together(d)
        if together:  # the first image that shows something tells how far the motion reaches
            shown = (d[key] for key, _, _ in together if bool((d[key] != 0).any()))
            self.rand_motion.randomize(next(shown, d[together[0][0]]))
        self._acquire(d, self._simulate)
        return d

    def _simulate(self, image: NdarrayOrTensor, with_target: bool, number: int) -> MotionSample:
        return self.rand_motion.simulate(image, with_target, randomize=False, image_number=number)


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


KSpaceMotionD = KSpaceMotionDict = KSpaceMotiond
RandKSpaceMotionD = RandKSpaceMotionDict = RandKSpaceMotiond
