"""Paired gains, their intervals, and the share of cases made worse, against plain computations."""

from __future__ import annotations

import numpy as np
import pytest

from mocodis_monai.evaluation import METRICS, Group, Interval, Row, paired_interval, summarise
from mocodis_monai.evaluation.summaries import GROUPS, population


def row(case: str, method: str, ssim: float, subject: str = "", **changes) -> Row:
    values = dict.fromkeys(Row._fields, 0.0) | dict.fromkeys(("region", "family", "severity", "held_out"), "")
    values |= {"severity": "mild", "case": case, "subject": subject or case, "method": method, "ssim": ssim}
    return Row(**{**values, **changes})


def test_the_interval_is_that_of_resampled_subject_means():
    rng = np.random.default_rng(3)
    subjects = [f"s{k}" for k in range(12) for _ in range(4)]
    gains = rng.normal(0.02, 0.01, 48) + np.repeat(rng.normal(0, 0.03, 12), 4)
    interval = paired_interval(gains.tolist(), subjects)
    means = gains.reshape(12, 4).mean(1)
    draws = means[rng.integers(0, 12, (20000, 12))].mean(1)
    # Student's t of 11 degrees of freedom is 2.201; times sqrt(12 / 11) that is 2.299, a normal tail of 1.075 %.
    low, high = np.percentile(draws, (1.075, 98.925))
    assert interval.mean == pytest.approx(means.mean())
    # Two sets of a few thousand draws: their ends differ by some per cent of the width.
    assert interval.low == pytest.approx(low, abs=0.06 * (high - low))
    assert interval.high == pytest.approx(high, abs=0.06 * (high - low))


@pytest.mark.parametrize("count", [5, 15])
def test_the_interval_of_few_subjects_covers_the_truth_as_often_as_it_says(count):
    rng = np.random.default_rng(count)
    names = [str(k) for k in range(count)]
    gains = rng.normal(0.3, 1.0, (1500, count))
    found = [paired_interval(row.tolist(), names) for row in gains]
    covered = np.mean([interval.low <= 0.3 <= interval.high for interval in found])
    # 93 % with five, 95 % with many; the standard error of the trials is .7 %.
    assert 0.91 <= covered <= 0.97
    drawn = gains[:, rng.integers(0, count, (2000, count))].mean(-1)
    low, high = np.percentile(drawn, (2.5, 97.5), axis=1)
    plain = np.mean((low <= 0.3) & (high >= 0.3))  # 84 % with five
    assert plain < covered - 0.01 and (count > 5 or 0.81 <= plain <= 0.87)


def test_repeated_cases_of_a_subject_do_not_narrow_the_interval():
    gains, subjects = [0.1, -0.05, 0.02, 0.04, 0.01], list("abcde")
    assert paired_interval(gains * 50, subjects * 50) == pytest.approx(paired_interval(gains, subjects))


@pytest.mark.parametrize("gains", [[0.1, 0.2, 0.4, 0.5], [0.1]])
def test_below_five_subjects_there_is_a_mean_but_no_interval(gains):
    interval = paired_interval(gains, [str(k) for k in range(len(gains))])
    assert interval.mean == pytest.approx(np.mean(gains))
    assert np.isnan(interval.low) and np.isnan(interval.high)


def test_a_gain_in_a_table_has_the_interval_that_it_has():
    assert f"{Interval(0.0123, -0.0041, 0.02):+.3f}" == "+0.012 [-0.004, +0.020]"
    assert f"{Interval(0.0123, float('nan'), float('nan')):+.2f}" == "+0.01"
    assert f"{Interval(*3 * [float('nan')]):+.2f}" == ""


def test_equal_gains_and_no_gains():
    assert paired_interval([0.5] * 5, list("abcde")) == (0.5, 0.5, 0.5)
    assert np.isnan(paired_interval([float("nan")], ["a"])).all()


