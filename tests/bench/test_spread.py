"""Medians, spreads and intervals, against values worked out by hand."""

from __future__ import annotations

import pytest

from bench.spread import Ratio, Spread, paired_ratio, spread


def test_spread_by_hand() -> None:
    # Sorted 1 2 3 4 10: quartiles at positions 1 and 3.
    assert spread([3, 1, 10, 2, 4]) == Spread(median=3, q25=2, q75=4, min=1, max=10, num_values=5)


def test_spread_interpolates_between_two_values() -> None:
    assert spread([1.0, 2.0]) == Spread(1.5, 1.25, 1.75, 1.0, 2.0, 2)


def test_spread_of_one_value_is_that_value() -> None:
    assert spread([7.0]) == Spread(7.0, 7.0, 7.0, 7.0, 7.0, 1)


def test_ratio_of_one_pair_has_no_interval() -> None:
    assert paired_ratio([0.5]) == Ratio(0.5, None, None, 1)


def test_ratio_of_equal_pairs_has_an_interval_of_no_width() -> None:
    assert paired_ratio([0.5, 0.5, 0.5]) == Ratio(0.5, 0.5, 0.5, 3)


def test_interval_of_two_ratios() -> None:
    # Resamples: both low (1/4), both high (1/4), else the middle. 2.5% is inside the first, 97.5% inside the last.
    ratio = paired_ratio([0.4, 0.6])
    assert ratio.median == pytest.approx(0.5)
    assert (ratio.low, ratio.high) == (0.4, 0.6)


def test_interval_is_the_same_every_time_and_holds_the_median() -> None:
    ratios = [0.41, 0.73, 0.55, 0.62, 0.48, 0.9]
    first = paired_ratio(ratios)
    assert first == paired_ratio(ratios)
    assert first.low is not None
    assert first.high is not None
    assert first.low < first.median < first.high
