"""Worked examples of the critical path, in every mode and by both measures; in dataflow against all paths too."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamas_local.critical_path import critical_path, operator_length
from lamas_local.dataflow import Node, dependency_graph, nodes
from lamas_local.operators import Reads, Update
from lamas_local.trace import LayerSpan, OperatorSpan, RolloutTrace
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
    assert path.to_go == (30, 0)


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
    assert path.to_go == (40, 0)


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
    assert by_tokens.to_go == (15,)
    assert len(by_tokens.critical) == 1
    assert critical_path(trace(LAYERS[1], finaliser=finaliser), "seconds").length == pytest.approx(0.9)


def test_of_equals_the_first_drawn_is_critical() -> None:
    path = critical_path(trace(layer(operator(50), operator(50))), "tokens")
    assert path.critical == (frozenset({0}),)
    assert path.slack == ((0, 0),)


# Dataflow

# Layer 2's first refines the second solution of layer 1, its second starts at once; the vote waits for all.
GRAPH = (
    layer(operator(40), operator(100)),
    layer(operator(60, reads="solution"), operator(120)),
    layer(operator(5, reads="solutions", num_replaced=4)),
)


def test_dataflow_by_tokens() -> None:
    path = critical_path(trace(*GRAPH, mode="dataflow", finaliser=layer(operator(3), operator(4))), "tokens")
    # Ends: 40, 100; 160, 120; 165. Then 7 of the finaliser.
    assert path.length == 172
    assert path.stages == (100, 60, 5, 7)
    assert path.critical == (frozenset({1}), frozenset({0}), frozenset({0}))
    assert path.operators == ((40, 100), (60, 120), (5,))
    # Without the second, the refiner would have read the first: 40 + 60 < 120. Without the refiner, 120 + 5.
    assert path.slack == ((0, 40), (40, 0), (5,))
    assert path.to_go == (72, 12, 7)


def test_dataflow_by_seconds_counts_what_passes_between_operators() -> None:
    layers = (
        layer(operator(seconds=2.0, started=10.0), operator(seconds=3.0, started=10.5)),
        layer(
            operator(seconds=1.0, started=14.0, reads="solution"),  # the one it waited for had ended at 13.5
            operator(seconds=4.0, started=10.0),
        ),
    )
    path = critical_path(
        trace(*layers, mode="dataflow", started=10.0, finaliser=LayerSpan(15.0, 15.25, ()), wall_s=5.25), "seconds"
    )
    assert path.critical == (frozenset({1}), frozenset({0}))
    assert path.stages == (3.5, 1.5, 0.25)
    assert path.length == sum(path.stages) == 5.25
    assert path.operators == ((2.0, 3.0), (1.0, 4.0))
    # Without the second, the refiner would have read the first: 2 + 1.5 < 4. Without the refiner, 4.
    assert path.slack == ((0, 1.0), (1.0, 0))
    assert path.to_go == (1.75, 0.25)


def test_a_path_may_pass_layers_by() -> None:
    layers = (layer(operator(10)), layer(operator(50)), layer(operator(20)), layer())
    path = critical_path(trace(*layers, mode="dataflow"), "tokens")
    assert path.critical == (frozenset(), frozenset({0}), frozenset(), frozenset())
    assert path.stages == (0, 50, 0, 0, 0)
    assert path.slack == ((0,), (30,), (0,), ())
    # What layer 1 drew left room for 40 more, which layer 2 took.
    assert path.to_go == (40, 0, 0, 0)


def test_slack_is_below_0_where_somebody_would_have_waited_longer() -> None:
    layers = (layer(operator(100), operator(10)), layer(operator(50, reads="solution")))
    path = critical_path(trace(*layers, mode="dataflow"), "tokens")
    assert (path.length, path.critical) == (100, (frozenset({0}), frozenset()))
    # Without the first, 10 + 50; without the second, the refiner reads the first: 100 + 50.
    assert path.slack == ((40, -50), (0,))


def test_a_failed_operator_is_waited_for_and_the_one_before_it_too() -> None:
    failed = operator(30, num_added=0)
    refiner = layer(operator(50, reads="solution"))
    for first, length in ((operator(10), 80), (operator(40), 90)):
        path = critical_path(trace(layer(first, failed), refiner, mode="dataflow"), "tokens")
        assert path.length == length


def test_what_was_aborted_is_on_no_path() -> None:
    aborted = operator(0, seconds=7.0, is_aborted=True, num_added=0)
    spans = layer(operator(10, seconds=2.0), aborted, operator(20, seconds=6.0))
    never_begun = layer(operator(seconds=0.0, started=7.0, reads="solution", num_added=0, is_aborted=True))
    rollout = trace(spans, never_begun, mode="dataflow", started=0.0, finaliser=LayerSpan(7.0, 7.0, ()))
    by_seconds = critical_path(rollout, "seconds")
    assert by_seconds.critical == (frozenset({2}), frozenset())
    assert by_seconds.stages == (6.0, 0.0, 1.0)  # the vote was decided after 6 s; ending the others took 1 s
    assert by_seconds.slack == ((0, 0, 4.0), (0,))
    assert critical_path(rollout, "tokens").stages == (20, 0, 0)


def test_a_dataflow_without_operators_is_its_finaliser() -> None:
    path = critical_path(trace(mode="dataflow", started=0.0, finaliser=LayerSpan(0.0, 0.5, ())), "seconds")
    assert (path.length, path.stages, path.to_go) == (0.5, (0.5,), ())


KINDS: tuple[Reads, ...] = ("problem", "solution", "solution_if_any", "solutions")


@st.composite
def rollouts(draw: st.DrawFn) -> RolloutTrace:
    layers = []
    for _ in range(draw(st.integers(1, 4))):
        spans = [
            operator(
                draw(st.integers(0, 9)),
                reads=draw(st.sampled_from(KINDS)),
                num_added=draw(st.integers(0, 2)),
                num_replaced=draw(st.integers(0, 1)),
            )
            for _ in range(draw(st.integers(0, 3)))
        ]
        layers.append(layer(*spans))
    return trace(*layers, mode="dataflow", finaliser=layer(operator(draw(st.integers(0, 3)))))


def longest(rollout: RolloutTrace, left_out: Node | None = None, num_layers: int = 9) -> float:
    """Over every path there is."""
    spans = {node: rollout.layers[node[0]].operators[node[1]] for node in nodes([r.operators for r in rollout.layers])}
    graph = dependency_graph(
        [[span.reads for span in one.operators] for one in rollout.layers],
        {
            node: Update(()) if node == left_out else Update(("x",) * span.num_added, span.num_replaced)
            for node, span in spans.items()
        },
    )

    def lengths_to(node: Node) -> list[float]:
        own = 0.0 if node == left_out else operator_length(spans[node], "tokens", 50.0)
        before = [one for one in graph[node] if one != left_out]
        return [own + length for one in before for length in lengths_to(one)] + [own]

    ends = (length for node in spans if node[0] < num_layers and node != left_out for length in lengths_to(node))
    return max(ends, default=0.0)


@given(rollouts())
def test_against_all_paths(rollout: RolloutTrace) -> None:
    path = critical_path(rollout, "tokens")
    finaliser = operator_length(rollout.finaliser.operators[0], "tokens", 50.0)
    whole = longest(rollout)
    assert path.length == whole + finaliser == sum(path.stages)
    assert all(len(positions) <= 1 for positions in path.critical)
    on_path = [path.operators[i][j] for i, positions in enumerate(path.critical) for j in positions]
    assert sum(on_path) == whole
    for i, own in enumerate(rollout.layers):
        assert path.to_go[i] == whole + finaliser - longest(rollout, num_layers=i + 1)
        for j in range(len(own.operators)):
            assert path.slack[i][j] == whole - longest(rollout, (i, j))


@given(rollouts())
def test_where_everybody_reads_everything_it_is_the_path_of_the_layers(rollout: RolloutTrace) -> None:
    def read_all(span: OperatorSpan) -> OperatorSpan:
        return replace(span, reads="solutions", num_added=1)

    layers = [layer(*map(read_all, one.operators)) for one in rollout.layers if one.operators]
    dataflow = critical_path(trace(*layers, mode="dataflow", finaliser=rollout.finaliser), "tokens")
    layered = critical_path(trace(*layers, mode="layered", finaliser=rollout.finaliser), "tokens")
    assert (dataflow.length, dataflow.to_go, dataflow.slack) == (layered.length, layered.to_go, layered.slack)
    assert dataflow.stages == layered.stages
    lengths = dataflow.operators
    for i, (one, other) in enumerate(zip(dataflow.critical, layered.critical, strict=True)):
        assert one == other or not any(lengths[i])  # what takes nothing may be passed by at the end
