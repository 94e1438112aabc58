"""MONAI transforms of the package: array classes, their ``Rand...`` versions and the dictionary versions ``...d``.

What may live here: transforms in MONAI's conventions (channel-first images, MetaTensor kept, ``set_random_state``
honoured). The physics they apply lives in :mod:`mocodis_monai.motion`.
"""

from .displacement import DisplacementInPixelsd
from .kspace_motion import KSpaceMotion, MotionSample, RandKSpaceMotion
from .kspace_motiond import RandKSpaceMotionD, RandKSpaceMotiond, RandKSpaceMotionDict
from .sources import LoadSourced, RandContrast, RandContrastd
from .volumes import LoadVolumed, SaveVolumed

__all__ = [
    "DisplacementInPixelsd",
    "KSpaceMotion",
    "LoadSourced",
    "LoadVolumed",
    "MotionSample",
    "RandContrast",
    "RandContrastd",
    "RandKSpaceMotion",
    "RandKSpaceMotionD",
    "RandKSpaceMotionDict",
    "RandKSpaceMotiond",
    "SaveVolumed",
]
