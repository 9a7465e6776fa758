"""Slopes, levels and the regression against figures made by hand, and what is held out of which fit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.predictors import (
    COUNTS,
    Block,
    Floats,
    Rollout,
    compare_level,
    describe_rollouts,
    fit_predictors,
    is_new,
    regress,
    token_slope,
)
from lamas_local.config import LatencyConfig
from lamas_local.cost_model import CostModel, mape
from lamas_local.trace import RolloutTrace
from tests.lamas_local.builders import layer, operator, tool, trace
from tests.lamas_local.synthetic_engine import Arrival, serve

ENGINE = CostModel(0.05, 0.004, 0.002, wait_s=0.01, wait_steps=1.0, return_s=0.003)


def block(concurrency: int, engine: CostModel = ENGINE, num: int = 24) -> Block:
    """Rollouts of one operator; `concurrency` of them start together and have equal requests."""
    traces = []
    for group in range(num // concurrency):
        start = 1000.0 * concurrency + 50.0 * group
        spans = serve([Arrival(start, 10 + 13 * group, 5 + 7 * (group % 5))] * concurrency, engine)
        for index, span in enumerate(spans):
            wall_s = span.ended - start
            rollout = trace(
                layer(operator(span, seconds=wall_s)), wall_s=wall_s, query_id=f"{concurrency}-{group}-{index}"
            )
            traces.append(rollout)
    return Block(concurrency, tuple(traces))


def timed(cp_tokens: int, seconds: float, query_id: str = "q") -> RolloutTrace:
    return trace(layer(operator(cp_tokens, seconds=seconds)), wall_s=seconds, query_id=query_id)


pairs = st.lists(st.tuples(st.integers(1, 500), st.floats(0.1, 100.0)), min_size=1, max_size=12)


@given(pairs, st.floats(0.01, 5.0))
def test_no_other_slope_has_a_smaller_error(found: list[tuple[int, float]], factor: float) -> None:
    slope = token_slope([timed(tokens, seconds) for tokens, seconds in found])
    tokens, seconds = np.array(found).T
    best, other = mape(slope * tokens, seconds), mape(factor * slope * tokens, seconds)
    assert best is not None
    assert other is not None
    assert best <= other + 1e-9


def test_a_slope_by_hand() -> None:
    # Seconds per token 0.1, 0.2 and 0.5, with weights 10, 5 and 2.
    assert token_slope([timed(10, 1.0), timed(10, 2.0), timed(10, 5.0), timed(0, 3.0)]) == pytest.approx(0.1)
    assert token_slope([timed(100, 10.0)]) == pytest.approx(0.1)


def test_an_engine_that_does_as_the_model_says_is_predicted() -> None:
    blocks = [block(1), block(4), block(8)]
    predictors = fit_predictors(blocks)
    levels = [compare_level(one.concurrency, [one], predictors, LatencyConfig()) for one in blocks]
    for level, one in zip(levels, blocks, strict=True):
        assert level.num_rollouts == len(one.traces)
        assert level.num_held_out == sum(map(is_new, one.traces))
        assert 0 < level.num_held_out < level.num_rollouts
        assert level.calibrated_mape == pytest.approx(0, abs=1e-3)
        assert level.calibrated_request_mape == pytest.approx(0, abs=1e-3)
        assert level.running_mean == pytest.approx(one.concurrency)
        assert level.one_slope_mape is not None
        assert level.one_slope_mape > 0.02
    assert levels[0].reference_mape == pytest.approx(0, abs=1e-3)
    assert levels[2].reference_mape is not None
    assert levels[2].reference_mape > 0.1, "eight at once take longer than one alone"
    assert levels[0].slope_s_per_token is not None
    assert levels[2].slope_s_per_token is not None
    assert levels[2].slope_s_per_token > levels[0].slope_s_per_token


def test_what_is_held_out_moves_no_fit() -> None:
    before = [block(1), block(4)]

    def slower(trace: RolloutTrace) -> RolloutTrace:
        """Its last token twice as late: the load of the others barely changes, they are alone."""
        span = trace.layers[0].operators[0].steps[0][0]
        assert span.kind == "request"
        assert span.timing is not None
        late = replace(span.timing, returned=span.timing.returned + 30.0)
        return replace(
            trace, ended=trace.ended + 30.0, layers=(layer(operator(replace(span, timing=late), seconds=99.0)),)
        )

    after = [replace(one, traces=tuple(slower(t) if is_new(t) else t for t in one.traces)) for one in before]
    assert fit_predictors(after) == fit_predictors(before)
    fitted_to = [replace(one, traces=tuple(t if is_new(t) else slower(t) for t in one.traces)) for one in before]
    assert fit_predictors(fitted_to) != fit_predictors(before)


def test_a_level_without_anything_held_out_has_no_figures() -> None:
    blocks = [block(1)]
    predictors = fit_predictors(blocks)
    known = [replace(one, traces=tuple(t for t in one.traces if not is_new(t))) for one in blocks]
    level = compare_level(1, known, predictors, LatencyConfig())
    assert level.num_held_out == 0
    assert (level.seconds_mean, level.calibrated_mape, level.one_slope_mape, level.pearson) == (None,) * 4


def test_a_rollout_by_hand() -> None:
    spans = serve([Arrival(0.0, 20, 5, cached_tokens=16), Arrival(0.01, 30, 7)], ENGINE)
    found = trace(layer(operator((spans[0], spans[1]), tool(2.0, waited=1.0), seconds=5.0)), wall_s=5.0)
    rollout = describe_rollouts(Block(3, (found,)), ENGINE)[0]
    # The second comes when the first one's first step has begun: 50 + 4 + 40 ms from 0.01 on.
    assert rollout.waiting_s == pytest.approx(0.01 + 0.094)
    assert (rollout.concurrency, rollout.seconds, rollout.calls, rollout.tool_s) == (3, 5.0, 2, 2.0)
    assert (rollout.output_tokens, rollout.prompt_tokens, rollout.cached_tokens) == (12, 66, 16)
    assert rollout.cp_tokens == 7 + 2 * 50
    assert rollout.calibrated_s - rollout.reference_s > 0.5, "the tool's wait is no part of the reference"


# Regression


def rollouts_of(rows: Floats, seconds: Floats) -> list[Rollout]:
    """Rollouts with the counts of a row each."""
    blank = Rollout(1, "q", False, 0.0, 0.0, 0.0, 0.0, 0, 0, 0, 0, 0.0, 0.0)
    return [
        replace(blank, seconds=float(s), **dict(zip(COUNTS, row.tolist(), strict=True)))
        for row, s in zip(rows, seconds, strict=True)
    ]


def test_coefficients_are_recovered() -> None:
    rng = np.random.default_rng(0)
    rows = rng.uniform(0, 100, (40, len(COUNTS)))
    rows[:, COUNTS.index("tool_s")] = 0.0
    weights = np.array([0.1, 0.02, 0.001, 0.0, 0.3, 1.0, 5.0])
    found = regress(rollouts_of(rows, 2.0 + rows @ weights))
    assert found["together"]["r2"] == pytest.approx(1.0)
    assert found["together"]["intercept_s"] == pytest.approx(2.0)
    coefficients = found["together"]["s_per_unit"]
    assert [coefficients[name] for name in COUNTS[:-1]] == pytest.approx(weights[:-1].tolist(), abs=1e-9)
    assert (coefficients["tool_s"], found["alone"]["tool_s"]) == (None, None), "it never varies"


def test_r2_alone_is_the_square_of_the_correlation() -> None:
    rng = np.random.default_rng(1)
    rows = rng.uniform(0, 100, (30, len(COUNTS)))
    seconds = rng.uniform(1, 9, 30)
    found = regress(rollouts_of(rows, seconds))
    for index, name in enumerate(COUNTS):
        assert found["alone"][name] == pytest.approx(np.corrcoef(rows[:, index], seconds)[0, 1] ** 2)
    assert max(found["alone"].values()) <= found["together"]["r2"] <= 1
