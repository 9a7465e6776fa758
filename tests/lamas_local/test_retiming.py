"""Rollouts with other seconds: what adds, what counts as its longest, and what the reference load makes of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamas_local.cost_model import CostModel
from lamas_local.critical_path import critical_path, path_of_lengths
from lamas_local.retiming import at_reference, retime, under_own_load
from lamas_local.trace import ExecutionMode, Failure, LayerSpan, RequestSpan, RolloutTrace
from serving.types import RequestTiming
from tests.lamas_local.builders import layer, operator, request, tool, trace
from tests.lamas_local.synthetic_engine import Arrival, serve

ENGINE = CostModel(0.05, 0.004, 0.002, wait_s=0.01, wait_steps=0.9, return_s=0.003)
MODES: tuple[ExecutionMode, ...] = ("layered", "sequential")


def rollout(mode: ExecutionMode) -> RolloutTrace:
    return trace(
        layer(operator(1, 1), operator((request(1), request(1)))),
        layer(),
        finaliser=layer(operator(1), operator(tool(4.0, waited=2.0))),
        mode=mode,
        wall_s=99.0,
    )


def test_layered_by_hand() -> None:
    # Operator one: 1 + 2, operator two: max(3, 5). The finaliser: 7, then the tool's 4.
    timed = retime(rollout("layered"), iter([1.0, 2.0, 3.0, 5.0, 7.0]), as_it_was=False)
    path = critical_path(timed, "seconds")
    assert path.operators == ((3.0, 5.0), ())
    assert path.stages == (5.0, 0.0, 11.0)
    assert path.critical[0] == {1}
    assert (timed.started, timed.ended) == (0.0, 16.0)
    assert [one.started for one in timed.finaliser.operators] == [5.0, 12.0]


def test_in_turn_by_hand() -> None:
    timed = retime(rollout("sequential"), iter([1.0, 2.0, 3.0, 5.0, 7.0]), as_it_was=True)
    path = critical_path(timed, "seconds")
    assert path.stages == (8.0, 0.0, 13.0)  # the tool's wait of 2 counts here
    assert [one.started for one in timed.layers[0].operators] == [0.0, 3.0]


def test_dataflow_by_hand() -> None:
    found = trace(
        layer(operator(1), operator(1)),
        layer(operator(1, is_aborted=True, num_added=0), operator(1, reads="solution")),
        finaliser=layer(operator(1)),
        mode="dataflow",
    )
    # The reader waits for the last of layer 1; for the one that was aborted nobody waits.
    timed = retime(found, iter([3.0, 2.0, 90.0, 4.0, 0.5]), as_it_was=False)
    assert [[one.started for one in layer.operators] for layer in timed.layers] == [[0.0, 0.0], [0.0, 2.0]]
    assert timed.finaliser.started == 6.0
    path = critical_path(timed, "seconds")
    assert (path.length, path.stages) == (6.5, (2.0, 4.0, 0.5))
    assert path.operators == ((3.0, 2.0), (90.0, 4.0))


@given(st.lists(st.lists(st.floats(0.1, 9.0), min_size=1, max_size=3), min_size=1, max_size=3), st.data())
def test_the_stamps_of_a_dataflow_give_the_path_of_its_lengths(lengths: list[list[float]], data: st.DataObject) -> None:
    kinds = st.sampled_from(["problem", "solution", "solutions"])
    found = trace(
        *(
            layer(*(operator(1, reads=data.draw(kinds) if index else "problem") for _ in row))
            for index, row in enumerate(lengths)
        ),
        finaliser=layer(operator(1), operator(1)),
        mode="dataflow",
    )
    seconds = iter([*(one for row in lengths for one in row), 0.5, 0.25])
    path = critical_path(retime(found, seconds, as_it_was=False), "seconds")
    expected = path_of_lengths(found, tuple(map(tuple, lengths)), 0.75)
    assert path.length == pytest.approx(expected.length)
    assert path.stages == pytest.approx(expected.stages)
    for row, same in zip(path.operators, lengths, strict=True):
        assert row == pytest.approx(tuple(same))


def test_what_ran_stays_as_it_was() -> None:
    before = rollout("layered")
    timed = retime(before, iter([1.0] * 5), as_it_was=False)
    assert [one.steps for one in timed.layers[0].operators] == [one.steps for one in before.layers[0].operators]
    assert replace(timed, started=0, ended=0, layers=(), finaliser=before.finaliser) == replace(
        before, started=0, ended=0, layers=()
    )


def test_a_failed_request_keeps_its_seconds() -> None:
    failed = RequestSpan("r", 0, 1.0, 9.5, failure=Failure("EngineError", "no"))
    timed = retime(trace(layer(operator((failed, request(3))))), iter([2.0]), as_it_was=False)
    assert timed.ended == 8.5


def test_alone_at_the_reference_by_hand() -> None:
    found = at_reference(trace(layer(operator(request(11, prompt_tokens=20), tool(2.0)))), ENGINE, 0)
    assert found.ended == pytest.approx(0.01 + (0.05 + 0.004 + 20 * 0.002) + 10 * (0.05 + 0.004) + 0.003 + 2.0)


@given(st.lists(st.tuples(st.integers(1, 300), st.integers(1, 60)), min_size=1, max_size=8))
def test_a_layer_alone_takes_what_an_engine_that_goes_step_by_step_takes(sizes: list[tuple[int, int]]) -> None:
    arrivals = [Arrival(0.0 if index == 0 else 0.011, prompt, output) for index, (prompt, output) in enumerate(sizes)]
    model = replace(ENGINE, wait_steps=1.0)
    spans = serve(arrivals, model)
    found = at_reference(trace(layer(*(operator(span) for span in spans))), model, 0)
    for one, span in zip(found.layers[0].operators, spans, strict=True):
        assert one.ended == pytest.approx(span.ended, rel=0.06, abs=0.02)


def test_the_load_of_the_moment_does_not_reach_the_reference() -> None:
    def at(start: float, slowness: float) -> RolloutTrace:
        stamps = RequestTiming(*(start + slowness * moment for moment in (0.0, 0.1, 0.2, 0.5, 3.0, 3.1)))
        span = replace(request(11, prompt_tokens=20), timing=stamps, started=start, ended=stamps.returned)
        return trace(layer(operator(span, seconds=3.1 * slowness)), wall_s=3.1 * slowness)

    calm, busy = at_reference(at(5.0, 1.0), ENGINE, 0), at_reference(at(70.0, 9.0), ENGINE, 0)
    assert calm.ended == busy.ended


def test_under_their_own_load_rollouts_see_each_other() -> None:
    def at(start: float) -> RolloutTrace:
        stamps = RequestTiming(start, start, start, start + 1.0, start + 11.0, start + 11.0)
        return trace(layer(operator(replace(request(11, prompt_tokens=20), timing=stamps))))

    alone = under_own_load([at(0.0)], ENGINE)[0].ended
    together = [one.ended for one in under_own_load([at(0.0), at(0.0)], ENGINE)]
    # One more in each of 11 steps, and its prompt in the first.
    assert together == pytest.approx([alone + 11 * 0.004 + 20 * 0.002] * 2)


sizes = st.tuples(st.integers(1, 400), st.integers(1, 60))
steps = st.lists(st.lists(sizes, min_size=1, max_size=3), min_size=1, max_size=3)
architectures = st.lists(st.lists(steps, min_size=1, max_size=3), min_size=1, max_size=3)
Sizes = list[list[list[list[tuple[int, int]]]]]


def made(sizes: Sizes, mode: ExecutionMode, more_tokens: int = 0, more_prompt: int = 0) -> RolloutTrace:
    """A rollout with requests of these (prompt, output) tokens; more for the very first request."""

    first = True

    def build(prompt: int, output: int) -> RequestSpan:
        nonlocal first
        is_first, first = first, False
        return request(output + more_tokens * is_first, prompt_tokens=prompt + more_prompt * is_first)

    def build_layer(found: list[list[list[tuple[int, int]]]]) -> LayerSpan:
        return layer(*(operator(*(tuple(build(*size) for size in step) for step in steps)) for steps in found))

    return trace(*map(build_layer, sizes), mode=mode)


@given(architectures, st.sampled_from(MODES), st.integers(0, 50), st.integers(0, 50))
def test_more_tokens_never_take_less_time(sizes: Sizes, mode: ExecutionMode, output: int, prompt: int) -> None:
    before, after = made(sizes, mode), made(sizes, mode, output, prompt)
    for load in (0, 5):
        assert at_reference(after, ENGINE, load).ended >= at_reference(before, ENGINE, load).ended - 1e-9


@given(architectures, st.sampled_from(MODES), st.integers(0, 20), st.integers(1, 20))
def test_more_load_never_takes_less_time(sizes: Sizes, mode: ExecutionMode, load: int, more: int) -> None:
    found = made(sizes, mode)
    assert at_reference(found, ENGINE, load + more).ended >= at_reference(found, ENGINE, load).ended - 1e-9


@given(architectures)
def test_no_operator_is_faster_in_company(sizes: Sizes) -> None:
    together = at_reference(made(sizes, "layered"), ENGINE, 0)
    in_turn = at_reference(made(sizes, "sequential"), ENGINE, 0)
    paths = [critical_path(one, "seconds") for one in (together, in_turn)]
    for lengths, alone in zip(paths[0].operators, paths[1].operators, strict=True):
        assert all(shared >= own - 1e-9 for shared, own in zip(lengths, alone, strict=True))


def test_a_reused_run_took_no_time_and_would_take_its_own() -> None:
    again = trace(layer(operator(1, is_reused=True), operator(1, tool(4.0))), layer(operator(1, is_reused=True)))
    assert retime(again, iter([7.0]), as_it_was=True).ended == 11.0
    assert retime(again, iter([30.0, 7.0, 5.0]), as_it_was=False).ended == 35.0
    live = trace(layer(operator(9), operator(3)))
    other = trace(layer(operator(9, is_reused=True), operator(3)))
    assert at_reference(other, ENGINE, 0).ended == at_reference(live, ENGINE, 0).ended
    assert under_own_load([other], ENGINE)[0].ended == under_own_load([trace(layer(operator(3)))], ENGINE)[0].ended
