"""How full a batch was, by hand."""

from __future__ import annotations

import pytest

from bench.served import Served, seconds_with

RUNNING = ((0.0, 4.0), (1.0, 3.0), (2.0, 6.0))
"""Depth 1 from 0, 2 from 1, 3 from 2, 2 from 3, 1 from 4, none from 6."""


@pytest.mark.parametrize(("at_least", "seconds"), [(1, 6.0), (2, 3.0), (3, 1.0), (4, 0.0)])
def test_seconds_with(at_least: int, seconds: float) -> None:
    assert seconds_with(RUNNING, at_least) == pytest.approx(seconds)


def test_a_gap_counts_for_nobody() -> None:
    assert seconds_with([(0.0, 1.0), (3.0, 4.0)], 1) == pytest.approx(2.0)


def test_one_ends_as_the_next_begins() -> None:
    assert seconds_with([(0.0, 1.0), (1.0, 2.0)], 2) == 0.0


def test_served() -> None:
    served = Served(8.0, 3, 100, 50, 40, RUNNING)
    assert served.tokens_per_s == 5.0
    assert served.mean_running == pytest.approx(10 / 8)
    assert served.share_below(2) == pytest.approx(5 / 8)
