"""Numbers of reports: what does not exist leaves its place empty."""

from __future__ import annotations

import math

import pytest

from mocodis_monai.report.numbers import number, percent


def test_numbers_have_the_decimals_that_are_asked_for():
    assert (number(0.12345), number(-1.005, 1), percent(0.256)) == ("0.123", "-1.0", "26%")


@pytest.mark.parametrize("nothing", [None, math.nan, math.inf])
def test_what_does_not_exist_is_empty(nothing):
    assert number(nothing) == percent(nothing) == ""
