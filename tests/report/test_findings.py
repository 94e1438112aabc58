"""Sentences and tables from a summary: true to its numbers, and honest where nothing was gained."""

from __future__ import annotations

import pytest

from mocodis_monai.report.findings import OTHER_WEIGHTS, markdown, verdict

HEAD = "held-out regions"


def interval(mean, low=None, high=None):
    return {"mean": mean, "low": low, "high": high}


def group(name, method, ssim, gain, worse=0.25, **means):
    numbers = {"ssim": ssim, "psnr_db": 20.0, "aes": 0.05, "score_mm": 1.0, "surprise_nats": 3.0, **means}
    nothing = interval(None)
    return {
        "group": name,
        "method": method,
        "against": "uncorrected",
        "num_cases": 12,
        "means": numbers,
        "gains": {"ssim": gain, "psnr_db": nothing},
        "made_worse": worse,
        "clearly_worse": 0.0,
    }


def summary(severities, methods=("uncorrected", "ours"), against=(), **about):
    """``severities``: the SSIM before, after and the interval of the gain, by severity."""
    pooled, split = [], []
    for severity, (before, after, gain) in severities.items():
        for method in methods:
            ssim, change = (before, interval(0.0)) if method == "uncorrected" else (after, gain)
            pooled.append(group(severity, method, ssim, change))
            split.append(group(f"{HEAD} | {severity}", method, ssim, change))
    groups = {"severity": pooled, "population and severity": split, "against others": list(against), "cell": split}
    return {"about": {"parameters": {"ours": 7}, **about}, "methods": list(methods), "groups": groups}


def test_what_is_gained_what_is_lost_and_what_nobody_can_tell():
    said = " ".join(
        verdict(
            summary(
                {
                    "none": (1.0, 0.9991, interval(-0.0009, -0.001, -0.0008)),
                    "mild": (0.9, 0.89, interval(-0.01, -0.02, -0.005)),
                    "moderate": (0.8, 0.801, interval(0.001, -0.002, 0.004)),
                    "severe": (0.6, 0.64, interval(0.04, 0.03, 0.05)),
                }
            )
        )
    )
    assert "raises SSIM at severe motion (+0.040 [+0.030, +0.050])" in said
    assert "lowers SSIM at mild motion (-0.010" in said
    assert "no sure effect on SSIM at moderate motion" in said
    assert "10% of the similarity that it took comes back: most of the artifact remains" in said  # .04 of .4
    assert "25% of the cases are made worse" in said
    assert "come back at SSIM 0.9991" in said


@pytest.mark.parametrize(
    ("after", "words"), [(0.9, "75% of the similarity that it took comes back: most of the artifact is gone"),
                         (0.55, "nothing of it comes back: most of the artifact remains")]
)  # fmt: skip
def test_how_much_remains(after, words):
    gain = interval(after - 0.6, after - 0.61, after - 0.59)
    assert words in " ".join(verdict(summary({"severe": (0.6, after, gain)})))


def test_of_real_pairs_no_share_of_the_similarity_is_called_motion():
    (gain, spoilt) = verdict(summary({"pairs": (0.7, 0.72, interval(0.02, 0.01, 0.03))}, released=True))
    assert "raises SSIM at real motion (+0.020" in gain
    assert spoilt == "At real motion 25% of the cases are made worse."


@pytest.mark.parametrize(("about", "others"), [({"released": True}, False), ({"released": False}, True), ({}, True)])
def test_what_is_held_out_is_said_to_be_meant_of_the_released_weights(about, others):
    found = summary({"severe": (0.6, 0.64, interval(0.04, 0.03, 0.05))}, **about)
    assert (OTHER_WEIGHTS in verdict(found)) is (OTHER_WEIGHTS in markdown(found)) is others


def test_an_interval_that_does_not_exist_is_not_sure():
    assert "too few subjects to be judged at severe" in verdict(summary({"severe": (0.6, 0.7, interval(0.1))}))[0]


def test_the_motion_score_has_a_table_where_there_was_simulated_motion():
    cases = {"none": (1.0, 1.0, interval(0.0)), "severe": (0.6, 0.64, interval(0.04, 0.03, 0.05))}
    found = summary(cases, released=True) | {"score_rank_correlation": {HEAD: 0.876}}
    lines = markdown(found).strip().splitlines()[-3:]
    assert lines[0] == "| motion score in mm | none | severe | rank correlation with the displacement |"
    assert lines[2] == f"| {HEAD} | 1.0 | 1.0 | 0.88 |"
    assert "motion score in mm" not in markdown(summary(cases))


def test_the_table_has_a_line_for_each_severity_and_its_numbers():
    cases = {"none": (1.0, 1.0, interval(0.0)), "severe": (0.6, 0.64, interval(0.04, 0.03, 0.05))}
    lines = markdown(summary(cases, released=True)).strip().splitlines()
    assert len(lines) == 4 and len({line.count("|") for line in lines}) == 1
    assert lines[3].startswith(f"| {HEAD} | severe | 12 | 0.600 | 0.640 | +0.040 [+0.030, +0.050] | 25% | 0% | 20.0 |")


def test_other_methods_stand_beside_ours_with_the_gain_of_ours_over_them():
    ahead = {**group(f"{HEAD} | severe", "ours", 0.64, interval(0.02, 0.01, 0.03)), "against": "other"}
    found = summary(
        {"none": (1.0, 0.99, interval(-0.01)), "severe": (0.6, 0.64, interval(0.04, 0.03, 0.05))},
        methods=("uncorrected", "ours", "other"),
        against=[ahead],
        training_cpu_s={"ours": 120.0},
        seconds_per_volume={"ours": 30.4},
    )
    lines = markdown(found).splitlines()
    assert f"| {HEAD} | other | 0.990 | 0.640 | +0.040 [+0.030, +0.050] | 25% | +0.020 [+0.010, +0.030] |" in lines
    assert f"| {HEAD} | uncorrected | 1.000 | 0.600 |  |  |  |" in lines
    assert "| ours | 7 | 2 | 30 |" in lines


def test_scans_alone_have_a_table_without_truth():
    found = summary({})
    alone = {**group("clinic | real | moved alone", "ours", None, interval(None)), "made_worse": None}
    before = {**alone, "method": "uncorrected"}
    found["groups"]["cell"] = [before, alone]
    found["groups"]["severity"] = [{**alone, "group": "moved alone"}]
    assert "| clinic | 12 | 0.0500 | 0.0500 | 1.00 | 3.00 |" in markdown(found)
    assert "no truth to compare with" in " ".join(verdict(found))


def test_a_missing_row_is_named():
    assert "no Colin27" in markdown(summary({"severe": (0.6, 0.7, interval(0.1))}, missing="no Colin27"))
