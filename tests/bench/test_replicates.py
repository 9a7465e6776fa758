"""Figures and intervals against hand computation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from bench.replicates import by_policy, figures_of, replicate
from tests.bench.outcomes import outcome, outcomes


def test_figures_of_one_policy() -> None:
    rows = [*outcomes("a", [1.0, 2.0, 3.0], [1.0, 0.0, 1.0]), outcome("a", 3, 0.0, 99.0, is_failed=True)]
    [figures] = figures_of(by_policy(rows)["a"][None]).rows()
    assert figures["score"] == 0.5  # the failed query scores 0
    assert (figures["seconds"], figures["seconds_p50"], figures["cp_tokens"]) == (2.0, 2.0, 20.0)  # and took no time
    assert figures["seconds_p95"] == pytest.approx(2.9)


@pytest.mark.filterwarnings("ignore:(Mean of empty|All-NaN) slice")
def test_where_all_failed_there_are_no_seconds() -> None:
    [figures] = figures_of(by_policy([outcome("a", 0, 0.0, is_failed=True)])["a"][None]).rows()
    assert figures["score"] == 0.0
    assert math.isnan(figures["seconds"])


def test_over_seeds_it_is_students_interval() -> None:
    replicates = replicate([outcomes("a", [s, s]) for s in (1.0, 2.0, 6.0)])
    estimate = replicates.estimate(lambda seen: seen["a"].seconds)
    low, high = stats.t.interval(0.95, 2, loc=3.0, scale=np.std([1, 2, 6], ddof=1) / 3**0.5)
    assert replicates.kind == "seeds"
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((3.0, low, high))


def test_differences_are_paired() -> None:
    """Seeds differ a hundredfold; the difference within each does not."""
    replicates = replicate([outcomes("a", [s]) + outcomes("b", [s + 1]) for s in (1.0, 10.0, 100.0)])
    estimate = replicates.estimate(lambda seen: seen["b"].seconds - seen["a"].seconds)
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((1.0, 1.0, 1.0))


def test_over_the_queries_of_one_seed_it_is_the_bootstraps() -> None:
    rng = np.random.default_rng(1)
    seconds = rng.exponential(2.0, 400).tolist()
    replicates = replicate([outcomes("a", seconds) + outcomes("b", [2 * s for s in seconds])])
    alone = replicates.estimate(lambda seen: seen["a"].seconds)
    half = 1.96 * np.std(seconds) / 20
    assert replicates.kind == "queries"
    assert (alone.low, alone.high) == pytest.approx((alone.value - half, alone.value + half), abs=0.2 * half)
    ratio = replicates.estimate(lambda seen: seen["b"].seconds / seen["a"].seconds)
    assert (ratio.low, ratio.high) == pytest.approx((2.0, 2.0))  # both lose and win the same queries


def test_a_policy_that_lacks_a_query_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="b ran on 1 of 2 queries"):
        replicate([outcomes("a", [1.0, 1.0]) + outcomes("b", [1.0])])
