"""Image contrast from the steady-state signal equations, and a random draw of clinical protocols.

Equations after Brown, Cheng, Haacke, Thompson, Venkatesan 2014, Magnetic Resonance Imaging: Physical
Principles and Sequence Design, 2nd ed. (spin echo and inversion recovery ch. 8 and 10, spoiled gradient
echo and balanced SSFP ch. 18). Times are in ms, flip angles in degrees; every argument
broadcasts. E1 = exp(-TR/T1), E2 = exp(-TR/T2).
"""

from typing import NamedTuple

import numpy as np

from mocodis_monai.data.tissues import FATTY_TISSUES, FIELD_STRENGTHS_T, TISSUES, Tissue

# Static dephasing 1/T2' grows with the field: T2' = 100 ms at 1.5 T, 50 ms at 3 T. One value for all tissues.
R2_PRIME_PER_MS_PER_TESLA = 1 / 150
TISSUE_VARIATION = 0.10

Values = float | np.ndarray


class PulseSequence(NamedTuple):
    """One acquisition protocol. ``ti_ms`` is 0 where there is no inversion, ``flip_deg`` is 90 for echoes."""

    name: str
    kind: str
    field_t: float
    tr_ms: float
    te_ms: float
    ti_ms: float
    flip_deg: float
    fat_suppressed: bool


class _Protocol(NamedTuple):
    kind: str
    tr_ms: tuple[float, float]
    te_ms: tuple[float, float]
    ti_ms: tuple[float, float]
    flip_deg: tuple[float, float]


PROTOCOLS: dict[str, _Protocol] = {
    "t1_se": _Protocol("spin_echo", (400, 700), (8, 15), (0, 0), (90, 90)),
    "pd_se": _Protocol("spin_echo", (2500, 4000), (15, 35), (0, 0), (90, 90)),
    "t2_se": _Protocol("spin_echo", (3000, 6000), (70, 110), (0, 0), (90, 90)),
    "t1_gre": _Protocol("spoiled_gradient_echo", (5, 30), (1.5, 4.5), (0, 0), (10, 30)),
    "t2star_gre": _Protocol("spoiled_gradient_echo", (400, 700), (12, 20), (0, 0), (15, 30)),
    "t1_ir": _Protocol("inversion_recovery", (2000, 2600), (3, 10), (750, 1000), (90, 90)),
    "flair": _Protocol("inversion_recovery", (8000, 10000), (80, 120), (2200, 2500), (90, 90)),
    "stir": _Protocol("inversion_recovery", (3000, 5000), (25, 60), (190, 250), (90, 90)),
    "bssfp": _Protocol("balanced_ssfp", (3, 6), (1.5, 3), (0, 0), (35, 70)),
}


def spin_echo(
    proton_density: Values, t1_ms: Values, t2_ms: Values, tr_ms: Values, te_ms: Values
) -> np.ndarray:
    """Spin echo for TE << TR: ``PD (1 - exp(-TR/T1)) exp(-TE/T2)``."""
    return proton_density * (1 - np.exp(-tr_ms / t1_ms)) * np.exp(-te_ms / t2_ms)


def spoiled_gradient_echo(
    proton_density: Values, t1_ms: Values, t2star_ms: Values, tr_ms: Values, te_ms: Values, flip_deg: Values
) -> np.ndarray:
    """Spoiled gradient echo (Ernst): ``PD sin(a) (1 - E1) / (1 - cos(a) E1) exp(-TE/T2*)``."""
    flip = np.deg2rad(flip_deg)
    e1 = np.exp(-tr_ms / t1_ms)
    return proton_density * np.sin(flip) * (1 - e1) / (1 - np.cos(flip) * e1) * np.exp(-te_ms / t2star_ms)


def inversion_recovery(
    proton_density: Values, t1_ms: Values, t2_ms: Values, tr_ms: Values, te_ms: Values, ti_ms: Values
) -> np.ndarray:
    """Magnitude inversion recovery spin echo: ``PD |1 - 2 exp(-TI/T1) + exp(-TR/T1)| exp(-TE/T2)``."""
    longitudinal = 1 - 2 * np.exp(-ti_ms / t1_ms) + np.exp(-tr_ms / t1_ms)
    return proton_density * np.abs(longitudinal) * np.exp(-te_ms / t2_ms)


