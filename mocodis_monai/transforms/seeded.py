"""Random transforms whose randomness belongs to the record."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from copy import deepcopy
from typing import Any

from monai.transforms import Compose, Transform

__all__ = ["SeededCompose"]


class SeededCompose(Transform):
    """Random transforms seeded by the record: the same record gives the same sample, whoever asks and whenever.

    It counts as deterministic, so that MONAI's ``PersistentDataset`` keeps its results on disk: simulated motion is
    then paid for once and shared by all trainings. (With MONAI's defaults it keeps plain tensors: metadata, such as the
    motion, are lost unless it has ``track_meta=True, weights_only=False``.)

    Args:
        transforms: transforms of dictionaries, random ones among them.
    """

    def __init__(self, transforms: Sequence[Callable[[Any], Any]]) -> None:
        self.compose = Compose(transforms)

    def __call__(self, data: Mapping[Hashable, Any]) -> Any:
        """Transform a record that holds its seed under the key "seed", an integer from 0 up to 2**32 - 1.

        Raises:
            KeyError: the record has no seed.
        """
        if "seed" not in data:
            raise KeyError(f"'seed' is missing in the record with keys {list(data)}. Give it a seed.")
        compose = deepcopy(self.compose)  # threads may share this transform, and its random state
        compose.set_random_state(seed=int(data["seed"]))
        return compose(data)