def test_gains_are_paired_by_case_whatever_the_order():
    before = [row(str(k), "uncorrected", k / 10) for k in range(5)]
    after = [row(str(k), "ours", k / 10 + 0.01 * (k - 1)) for k in (3, 0, 4, 1, 2)]
    ours = next(s for s in summarise([*before, *after], GROUPS["severity"]) if s.method == "ours")
    assert ours.gains["ssim"].mean == pytest.approx(0.01)
    assert ours.num_cases == ours.num_subjects == 5
    assert ours.made_worse == pytest.approx(1 / 5)
    assert ours.clearly_worse == 0  # .01 and not more
    assert set(ours.gains) == set(METRICS)


def test_all_numbers_are_over_the_cases_that_both_have():
    rows = [row(str(k), "theirs", 0.5) for k in range(5)] + [row(str(k), "ours", 0.5 + k / 10) for k in range(12)]
    ours = next(s for s in summarise(rows, GROUPS["severity"], against="theirs") if s.method == "ours")
    assert ours.num_cases == ours.num_subjects == 5
    assert ours.means["ssim"] == pytest.approx(0.7) and ours.gains["ssim"].mean == pytest.approx(0.2)


def test_two_cases_of_one_name_are_refused():
    rows = [row("t1.nii.gz", method, 0.5, subject) for method in ("uncorrected", "ours") for subject in "ab"]
    with pytest.raises(ValueError, match=r"t1\.nii\.gz"):
        summarise(rows, GROUPS["severity"])


@pytest.mark.parametrize("lacking", ["uncorrected", "ours"])
def test_a_case_that_one_method_has_no_ssim_of_is_refused(lacking):
    rows = [row(case, method, 0.5) for case in ("1", "2") for method in ("uncorrected", "ours")]
    rows = [r._replace(ssim=float("nan")) if (r.case, r.method) == ("2", lacking) else r for r in rows]
    with pytest.raises(ValueError, match="only one of 'ours' and 'uncorrected' has an SSIM of '2'"):
        summarise(rows, GROUPS["severity"])


@pytest.mark.parametrize(("loss", "share"), [(1e-6, 0.0), (1e-4, 1.0), (0.0, 0.0), (-0.1, 0.0)])
def test_rounding_is_no_harm_and_the_smallest_real_loss_is(loss, share):
    rows = [row("1", "uncorrected", 0.5), row("1", "ours", 0.5 - loss)]
    assert summarise(rows, lambda r: Group((), "all"))[1].made_worse == share


def test_against_another_method_and_groups_that_leave_rows_out():
    rows = [row(str(k), name, value) for k in range(3) for name, value in (("a", 0.5), ("b", 0.7), ("c", 0.4))]
    rows.append(row("x", "b", 0.0, severity="severe"))
    found = summarise(rows, lambda r: Group((), "mild") if r.severity == "mild" else None, against="a")
    assert {(s.method, round(s.gains["ssim"].mean, 6)) for s in found} == {("a", 0), ("b", 0.2), ("c", -0.1)}
    assert {s.made_worse for s in found if s.method == "c"} == {1.0}


def test_what_does_not_exist_is_left_out_of_the_means():
    rows = [row("1", "uncorrected", 0.5, vif=float("nan")), row("2", "uncorrected", 0.5, vif=0.4)]
    assert summarise(rows, lambda r: Group((), "all"))[0].means["vif"] == pytest.approx(0.4)


def test_real_scans_are_a_population_of_their_own():
    assert population(row("1", "a", 0, family="real", held_out="subject")) == "real scans"
    assert population(row("1", "a", 0, family="nod", held_out="family")) == "held-out families"


@pytest.mark.parametrize("kind", GROUPS)
def test_a_group_can_be_read_back_from_what_it_is_called(kind):
    group = GROUPS[kind](row("1", "a", 0, region="knee", family="nod"))
    assert Group.of_label(group.label) == group and group.severity == "mild"
    assert group.label == f"{group.head} | mild".removeprefix(" | ")
