"""Relaxation times and proton densities of human tissues at 1.5 T and 3 T.

Sources, by the key in each row:

- ``stanisz``: Stanisz et al. 2005, Magn Reson Med 54:507, doi:10.1002/mrm.20605
- ``wansapura``: Wansapura et al. 1999, J Magn Reson Imaging 9:531, measured in vivo at 3 T
- ``bazelaire``: de Bazelaire et al. 2004, Radiology 230:652, doi:10.1148/radiol.2303021331
- ``gold``: Gold et al. 2004, AJR 183:343, doi:10.2214/ajr.183.2.1830343
- ``rooney``: Rooney et al. 2007, Magn Reson Med 57:308, doi:10.1002/mrm.21122
- ``reichert``: Reichert et al. 2005, Magn Reson Imaging 23:611, doi:10.1016/j.mri.2005.02.017
- ``rauscher``: Rauscher et al. 2008, Radiology 249:591, doi:10.1148/radiol.2492071870
- ``estimate``: ours, between the published ranges; good enough for contrast, not for quantitative work

Proton densities are relative to water and follow Tofts 2003 (Quantitative MRI of the Brain, ch. 4) for
the brain; elsewhere they are estimates from the water content of the tissue.
"""

from enum import IntEnum
from typing import NamedTuple

FIELD_STRENGTHS_T = (1.5, 3.0)


class Tissue(IntEnum):
    """Labels of the phantom's tissue classes; air is 0."""

    AIR = 0
    WHITE_MATTER = 1
    GREY_MATTER = 2
    DEEP_GREY_MATTER = 3
    CSF = 4
    FAT = 5
    MUSCLE = 6
    SKIN = 7
    CORTICAL_BONE = 8
    YELLOW_MARROW = 9
    RED_MARROW = 10
    BLOOD = 11
    LUNG = 12
    LIVER = 13
    SPLEEN = 14
    KIDNEY_CORTEX = 15
    KIDNEY_MEDULLA = 16
    PANCREAS = 17
    BOWEL_CONTENT = 18
    CARTILAGE = 19
    SYNOVIAL_FLUID = 20
    MENISCUS = 21
    TENDON = 22
    MYOCARDIUM = 23
    URINE = 24
    PROSTATE = 25
    VITREOUS = 26


class TissueProperties(NamedTuple):
    """Proton density (relative to water) and T1, T2 in ms, each pair at (1.5 T, 3 T)."""

    proton_density: float
    t1_ms: tuple[float, float]
    t2_ms: tuple[float, float]
    source: str


TISSUES: dict[Tissue, TissueProperties] = {
    Tissue.AIR: TissueProperties(0.0, (1000, 1000), (10, 10), "no protons; times only keep equations finite"),
    Tissue.WHITE_MATTER: TissueProperties(
        0.70, (656, 832), (72, 80), "rooney (T1 1.5 T), wansapura (3 T), stanisz (T2 1.5 T)"
    ),
    Tissue.GREY_MATTER: TissueProperties(0.82, (1188, 1331), (95, 110), "as white matter"),
    Tissue.DEEP_GREY_MATTER: TissueProperties(0.78, (980, 1150), (84, 72), "estimate"),
    Tissue.CSF: TissueProperties(1.00, (4300, 4300), (2000, 2000), "rooney (T1), estimate (T2)"),
    Tissue.FAT: TissueProperties(0.90, (288, 371), (165, 133), "gold"),
    Tissue.MUSCLE: TissueProperties(0.78, (1008, 1412), (44, 50), "stanisz"),
    Tissue.SKIN: TissueProperties(0.60, (800, 900), (25, 22), "estimate"),
    Tissue.CORTICAL_BONE: TissueProperties(0.15, (200, 230), (0.5, 0.4), "reichert"),
    Tissue.YELLOW_MARROW: TissueProperties(0.85, (288, 365), (165, 133), "gold"),
    Tissue.RED_MARROW: TissueProperties(0.75, (549, 586), (49, 49), "bazelaire"),
    Tissue.BLOOD: TissueProperties(0.85, (1441, 1932), (290, 275), "stanisz"),
    Tissue.LUNG: TissueProperties(0.18, (1200, 1300), (35, 25), "estimate"),
    Tissue.LIVER: TissueProperties(0.75, (586, 809), (46, 34), "bazelaire"),
    Tissue.SPLEEN: TissueProperties(0.80, (1057, 1328), (79, 61), "bazelaire"),
    Tissue.KIDNEY_CORTEX: TissueProperties(0.80, (966, 1142), (87, 76), "bazelaire"),
    Tissue.KIDNEY_MEDULLA: TissueProperties(0.85, (1412, 1545), (85, 81), "bazelaire"),
    Tissue.PANCREAS: TissueProperties(0.76, (584, 725), (46, 43), "bazelaire"),
    Tissue.BOWEL_CONTENT: TissueProperties(0.85, (1500, 1800), (250, 220), "estimate"),
    Tissue.CARTILAGE: TissueProperties(0.75, (1066, 1240), (42, 37), "gold"),
    Tissue.SYNOVIAL_FLUID: TissueProperties(0.97, (2850, 3620), (1210, 767), "gold"),
    Tissue.MENISCUS: TissueProperties(0.55, (750, 900), (12, 11), "rauscher (T2), estimate (T1)"),
    Tissue.TENDON: TissueProperties(0.50, (500, 600), (4, 3), "estimate"),
    Tissue.MYOCARDIUM: TissueProperties(0.80, (1030, 1471), (40, 47), "stanisz"),
    Tissue.URINE: TissueProperties(1.00, (3500, 3800), (1500, 1200), "estimate"),
    Tissue.PROSTATE: TissueProperties(0.82, (1317, 1597), (88, 74), "bazelaire"),
    Tissue.VITREOUS: TissueProperties(1.00, (4000, 4200), (1200, 1000), "estimate"),
}

FATTY_TISSUES = (Tissue.FAT, Tissue.YELLOW_MARROW)
