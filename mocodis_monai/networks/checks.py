"""What arguments may be, said where they are not."""

import torch

SIZE_MULTIPLE = 16
"""The coarsest grid is 1/16 of the resolution; images are padded to a multiple and cropped back."""


def check_sizes(images: torch.Tensor) -> None:
    """Refuse training images (B, 1, *spatial) that the token grids do not fit.

    Raises:
        ValueError: a size is no multiple of 16.
    """
    check_training_size(*images.shape[2:])


def check_training_size(*sizes: int) -> None:
    """As :func:`check_sizes`, before there are images.

    Raises:
        ValueError: a size is no multiple of 16.
    """
    if any(size % SIZE_MULTIPLE for size in sizes):
        raise ValueError(
            f"images are {sizes} pixels large; in training each size (image_size) must be a multiple of "
            f"{SIZE_MULTIPLE}."
        )


def check_share(name: str, value: float) -> None:
    """Refuse a share that is none.

    Raises:
        ValueError: ``value`` lies outside 0 to 1.
    """
    if not 0 <= value <= 1:
        raise ValueError(f"{name} must lie between 0 and 1, got {value}.")