def balanced_ssfp(
    proton_density: Values, t1_ms: Values, t2_ms: Values, tr_ms: Values, te_ms: Values, flip_deg: Values
) -> np.ndarray:
    """Balanced SSFP on resonance: ``PD sin(a) (1 - E1) / (1 - (E1 - E2) cos(a) - E1 E2) exp(-TE/T2)``."""
    flip = np.deg2rad(flip_deg)
    e1, e2 = np.exp(-tr_ms / t1_ms), np.exp(-tr_ms / t2_ms)
    steady = np.sin(flip) * (1 - e1) / (1 - (e1 - e2) * np.cos(flip) - e1 * e2)
    return proton_density * steady * np.exp(-te_ms / t2_ms)


def sample_sequence(rng: np.random.Generator) -> PulseSequence:
    """Draw a protocol of ``PROTOCOLS``, its field strength and its timing. Balanced SSFP: TE = TR / 2.

    Four draws in ten suppress fat spectrally, but STIR (which nulls fat already) and balanced SSFP never.
    """
    name = str(rng.choice(list(PROTOCOLS)))
    protocol = PROTOCOLS[name]
    field_t = float(rng.choice(FIELD_STRENGTHS_T))
    tr_ms, te_ms, ti_ms, flip_deg = (float(rng.uniform(*limits)) for limits in protocol[1:])
    fat_suppressed = bool(rng.random() < 0.4) and name not in ("stir", "bssfp")
    if name == "bssfp":
        te_ms = tr_ms / 2
    return PulseSequence(name, protocol.kind, field_t, tr_ms, te_ms, ti_ms, flip_deg, fat_suppressed)


def sequence_signal(
    sequence: PulseSequence, proton_density: np.ndarray, t1_ms: np.ndarray, t2_ms: np.ndarray
) -> np.ndarray:
    """Signal of tissues under a sequence. T2* is approximated: 1/T2* = 1/T2 + field / (150 ms T).

    Args:
        sequence: kind and times.
        proton_density: (tissue,), relative to water.
        t1_ms: (tissue,), longitudinal relaxation time.
        t2_ms: (tissue,), transverse relaxation time.

    Returns:
        (tissue,), relative to the signal of water without relaxation.

    Raises:
        ValueError: the kind of the sequence has no signal equation here.
    """
    s = sequence
    if s.kind == "spin_echo":
        return spin_echo(proton_density, t1_ms, t2_ms, s.tr_ms, s.te_ms)
    if s.kind == "inversion_recovery":
        return inversion_recovery(proton_density, t1_ms, t2_ms, s.tr_ms, s.te_ms, s.ti_ms)
    if s.kind == "balanced_ssfp":
        return balanced_ssfp(proton_density, t1_ms, t2_ms, s.tr_ms, s.te_ms, s.flip_deg)
    if s.kind == "spoiled_gradient_echo":
        t2star_ms = 1 / (1 / t2_ms + s.field_t * R2_PRIME_PER_MS_PER_TESLA)
        return spoiled_gradient_echo(proton_density, t1_ms, t2star_ms, s.tr_ms, s.te_ms, s.flip_deg)
    kinds = sorted({protocol.kind for protocol in PROTOCOLS.values()})
    raise ValueError(f"sequence.kind is {s.kind!r}; allowed are {kinds}. Use sample_sequence.")


def tissue_intensities(sequence: PulseSequence, rng: np.random.Generator) -> np.ndarray:
    """Signal of every ``Tissue``, shape ``(tissue,)`` float32, with +-10 % variation of PD, T1 and T2.

    Fat suppression leaves 10-25 % of the signal of fat and yellow marrow. Flowing blood loses 50-95 % of its
    signal in spin and inversion echoes (flow void) and keeps it in the gradient echoes.
    """
    field = FIELD_STRENGTHS_T.index(sequence.field_t)
    rows = [(TISSUES[t].proton_density, TISSUES[t].t1_ms[field], TISSUES[t].t2_ms[field]) for t in Tissue]
    varied = np.array(rows).T * rng.uniform(1 - TISSUE_VARIATION, 1 + TISSUE_VARIATION, (3, len(rows)))
    signal = sequence_signal(sequence, *varied)
    fat_left, blood_left = rng.uniform(0.1, 0.25), rng.uniform(0.05, 0.5)
    if sequence.fat_suppressed:
        signal[list(FATTY_TISSUES)] *= fat_left
    if sequence.kind in ("spin_echo", "inversion_recovery"):
        signal[Tissue.BLOOD] *= blood_left
    return signal.astype(np.float32)
