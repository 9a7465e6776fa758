"""The multiplier by hand, its invariants, the tail it reads from small batches, and where it settles."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lamas_local.config import ObjectiveConfig
from lamas_local.dual_ascent import BOUND, FLOOR_GAIN, SATURATED, START, TAIL_WINDOW, DualAscent, RunningMean


def budget(seconds: float = 2.0, **settings: Any) -> DualAscent:
    return DualAscent(ObjectiveConfig(kind="latency_budget", latency_budget_s=seconds, **settings))


def floor(share: float = 0.9, baseline: float = 0.5, **settings: Any) -> DualAscent:
    return DualAscent(
        ObjectiveConfig(kind="score_floor", score_floor_share=share, score_floor_baseline=baseline, **settings)
    )


def test_a_running_mean_by_hand() -> None:
    mean = RunningMean(0.8)
    mean.add(3.0)
    assert mean.value == pytest.approx(3.0)
    mean.add(6.0)  # weights 0.8 and 1
    assert mean.value == pytest.approx((0.8 * 3.0 + 6.0) / 1.8)


def test_a_budget_by_hand() -> None:
    dual = budget(2.0, multiplier_rate=0.2, multiplier_damping=0.5, multiplier_momentum=0.0, cost_weight=3.0)
    dual.observe([2.0, 4.0], [0.0, 1.0])  # a mean of 3 s: half too long
    mu = math.exp(START["latency_budget"] + 0.2 * 0.5 + 0.5 * 0.5)
    assert dual.latency_weight == pytest.approx(mu / 3.0)
    weights = dual.weights()
    assert weights.score == pytest.approx(1 / (1 + mu))
    assert weights.cost == pytest.approx(3.0 / (1 + mu))
    assert weights.latency == pytest.approx(mu / 3.0 / (1 + mu))
    assert dual.metrics() == {
        "multiplier": pytest.approx(mu / 3.0),
        "constraint_value": 3.0,
        "constraint_target": 2.0,
    }
    dual.observe([1.0, 1.0], [0.0, 1.0])  # half below: the integral is back where it was
    assert dual.latency_weight == pytest.approx(math.exp(START["latency_budget"] - 0.5 * 0.5) / 1.0)


def test_a_floor_by_hand() -> None:
    dual = floor(0.9, 0.5, multiplier_rate=0.2, multiplier_damping=0.5, multiplier_momentum=0.0)
    assert dual.target == pytest.approx(0.45)
    dual.observe([2.0], [0.36])  # a fifth below the floor, so seconds count less
    push = FLOOR_GAIN * 0.2
    assert dual.latency_weight == pytest.approx(math.exp(START["score_floor"] - 0.2 * push - 0.5 * push) / 2.0)


def test_one_step_pushes_no_further_than_the_largest_push() -> None:
    dual = budget(2.0, multiplier_rate=0.2, multiplier_damping=0.5)
    dual.observe([200.0], [1.0])
    assert dual.integral == pytest.approx(START["latency_budget"] + 0.2)
    assert dual.log_multiplier == pytest.approx(START["latency_budget"] + 0.7)


def test_the_integral_does_not_wind_up_while_the_multiplier_is_saturated() -> None:
    dual = budget(0.2, multiplier_rate=0.2, multiplier_damping=5.0, multiplier_momentum=0.0)
    for _ in range(100):  # six times too long: 0.1 * e^5 is past 10
        dual.observe([1.2], [1.0])
    assert dual.integral == START["latency_budget"]
    dual.observe([0.2], [1.0])
    assert dual.log_multiplier == pytest.approx(START["latency_budget"])


def test_without_much_damping_the_integral_rises_until_the_multiplier_is_saturated() -> None:
    dual = budget(0.2, multiplier_rate=0.2, multiplier_damping=0.5)
    for _ in range(100):
        dual.observe([1.2], [1.0])
    assert SATURATED <= dual.log_multiplier <= SATURATED + 0.2


def test_a_floor_that_is_to_be_measured_has_no_target_yet() -> None:
    objective = ObjectiveConfig(kind="score_floor", score_floor_share=0.9)
    assert DualAscent(objective).target is None


batches = st.lists(
    st.tuples(
        st.lists(st.floats(0.01, 1e3), min_size=1, max_size=8), st.lists(st.floats(0, 1), min_size=1, max_size=8)
    ),
    min_size=1,
    max_size=12,
)
duals = st.sampled_from([budget, lambda: budget(2.0, latency_budget_statistic="p95"), floor])


@given(batches, duals)
def test_the_weights_are_bounded_and_never_negative(rows: list[Any], new: Callable[[], DualAscent]) -> None:
    dual = new()
    for lengths, scores in rows:
        dual.observe(lengths, scores)
        weights = dual.weights()
        assert 0 < weights.score < 1
        assert weights.latency > 0
        assert weights.score + weights.latency * dual.length_s.value == pytest.approx(1.0)
        assert abs(dual.log_multiplier) <= BOUND


@given(batches, duals, st.integers(0, 11))
def test_going_on_from_a_state_is_going_on(rows: list[Any], new: Callable[[], DualAscent], stop: int) -> None:
    whole, parts = new(), new()
    for i, (lengths, scores) in enumerate(rows):
        if i == stop:
            state = json.loads(json.dumps(parts.state()))
            parts = new()
            parts.restore(state)
        whole.observe(lengths, scores)
        parts.observe(lengths, scores)
    assert parts.state() == whole.state()
    assert parts.weights() == whole.weights()


@given(batches, st.floats(0.01, 100))
def test_the_unit_of_time_changes_nothing(rows: list[Any], unit: float) -> None:
    ours, theirs = budget(2.0), budget(2.0 * unit)
    for lengths, scores in rows:
        ours.observe(lengths, scores)
        theirs.observe([length * unit for length in lengths], scores)
    assert theirs.latency_weight * unit == pytest.approx(ours.latency_weight)


@pytest.mark.parametrize("size", [8, 16, 32])
@pytest.mark.parametrize(
    "distribution", [stats.expon(), stats.lognorm(0.5), stats.gamma(4.0)], ids=["exponential", "lognormal", "gamma"]
)
def test_the_tail_of_a_known_distribution(distribution: Any, size: int) -> None:
    """Unbiased within 3%, whatever the size of a batch."""
    rng = np.random.default_rng(0)
    errors = []
    for _ in range(20):
        dual = budget(2.0, latency_budget_statistic="p95")
        for _ in range(800 // size):
            dual.observe((3.0 * distribution.rvs(size, random_state=rng)).tolist(), [1.0])
        errors.append(dual.value / (3.0 * distribution.ppf(0.95)) - 1)
    assert np.mean(errors) == pytest.approx(0.0, abs=0.03)
    assert np.std(errors) < 0.2


def test_the_tail_follows_a_change_of_scale_before_the_window_has_passed() -> None:
    rng = np.random.default_rng(1)
    dual = budget(2.0, latency_budget_statistic="p95")
    lengths: list[float] = []
    for scale in [3.0] * 30 + [1.0] * 12:
        lengths += (scale * rng.gamma(4.0, size=16)).tolist()
        dual.observe(lengths[-16:], [1.0])
    truth = float(stats.gamma(4.0).ppf(0.95))
    assert dual.value == pytest.approx(truth, rel=0.2)
    assert np.percentile(lengths[-TAIL_WINDOW:], 95) > 1.4 * truth, "the window's own percentile is far behind"


def test_a_slack_budget_costs_next_to_nothing() -> None:
    dual = budget(10.0)
    for _ in range(100):
        dual.observe([6.0], [1.0])
    assert dual.weights().latency * 6.0 < 0.01
