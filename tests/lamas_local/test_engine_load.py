"""How many ran beside a request, by hand and against counting."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamas_local.cost_model import Work
from lamas_local.engine_load import count_at, integral, observe, reference_work, spans, timed_requests
from lamas_local.trace import Failure, RequestSpan, RolloutTrace
from serving.types import RequestTiming
from tests.lamas_local.builders import layer, operator, request, tool, trace


def stamped(
    submitted: float, scheduled: float, first: float, last: float, *, prompt: int, cached: int = 0
) -> RequestSpan:
    timing = RequestTiming(submitted, scheduled, scheduled, first, last, last + 0.5)
    return RequestSpan("r", 0, submitted, last + 0.5, 0, timing, prompt, cached, 11, "stop", "4")


def row(work: Work, index: int) -> dict[str, float]:
    return {name: float(getattr(work, name)[index]) for name in Work.__dataclass_fields__}


def test_load_by_hand() -> None:
    a = stamped(0.0, 0.0, 2.0, 10.0, prompt=30, cached=10)  # alone until 4
    b = stamped(1.0, 4.0, 5.0, 8.0, prompt=50)
    c = stamped(3.0, 4.0, 5.0, 5.0, prompt=7)
    work, seconds = observe([a, b, c])
    # a: b and c run beside it from 4 to 5, b alone from 5 to 8.
    assert row(work, 0) == {
        "wait_running": 0, "wait_tokens": 0,
        "prefill_running": 1, "prefill_tokens": 20,
        "decode_steps": 10, "decode_running": pytest.approx((2 * 1 + 1 * 3 + 3 * 2 + 2 * 1) / 8), "decode_tokens": 57,
    }  # fmt: skip
    # b waits from 1 to 4; at 2.5 a decodes. It is prefilled in one step with c.
    assert row(work, 1) == {
        "wait_running": 1, "wait_tokens": 0,
        "prefill_running": 3, "prefill_tokens": 57,
        "decode_steps": 10, "decode_running": 2, "decode_tokens": 0,
    }  # fmt: skip
    assert row(work, 2)["decode_running"] == 1, "a decode that takes no time has itself"
    assert [seconds.wait[1], seconds.prefill[1], seconds.decode[1], seconds.back[1]] == [3, 1, 3, 0.5]
    assert seconds.total[1] == 7.5


def test_who_waits_for_a_prefill_waits_for_its_tokens() -> None:
    a = stamped(0.0, 0.0, 4.0, 9.0, prompt=30)
    b = stamped(1.0, 4.0, 5.0, 8.0, prompt=50)
    work, _ = observe([a, b])
    assert (work.wait_running[1], work.wait_tokens[1]) == (1, 30)


times = st.integers(0, 40).map(float)
intervals = st.lists(st.tuples(times, times).map(sorted), min_size=1, max_size=12)


@given(intervals, times, times)
def test_the_integral_is_the_sum_of_overlaps(found: list[list[float]], one: float, other: float) -> None:
    low, high = sorted((one, other))
    starts, ends = np.array(found).T
    total = integral(starts, ends, ends - starts)
    expected = sum(max(min(end, high) - max(start, low), 0.0) for start, end in found)
    assert float(total(np.array([high]))[0] - total(np.array([low]))[0]) == pytest.approx(expected, abs=1e-9)


@given(intervals, times)
def test_counting_at_a_moment(found: list[list[float]], moment: float) -> None:
    starts, ends = np.array(found).T
    expected = sum(start < moment <= end for start, end in found)
    assert count_at(np.array([moment]), starts, ends, np.ones(len(found)))[0] == expected


# At a reference load


def sized(prompt: int, output: int) -> RequestSpan:
    return request(output, prompt_tokens=prompt)


TOGETHER = trace(
    layer(operator(sized(40, 11)), operator((sized(60, 21), sized(80, 6)), sized(30, 5))),
    finaliser=layer(operator(sized(9, 4)), operator(sized(8, 2))),
)


def test_alone_a_query_has_its_own_requests_beside_it() -> None:
    work = reference_work(TOGETHER, 0)
    assert len(work) == 6
    # Layer: 10, 20 and 5 decode steps start together. The idle engine takes the first, a step later the other two.
    assert row(work, 0) == {
        "wait_running": 0, "wait_tokens": 0, "prefill_running": 1, "prefill_tokens": 40,
        "decode_steps": 10, "decode_running": (10 + 10 + 5) / 10, "decode_tokens": 140,
    }  # fmt: skip
    assert row(work, 1) == {
        "wait_running": 1, "wait_tokens": 40, "prefill_running": 3, "prefill_tokens": 140,
        "decode_steps": 20, "decode_running": (20 + 10 + 5) / 20, "decode_tokens": 0,
    }  # fmt: skip
    assert work.decode_running[2] == 3
    # The second step of the second operator, then the finaliser's operators one by one: nothing beside them.
    for index, prompt, steps in ((3, 30, 4), (4, 9, 3), (5, 8, 1)):
        assert row(work, index) == {
            "wait_running": 0, "wait_tokens": 0, "prefill_running": 1, "prefill_tokens": prompt,
            "decode_steps": steps, "decode_running": 1, "decode_tokens": 0,
        }  # fmt: skip


def test_others_at_the_reference_load_run_all_the_time() -> None:
    work = reference_work(TOGETHER, 7)
    assert row(work, 0) == {
        "wait_running": 7, "wait_tokens": 0, "prefill_running": 10, "prefill_tokens": 180,
        "decode_steps": 10, "decode_running": 7 + 2.5, "decode_tokens": 0,
    }  # fmt: skip
    assert (work.wait_running[3], work.decode_running[3]) == (7, 8)


def test_in_turn_operators_have_nothing_beside_them() -> None:
    rollout = trace(layer(operator(11), operator((request(21), request(6)))), mode="sequential")
    assert list(reference_work(rollout, 0).decode_running) == [1, (20 + 5) / 20, 2]


def test_in_dataflow_those_run_together_that_have_as_many_before_them() -> None:
    # Layer 2 holds a generator, which starts with layer 1, and a reader of all solutions.
    rollout = trace(
        layer(operator(11), operator(21)),
        layer(operator(6), operator(16, reads="solutions", num_replaced=2)),
        finaliser=layer(operator(4)),
        mode="dataflow",
    )
    work = reference_work(rollout, 0)
    assert list(work.decode_running) == [(10 + 10 + 5) / 10, (10 + 20 + 5) / 20, 3, 1, 1]
    assert list(reference_work(replace(rollout, mode="layered"), 0).decode_running[2:]) == [2, (5 + 15) / 15, 1]


def test_failed_requests_and_tools_are_passed_over() -> None:
    failed = RequestSpan("r", 0, 0.0, 9.0, failure=Failure("EngineError", "no"))
    rollout = trace(layer(operator((failed, request(11)), tool(3.0), request(5))))
    assert len(list(spans(rollout))) == 4
    assert len(timed_requests([rollout])) == 2
    assert list(reference_work(rollout, 0).decode_steps) == [10, 4]


@pytest.mark.parametrize("rollout", [trace(), trace(layer())])
def test_a_rollout_without_requests_has_no_rows(rollout: RolloutTrace) -> None:
    assert len(reference_work(rollout, 0)) == 0


def test_each_replica_has_a_load_of_its_own() -> None:
    a = [stamped(0.0, 0.0, 2.0, 10.0, prompt=30), stamped(1.0, 4.0, 5.0, 8.0, prompt=50)]
    b = [stamped(0.5, 1.0, 3.0, 9.0, prompt=7), stamped(0.6, 3.0, 5.0, 9.0, prompt=8)]
    mixed = [
        replace(span, replica=name)
        for pair in zip(a, b, strict=True)
        for span, name in zip(pair, ("replica-1", "replica-0"), strict=True)
    ]
    work, seconds = observe(mixed)
    for own, places in ((a, (0, 2)), (b, (1, 3))):
        alone, alone_s = observe(own)
        for index, place in enumerate(places):
            assert row(work, place) == row(alone, index)
            assert seconds.total[place] == alone_s.total[index]


def test_at_a_reference_load_only_requests_at_one_replica_run_together() -> None:
    spans = [replace(stamped(0.0, 0.0, 2.0, 10.0, prompt=30), replica=name) for name in ("a", "a", "b")]
    work = reference_work(trace(layer(operator(tuple(spans)))), 0)
    assert list(work.decode_running) == [2, 2, 1]
