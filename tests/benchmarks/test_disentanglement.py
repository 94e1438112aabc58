"""The controls of disentanglement: what the codes of the twin keep, beside those of another trajectory and none."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("sklearn")

from benchmarks.disentanglement import Looked, look, motion_lines, pairs


def test_the_twin_is_measured_against_both_controls():
    nothing = dict.fromkeys(Looked._fields, 0.0)
    errors = [{"own_error": a, "swapped_error": b, "other_error": c, "null_error": d}
              for a, b, c, d in ((0.02, 0.03, 0.05, 0.06), (0.04, 0.05, 0.07, 0.08))]  # fmt: skip
    first, second, third = motion_lines([Looked(**{**nothing, **error}) for error in errors])
    assert first == "c. mean absolute error with own motion codes 0.0300, with the twin's 0.0400: 1.33 times"
    assert second == "   with those of another trajectory 0.0600: 2.00 times, with none 0.0700: 2.33 times"
    assert third == "   of what own codes gain over none, the twin's keep 75%, those of another trajectory 25%"


def test_each_control_is_drawn_with_its_own_codes(small_corrector):
    network = small_corrector().eval()
    (sample, regions), (other, _) = pairs(2)
    found, with_itself = (look(network, sample, lent, regions) for lent in (other, sample))
    for row, same in zip(found, with_itself, strict=True):
        assert same.other_error == pytest.approx(same.own_error)  # its own codes, if lent by itself
        assert row.other_error != pytest.approx(row.own_error, rel=1e-6)
        assert (row.own_error, row.swapped_error, row.null_error) == (
            same.own_error, same.swapped_error, same.null_error)  # fmt: skip
    assert len({round(error, 9) for error in found[0][5:9]}) == 4
    assert all(torch.isfinite(torch.tensor(found[0][5:9])))
