"""Worked examples of the critical path, in both modes and by both measures."""

from __future__ import annotations

import pytest

from lamas_local.critical_path import critical_path, operator_length
from tests.lamas_local.builders import layer, operator, request, tool, trace


def test_calls_in_a_row_add_and_parallel_samples_take_the_longest() -> None:
    samples = (request(30), request(70), request(50))
    assert operator_length(operator(10, samples, 5), "tokens", 50.0) == 10 + 70 + 5


def test_tools_count_as_tokens_timeouts_with_their_full_time() -> None:
    waiting = tool(3.0, "timeout", waited=9.0)  # waiting for a place is no work of the tool
    assert operator_length(operator(20, tool(0.5), waiting), "tokens", 50.0) == pytest.approx(20 + 25 + 150)
    assert operator_length(operator((request(20), tool(0.5))), "tokens", 50.0) == pytest.approx(25)


def test_seconds_are_the_operators_own_span_whatever_its_tokens() -> None:
    assert operator_length(operator(500, tool(9.0), seconds=1.5), "seconds", 50.0) == 1.5


def test_an_operator_without_steps_has_no_tokens() -> None:
    assert operator_length(operator(), "tokens", 50.0) == 0


# Layer 1 has lengths 40, 100, 60; layer 2 has 10, 30; by seconds 2, 1, 3 and 0.5, 0.25.
LAYERS = (
    layer(operator(40, seconds=2.0), operator(100, seconds=1.0), operator(60, seconds=3.0)),
    layer(operator(10, seconds=0.5), operator(30, seconds=0.25)),
)


def test_layered_by_tokens() -> None:
    path = critical_path(trace(*LAYERS), "tokens")
    assert path.length == 130
    assert path.stages == (100, 30, 0)
    assert path.critical == (frozenset({1}), frozenset({1}))
    assert path.operators == ((40, 100, 60), (10, 30))
    assert path.slack == ((0, 40, 0), (0, 20))


def test_layered_by_seconds_names_others() -> None:
    path = critical_path(trace(*LAYERS), "seconds")
    assert path.length == 3.5
    assert path.critical == (frozenset({2}), frozenset({0}))
    assert path.slack == ((0, 0, 1.0), (0.25, 0))


def test_a_stages_seconds_are_its_own_stamps_so_that_they_fill_the_rollout() -> None:
    path = critical_path(trace(layer(operator(1, seconds=2.0), seconds=2.25), finaliser=layer(seconds=0.5)), "seconds")
    assert path.stages == (2.25, 0.5)
    assert path.length == 2.75
    assert path.operators == ((2.0,),)


def test_one_after_another_all_are_critical_and_leaving_one_out_saves_all_of_it() -> None:
    path = critical_path(trace(*LAYERS, mode="sequential"), "tokens")
    assert path.length == 240
    assert path.stages == (200, 40, 0)
    assert path.critical == (frozenset({0, 1, 2}), frozenset({0, 1}))
    assert path.slack == ((40, 100, 60), (10, 30))


def test_an_empty_last_layer_adds_nothing() -> None:
    for mode in ("layered", "sequential"):
        path = critical_path(trace(layer(operator(40)), layer(), mode=mode), "tokens")
        assert path.length == 40
        assert path.stages == (40, 0, 0)
        assert path.critical == (frozenset({0}), frozenset())
        assert path.slack == ((40,), ())


def test_the_finaliser_is_on_the_path_but_not_among_the_credited() -> None:
    finaliser = layer(operator(7), operator(8), seconds=0.4)
    by_tokens = critical_path(trace(LAYERS[1], finaliser=finaliser), "tokens")
    assert by_tokens.length == 30 + 15
    assert by_tokens.stages == (30, 15)
    assert len(by_tokens.critical) == 1
    assert critical_path(trace(LAYERS[1], finaliser=finaliser), "seconds").length == pytest.approx(0.9)


def test_of_equals_the_first_drawn_is_critical() -> None:
    path = critical_path(trace(layer(operator(50), operator(50))), "tokens")
    assert path.critical == (frozenset({0}),)
    assert path.slack == ((0, 0),)
