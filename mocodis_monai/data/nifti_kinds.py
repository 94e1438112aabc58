"""NIfTI files that hold no scan: what MoCoDis has made of one, masks, maps of labels."""

from __future__ import annotations

from pathlib import Path

from mocodis_monai.data.files import MAX_BYTES
from mocodis_monai.data.intensity import check_no_labels
from mocodis_monai.data.nifti import Volume, is_our_volume, read_volume
from mocodis_monai.errors import NotAScanError

CORRECTED_ALREADY = "corrected already"
"""The kind of what MoCoDis has made of a scan, for :class:`NotAScanError`."""


def read_scanned(path: str | Path, max_bytes: int = MAX_BYTES) -> Volume:
    """The volume of a NIfTI file as :func:`mocodis_monai.data.nifti.read_volume` reads it, if a scanner made it.

    Raises:
        InputError: it is unfit; NotAScanError if it is sound and of another kind.
    """
    volume = read_volume(path, max_bytes)
    if is_our_volume(volume):
        message = f"{path}: MoCoDis has corrected this already. Give the image that it was made from."
        raise NotAScanError(message, CORRECTED_ALREADY)
    check_no_labels(Path(path), volume.data)
    return volume
