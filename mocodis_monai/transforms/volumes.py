"""Whole volumes in and out of a MONAI pipeline: checked NIfTI reading, NIfTI writing.

MONAI's own ``LoadImaged`` and ``SaveImaged`` accept a 4D, complex or NaN volume and change the shape of
single-slice and trailing-singleton files; these keep both (see :mod:`mocodis_monai.data.nifti`).
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import nibabel as nib
import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, SaveImaged
from monai.utils import ImageMetaKey, ensure_tuple
from nibabel.affines import voxel_sizes

from mocodis_monai.data.files import make_output_dir, stem
from mocodis_monai.data.nifti import read_volume, write_volume
from mocodis_monai.data.nifti_kinds import read_scanned

__all__ = [
    "LoadVolumed",
    "SaveVolumed",
    "phase_encode_axis_of",
    "source_path",
    "spacing_mm_of",
    "spatial_array",
]

# What undoing a change may leave of it in the affine, in voxels.
_ROUNDING = 1e-4


class LoadVolumed(MapTransform):
    """Replace paths by volumes: MetaTensor ``(1, x, y, z)``, float32, in the intensities of the file.

    ``meta`` holds ``filename_or_obj`` (the path), ``spacing_mm`` (tensor ``(3,)``, along x, y, z),
    ``phase_encode_axis`` (0, 1 or 2, -1 where the header does not say it) and, where MONAI Label looks for it,
    ``original_affine``; the affine is that of the file.

    Args:
        keys: keys of the paths.
        allow_missing_keys: do not raise if a key is missing.
        scans_only: refuse masks, maps of labels, and what MoCoDis has corrected already, as ``mocodis correct`` does.

    Raises:
        InputError: on calling, for a file that is not a magnitude volume.
    """

    def __init__(self, keys: KeysCollection, allow_missing_keys: bool = False, *, scans_only: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.read = read_scanned if scans_only else read_volume

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """A copy of ``data`` with the volumes read."""
        result = dict(data)
        for key in self.key_iterator(result):
            volume = self.read(result[key])
            meta = {
                ImageMetaKey.FILENAME_OR_OBJ: str(volume.path),
                "spacing_mm": torch.tensor(volume.spacing_mm, dtype=torch.float64),
                "phase_encode_axis": -1 if volume.phase_encode_axis is None else volume.phase_encode_axis,
                "original_affine": torch.as_tensor(volume.affine),
            }
            affine = torch.as_tensor(volume.affine)
            result[key] = MetaTensor(torch.from_numpy(volume.data)[None], affine=affine, meta=meta)
        return result


class SaveVolumed(SaveImaged):
    """Write volumes ``(1, x, y, z)`` as ``<stem>_<output_postfix>.nii.gz``, float32, like their source file.

    For the postprocessing of a MONAI evaluator, after ``Decollated``. The shape (2D files, trailing
    singleton axes), affine and units are read again from the source file: a volume that was turned, resampled or
    cropped since is refused. It is a ``SaveImaged``, so that a server
    which takes the savers out of a bundle's postprocessing (MONAI Label does) finds it.

    Args:
        keys: keys of the volumes.
        output_dir: folder to write into, made if it does not exist.
        output_postfix: what is added to the name, one per key or one for all.
        source_key: key of the volume that :class:`LoadVolumed` read; names the source file.
        allow_missing_keys: do not raise if a key is missing.

    Raises:
        ValueError: ``output_postfix`` gives two keys the same file; on calling, if a volume, or the one under
            ``source_key`` where it has no affine of its own, has another affine than the file.
        InputError: on calling, if the folder or the file cannot be written.
    """

    def __init__(
        self,
        keys: KeysCollection,
        output_dir: str | Path,
        output_postfix: str | Sequence[str] = "corrected",
        source_key: str = "image",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, output_dir=output_dir, allow_missing_keys=allow_missing_keys)
        postfixes = ensure_tuple(output_postfix)
        self.output_dir = Path(output_dir)
        self.output_postfix = postfixes * len(self.keys) if len(postfixes) == 1 else postfixes
        self.source_key = source_key
        if len(set(self.output_postfix)) != len(self.keys):
            raise ValueError(
                f"output_postfix: got {output_postfix!r}, {len(set(self.output_postfix))} names for the "
                f"{len(self.keys)} keys {self.keys}. Give one postfix per key, all different."
            )

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Write the volumes of ``keys``; ``data`` comes back as it is."""
        result = dict(data)
        source = source_path(result, self.source_key)
        for key, postfix in self.key_iterator(result, self.output_postfix):
            path = make_output_dir(self.output_dir) / f"{stem(source)}_{postfix}.nii.gz"
            array = spatial_array(result[key])
            _check_affine(result, key if _has_affine(result[key]) else self.source_key, self.source_key)
            write_volume(path, array, like=source, what=postfix)
        return result


