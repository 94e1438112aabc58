"""The signal equations against their limits and closed forms (Brown et al. 2014)."""

import numpy as np
import pytest

from mocodis_monai.data.contrast import (
    PROTOCOLS,
    balanced_ssfp,
    inversion_recovery,
    sample_sequence,
    sequence_signal,
    spin_echo,
    spoiled_gradient_echo,
    tissue_intensities,
)
from mocodis_monai.data.tissues import TISSUES, Tissue

T1, T2 = 900.0, 80.0
FOREVER = 1e7


def sequence_named(name, seed=0):
    rng = np.random.default_rng(seed)
    while (sequence := sample_sequence(rng)).name != name or sequence.fat_suppressed:
        pass
    return sequence


def test_every_tissue_has_properties_and_t2_below_t1():
    assert set(TISSUES) == set(Tissue)
    for tissue in TISSUES.values():
        assert all(t2 <= t1 for t1, t2 in zip(tissue.t1_ms, tissue.t2_ms, strict=True))


def test_spin_echo_gives_the_proton_density_for_long_tr_and_short_te():
    assert spin_echo(0.7, T1, T2, FOREVER, 0.0) == pytest.approx(0.7)


def test_spin_echo_decays_by_e_in_one_t2():
    ratio = spin_echo(1.0, T1, T2, 500.0, T2) / spin_echo(1.0, T1, T2, 500.0, 0.0)
    assert ratio == pytest.approx(np.exp(-1))


def test_inversion_recovery_is_null_at_t1_ln2_for_long_tr():
    assert inversion_recovery(1.0, T1, T2, FOREVER, 10.0, T1 * np.log(2)) == pytest.approx(0.0, abs=1e-12)


def test_inversion_recovery_without_delay_is_the_full_signal():
    assert inversion_recovery(0.7, T1, T2, FOREVER, 0.0, 0.0) == pytest.approx(0.7)


def test_gradient_echo_is_largest_at_the_ernst_angle():
    flips = np.linspace(1, 90, 8901)
    signal = spoiled_gradient_echo(1.0, T1, 40.0, 20.0, 3.0, flips)
    assert flips[signal.argmax()] == pytest.approx(np.rad2deg(np.arccos(np.exp(-20.0 / T1))), abs=0.02)


def test_gradient_echo_at_90_degrees_is_saturation_recovery():
    expected = spin_echo(1.0, T1, 40.0, 300.0, 5.0)
    assert spoiled_gradient_echo(1.0, T1, 40.0, 300.0, 5.0, 90.0) == pytest.approx(expected)


def test_balanced_ssfp_for_short_tr_peaks_at_half_the_root_of_t2_over_t1():
    flips = np.linspace(1, 179, 17801)
    signal = balanced_ssfp(1.0, T1, T2, 0.01, 0.0, flips)
    optimum = np.rad2deg(np.arccos((T1 / T2 - 1) / (T1 / T2 + 1)))
    assert signal.max() == pytest.approx(0.5 * np.sqrt(T2 / T1), rel=1e-3)
    assert flips[signal.argmax()] == pytest.approx(optimum, abs=0.05)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_protocol_gives_finite_non_negative_tissue_signals(name):
    signal = tissue_intensities(sequence_named(name), np.random.default_rng(1))
    assert signal.shape == (len(Tissue),) and signal.dtype == np.float32
    assert np.isfinite(signal).all() and (signal >= 0).all() and signal[Tissue.AIR] == 0


@pytest.mark.parametrize(
    ("name", "dark", "bright"),
    [
        ("t2_se", Tissue.WHITE_MATTER, Tissue.CSF),
        ("t1_se", Tissue.CSF, Tissue.FAT),
        ("t1_ir", Tissue.GREY_MATTER, Tissue.WHITE_MATTER),
        ("flair", Tissue.CSF, Tissue.GREY_MATTER),
        ("stir", Tissue.FAT, Tissue.SYNOVIAL_FLUID),
        ("bssfp", Tissue.MUSCLE, Tissue.BLOOD),
    ],
)
def test_protocols_show_the_contrast_they_are_named_after(name, dark, bright):
    for seed in range(5):
        signal = tissue_intensities(sequence_named(name, seed), np.random.default_rng(seed))
        assert signal[dark] < signal[bright]


def test_fat_suppression_leaves_a_tenth_to_a_quarter_of_fat():
    plain = sequence_named("t2_se")
    suppressed = plain._replace(fat_suppressed=True)
    ratio = tissue_intensities(suppressed, np.random.default_rng(2)) / np.maximum(
        tissue_intensities(plain, np.random.default_rng(2)), 1e-9
    )
    assert 0.1 <= ratio[Tissue.FAT] <= 0.25 and ratio[Tissue.MUSCLE] == pytest.approx(1)


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match=r"'echo'.*spin_echo"):
        sequence_signal(sequence_named("t1_se")._replace(kind="echo"), 1.0, T1, T2)
