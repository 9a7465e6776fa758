"""Signals, cost and the agreement of proxy and clock, against figures made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from lamas_local.config import LatencyConfig, ObjectiveConfig
from lamas_local.cost_model import CostModel
from lamas_local.latency import Latency, cost_usd, measure, proxy_agreement, requests, signal_path, used_signal
from lamas_local.trace import LayerSpan
from tests.lamas_local.builders import layer, operator, request, tool, trace

TOKENS = LatencyConfig(signal="tokens")
MEASURED = LatencyConfig(signal="measured")


def latency(tokens: int, wall_s: float) -> Latency:
    """Of a rollout of one operator."""
    return measure(trace(layer(operator(tokens, seconds=wall_s)), wall_s=wall_s), TOKENS)


def test_both_numbers_exist_for_every_rollout() -> None:
    rollout = trace(layer(operator(100, seconds=3.0)), finaliser=layer(seconds=0.5), wall_s=3.75)
    for config in (TOKENS, MEASURED):
        both = measure(rollout, config)
        assert (both.tokens.length, both.proxy_s) == (100, 2.0)
        assert (both.seconds.length, both.wall_s) == (3.5, 3.75)


def test_the_signal_is_in_seconds_whichever_it_is() -> None:
    both = measure(trace(layer(operator(100, seconds=3.0))), TOKENS)
    assert signal_path(both, TOKENS) == (2.0, both.tokens, 0.02)
    assert signal_path(both, MEASURED) == (3.0, both.seconds, 1.0)


def test_calibrated_is_what_the_model_predicts_at_the_reference_load() -> None:
    model = CostModel(0.1, 0.01, 0.0, wait_s=0.0, wait_steps=0.0, return_s=0.0)
    # Measured, the shorter answer took longer.
    rollout = trace(layer(operator(11, seconds=9.0), operator(21, seconds=2.0)))
    for load in (0, 5):
        config = LatencyConfig(signal="calibrated", reference_load=load)
        found = measure(rollout, config, model)
        # 11 steps with both, 10 more with one.
        expected = 11 * (0.1 + 0.01 * (2 + load)) + 10 * (0.1 + 0.01 * (1 + load))
        assert found.calibrated is not None
        assert found.calibrated.length == pytest.approx(expected)
        assert (set(found.seconds.critical[0]), set(found.calibrated.critical[0])) == ({0}, {1})
        assert signal_path(found, config) == (found.calibrated.length, found.calibrated, 1.0)
        assert used_signal(found, config) == "calibrated"


def test_before_there_is_a_model_calibrated_is_measured() -> None:
    config = LatencyConfig(signal="calibrated")
    found = measure(trace(layer(operator(100, seconds=3.0))), config)
    assert found.calibrated is None
    assert used_signal(found, config) == "measured"
    assert signal_path(found, config) == signal_path(found, MEASURED)


def test_tokens_per_second_turns_tool_time_into_tokens_and_tokens_into_seconds() -> None:
    config = LatencyConfig(signal="tokens", tokens_per_second=10.0)
    both = measure(trace(layer(operator(100, tool(3.0)))), config)
    assert both.tokens.length == pytest.approx(130)
    assert both.proxy_s == pytest.approx(13.0)


def test_cost_is_the_sum_over_the_rollouts_own_requests() -> None:
    first = operator(request(1000, prompt_tokens=2000), (request(500, prompt_tokens=100), tool(1.0)))
    rollout = trace(layer(first), layer(), finaliser=layer(operator(request(10, prompt_tokens=20))))
    assert len(requests(rollout)) == 3
    assert cost_usd(rollout, ObjectiveConfig()) == pytest.approx((2120 * 0.15 + 1510 * 0.60) / 1e6)
    free_prompts = ObjectiveConfig(usd_per_million_input_tokens=0.0, usd_per_million_output_tokens=1.0)
    assert cost_usd(rollout, free_prompts) == pytest.approx(0.00151)


def test_agreement_against_numpy() -> None:
    tokens, seconds = [50, 100, 400, 150], [1.5, 2.0, 6.0, 5.0]
    agreement = proxy_agreement([latency(t, s) for t, s in zip(tokens, seconds, strict=True)])
    proxy = np.array(tokens) / 50
    assert agreement.pearson == pytest.approx(np.corrcoef(proxy, seconds)[0, 1])
    ranks = [0, 1, 3, 2], [0, 1, 3, 2]
    assert agreement.spearman == pytest.approx(np.corrcoef(*ranks)[0, 1])
    assert agreement.proxy_mape == pytest.approx(np.mean(np.abs(proxy - seconds) / seconds))
    assert agreement.critical_agreement is None  # no layer had two operators to choose from


def test_critical_agreement_counts_layers_with_a_choice() -> None:
    agree = layer(operator(10, seconds=1.0), operator(20, seconds=2.0))
    differ = layer(operator(10, seconds=2.0), operator(20, seconds=1.0))
    alone = layer(operator(10, seconds=1.0))
    rollouts = [trace(agree, differ, alone), trace(agree, layer())]
    agreement = proxy_agreement([measure(rollout, TOKENS) for rollout in rollouts])
    assert agreement.critical_agreement == pytest.approx(2 / 3)


def test_operators_that_ran_one_after_another_leave_nothing_to_agree_on() -> None:
    two = layer(operator(10, seconds=2.0), operator(20, seconds=1.0))
    assert proxy_agreement([measure(trace(two, mode="sequential"), TOKENS)]).critical_agreement is None


def test_without_barriers_layers_count_where_one_of_both_paths_passes_through() -> None:
    def agreement(*layers: LayerSpan) -> float | None:
        return proxy_agreement([measure(trace(*layers, mode="dataflow", started=0.0), TOKENS)]).critical_agreement

    both = layer(operator(10, seconds=1.0), operator(90, seconds=9.0))
    passed_by = layer(operator(10, seconds=1.0), operator(20, seconds=2.0))
    assert agreement(both, passed_by) == 1.0
    # The clock's path is the second layer's first operator instead; the third layer is on neither path.
    by_clock = layer(operator(10, seconds=12.0), operator(20, seconds=2.0))
    assert agreement(both, by_clock, passed_by) == 0.0
    # One operator that the clock alone names leaves no choice.
    alone = layer(operator(0, seconds=5.0, started=9.0, reads="solution"))
    assert agreement(both, alone) == 1.0


@pytest.mark.parametrize(
    "pairs",
    [
        [],
        [(50, 1.0)],
        [(50, 1.0), (100, 2.0)],  # two points always correlate perfectly
        [(50, 1.0), (50, 2.0), (50, 3.0)],
        [(50, 1.0), (60, 1.0), (70, 1.0)],
    ],
)
def test_an_undefined_correlation_is_none(pairs: list[tuple[int, float]]) -> None:
    agreement = proxy_agreement([latency(*pair) for pair in pairs])
    assert agreement.pearson is None
    assert agreement.spearman is None
    assert (agreement.proxy_mape is None) == (not pairs)


def test_a_rollout_that_took_no_time_has_no_relative_error() -> None:
    assert proxy_agreement([latency(50, 0.0)]).proxy_mape is None


def test_before_there_is_a_model_what_was_reused_is_measured_in_tokens() -> None:
    config = LatencyConfig(signal="calibrated")
    found = measure(trace(layer(operator(100, seconds=0.0, is_reused=True))), config)
    assert used_signal(found, config) == "tokens"
    assert signal_path(found, config) == signal_path(found, TOKENS)
