"""Which way the patient lies in the image."""

from __future__ import annotations

from typing import NamedTuple


class BodyAxes(NamedTuple):
    """The spatial axis along each direction of the body, and where it points.

    An axial slice has no superior-inferior axis, a coronal one no anterior-posterior axis, a sagittal one no
    left-right axis.

    Attributes:
        superior_inferior: spatial axis, from 0, or None where the image has none.
        anterior_posterior: likewise.
        left_right: likewise.
        signs: +1 where the index grows toward superior, anterior, right; -1 where it grows the other way. One number
            per direction in that order; that of a missing direction is not used.
    """

    superior_inferior: int | None
    anterior_posterior: int | None
    left_right: int | None
    signs: tuple[int, int, int] = (1, 1, 1)


DEFAULT_AXES = {2: BodyAxes(None, 1, 0), 3: BodyAxes(2, 1, 0)}
"""Where nothing else is known: a volume in the order and direction of NIfTI (right, anterior, superior), and an axial
slice of it."""


def check_body_axes(axes: BodyAxes, spatial_dims: int) -> None:
    """Raise ValueError unless the directions name the spatial axes, each at most once, and the signs are 1 or -1."""
    named = [axis for axis in axes[:3] if axis is not None]
    if sorted(named) != list(range(spatial_dims)):
        raise ValueError(
            f"axes: got {axes}; allowed are the {spatial_dims} spatial axes, each given to one direction. Give None to "
            "the direction across a slice."
        )
    if len(axes.signs) != 3 or any(sign not in (1, -1) for sign in axes.signs):
        raise ValueError(f"axes.signs: got {axes.signs}; allowed are three numbers, each 1 or -1. Give these.")