def source_path(data: Mapping[Hashable, Any], key: Hashable) -> Path:
    """The file that the volume under ``key`` was read from; KeyError if it was not read by LoadVolumed."""
    meta = getattr(data.get(key), "meta", {})
    if ImageMetaKey.FILENAME_OR_OBJ not in meta:
        raise KeyError(f"data[{key!r}]: names no source file. Read it with LoadVolumed, and keep it a MetaTensor.")
    return Path(meta[ImageMetaKey.FILENAME_OR_OBJ])


def spatial_array(image: torch.Tensor) -> np.ndarray:
    """``(1, x, y, z)`` to a float32 array ``(x, y, z)``.

    Raises:
        ValueError: any other shape.
    """
    if image.ndim != 4 or image.shape[0] != 1:
        raise ValueError(
            f"image: got shape {tuple(image.shape)}; allowed is one channel and three axes, (1, x, y, z). Save "
            "channels one by one."
        )
    return torch.as_tensor(image).detach().float().cpu().numpy()[0]


def _has_affine(image: torch.Tensor) -> bool:
    """Whether the affine says something: MONAI gives a plain tensor that it converts the identity."""
    if not isinstance(image, MetaTensor):
        return False
    return "original_affine" in image.meta or not np.array_equal(_matrix(image.affine), np.eye(4))


def _check_affine(data: Mapping[Hashable, Any], key: Hashable, source_key: Hashable) -> None:
    """ValueError if the affine of the volume under ``key`` is not that of the file behind ``source_key``."""
    source = source_path(data, source_key)
    original = data[source_key].meta.get("original_affine")
    original = _matrix(cast("Any", nib.load(source)).affine if original is None else original)
    affine = _matrix(data[key].affine)
    if np.abs(affine - original).max() > _ROUNDING * voxel_sizes(original).min():
        raise ValueError(
            f"data[{key!r}] has the affine {affine.round(4).tolist()}, but its file {source.name} has "
            f"{original.round(4).tolist()}, which is written. Undo the change before SaveVolumed (Invertd), or leave "
            "Orientationd, Spacingd and what crops or pads out."
        )


def _matrix(affine: Any) -> np.ndarray:
    return torch.as_tensor(affine, dtype=torch.float64, device="cpu").numpy()


def phase_encode_axis_of(volumes: torch.Tensor) -> int | None:
    """What ``LoadVolumed`` read off the file of a volume, or of the first of a batch.

    None where the file does not say it, and where the axes are no longer those of the file (after ``Orientationd``).
    """
    meta = getattr(volumes, "meta", {})
    axis = int(torch.as_tensor(meta.get("phase_encode_axis", -1)).reshape(-1)[0])
    axes, as_read = _voxel_axes(volumes)
    changed = (axes - as_read).abs().max() > 1e-4 * as_read.norm(dim=0).min()  # less is rounding
    return None if axis < 0 or changed else axis


def spacing_mm_of(volumes: torch.Tensor) -> tuple[float, ...]:
    """Voxel size (3,) of a batch by its affine, which is in the unit of the file where ``LoadVolumed`` read one."""
    axes, as_read = (each.norm(dim=0) for each in _voxel_axes(volumes))
    of_file = torch.as_tensor(getattr(volumes, "meta", {}).get("spacing_mm", as_read)).reshape(-1, 3)[0].cpu()
    return tuple((of_file if torch.equal(axes, as_read) else axes * of_file.mean() / as_read.mean()).tolist())


def _voxel_axes(volumes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The voxel axes (world, voxel) in the affine of a volume, or of the first of a batch: now, and as it was read."""
    affine = getattr(volumes, "affine", torch.eye(4))
    as_read = getattr(volumes, "meta", {}).get("original_affine", affine)
    matrices = (torch.as_tensor(each, dtype=torch.float64, device="cpu") for each in (affine, as_read))
    now, before = (matrix.reshape(-1, 4, 4)[0, :3, :3] for matrix in matrices)
    return now, before
