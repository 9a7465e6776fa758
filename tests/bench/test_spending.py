"""Engine tokens and learning curves by hand."""

from __future__ import annotations

import pytest

from bench.learning_curves import WINDOW, running_mean
from bench.spending import CurvePoint, learning_curve, spent
from lamas_local.config import LatencyConfig
from lamas_local.cost_model import CostModel
from lamas_local.trace import Failure
from tests.lamas_local.builders import layer, operator, request, trace

TRACES = [
    trace(layer(operator(request(20, prompt_tokens=100))), layer(operator((request(5), request(6)))), step=1),
    trace(layer(operator(request(20, prompt_tokens=100), is_reused=True), operator(7)), step=1, score=0.0),
    trace(layer(operator(request(20, prompt_tokens=100), is_reused=True)), step=2),
    trace(layer(operator(9)), step=3, failure=Failure("E", "e")),
]


def test_what_was_reused_was_paid_for_where_it_ran() -> None:
    cost = spent(TRACES)
    assert (cost.num_updates, cost.num_rollouts, cost.num_runs, cost.num_reused_runs) == (3, 4, 4, 2)
    assert (cost.prompt_tokens, cost.output_tokens, cost.tokens) == (100, 20 + 5 + 6 + 7 + 9, 147)


def test_a_reused_run_counts_with_its_seconds() -> None:
    model = CostModel(0.5, 0.0, 0.0, wait_s=0.0, wait_steps=0.0, return_s=0.0)
    points = learning_curve(TRACES, LatencyConfig(signal="calibrated"), model)
    assert [(point.tokens, point.score) for point in points] == [(138, 0.5), (138, 1.0)]
    assert [point.seconds for point in points] == pytest.approx([(13.0 + 10.0) / 2, 10.0])


def test_without_a_model_seconds_are_the_proxys() -> None:
    [point] = learning_curve(TRACES[2:], LatencyConfig(tokens_per_second=10.0), None)
    assert point == CurvePoint(tokens=0, score=1.0, seconds=2.0)


def test_running_mean() -> None:
    assert running_mean([1.0, 3.0]) == [1.0, 2.0]
    assert running_mean([9.0] + [2.0] * WINDOW)[-1] == 2.0
