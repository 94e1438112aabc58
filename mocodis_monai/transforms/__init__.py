"""MONAI transforms of the package: array classes, their ``Rand...`` versions and the dictionary versions ``...d``.

What may live here: transforms in MONAI's conventions (channel-first images, MetaTensor kept, ``set_random_state``
honoured). The physics they apply lives in :mod:`mocodis_monai.motion`.
"""

from .kspace_motion import KSpaceMotion, MotionSample
from .kspace_motiond import (
    KSpaceMotionD,
    KSpaceMotiond,
    KSpaceMotionDict,
    RandKSpaceMotionD,
    RandKSpaceMotiond,
    RandKSpaceMotionDict,
)
from .lesions import RandLesionsd
from .noise import RandThermalNoised
from .rand_kspace_motion import OutOfReachError, RandKSpaceMotion
from .scan import EchoTrain, ReceiverOptions
from .seeded import SeededCompose
from .sources import LoadSourced, RandContrast, RandContrastd
from .texture import RandLayersd, RandTextured
from .volumes import LoadVolumed, SaveVolumed
from .zero_fill import RandZeroFilld

__all__ = [
    "EchoTrain",
    "KSpaceMotion",
    "KSpaceMotionD",
    "KSpaceMotionDict",
    "KSpaceMotiond",
    "LoadSourced",
    "LoadVolumed",
    "MotionSample",
    "OutOfReachError",
    "RandContrast",
    "RandContrastd",
    "RandKSpaceMotion",
    "RandKSpaceMotionD",
    "RandKSpaceMotionDict",
    "RandKSpaceMotiond",
    "RandLayersd",
    "RandLesionsd",
    "RandTextured",
    "RandThermalNoised",
    "RandZeroFilld",
    "ReceiverOptions",
    "SaveVolumed",
    "SeededCompose",
]
