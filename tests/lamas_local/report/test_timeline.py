from __future__ import annotations

import dataclasses
import random

from lamas_local.report import timeline_svg
from lamas_local.trace import LayerSpan, RolloutTrace
from tests.lamas_local.report.markup_check import check_svg
from tests.lamas_local.report.synthetic import HOSTILE, failed_operator, make_operator, make_trace

SVG = "{http://www.w3.org/2000/svg}"
TEAM = (("MultiGenerateCoT", "Programmer", "GenerateCoT"), ("ScEnsemble",), ())


def count(trace: RolloutTrace, tag: str, class_name: str) -> int:
    root = check_svg(timeline_svg(trace))
    return sum(element.get("class") == class_name for element in root.iter(f"{SVG}{tag}"))


def test_every_request_and_tool_has_its_bars() -> None:
    trace = make_trace("trained", TEAM, random.Random(0), answer=HOSTILE)
    num_requests = 3 + 1 + 1 + 1
    # One more of each is the legend's.
    assert count(trace, "rect", "decode") == num_requests + 1
    assert count(trace, "rect", "prefill") == num_requests + 1
    assert count(trace, "rect", "tool") == 1 + 1
    assert count(trace, "rect", "failed") == 0
    drawing = timeline_svg(trace)
    assert "waiting for a place in the sandbox" in drawing
    assert "tool run, error: " in drawing


def test_an_empty_layer_is_named_and_paths_that_agree_are_drawn_once() -> None:
    trace = make_trace("trained", (("Generate",), ()), random.Random(0))
    drawing = timeline_svg(trace)
    assert "stopped early" in drawing
    assert "Layer 2" in drawing
    assert "by seconds and by tokens" in drawing
    assert count(trace, "line", "tokens") == 0


def test_an_operator_critical_by_tokens_alone_has_its_own_mark() -> None:
    rng = random.Random(0)
    started = 1000.0
    operators = (make_operator("GenerateCoT", started, rng), failed_operator(started))
    slow = dataclasses.replace(operators[1], ended=started + 30)
    layer = LayerSpan(started, started + 30, (operators[0], slow))
    trace = dataclasses.replace(
        make_trace("trained", (("Generate",),), rng),
        layers=(layer,),
        finaliser=LayerSpan(started + 30, started + 30, ()),
        ended=started + 30,
    )
    assert count(trace, "line", "tokens") == 1 + 1
    assert count(trace, "rect", "failed") == 1 + 1
    assert "SelfRefine (critical by seconds)" in timeline_svg(trace)
    assert "GenerateCoT (critical by tokens)" in timeline_svg(trace)


def test_a_sequential_rollout_is_critical_throughout() -> None:
    trace = dataclasses.replace(make_trace("initial", TEAM, random.Random(0)), mode="sequential")
    root = check_svg(timeline_svg(trace))
    names = [text for text in root.iter(f"{SVG}text") if text.get("class") == "strong critical"]
    assert len(names) == 4


def test_hostile_names_stay_text() -> None:
    trace = dataclasses.replace(make_trace(HOSTILE, TEAM, random.Random(0), query_id=HOSTILE), failure=None)
    layer = trace.layers[0]
    operator = dataclasses.replace(layer.operators[0], name=HOSTILE)
    drawing = timeline_svg(dataclasses.replace(trace, layers=(dataclasses.replace(layer, operators=(operator,)),)))
    assert "<script" not in drawing
    check_svg(drawing)


def test_a_rollout_without_duration_or_operators_can_be_drawn() -> None:
    trace = dataclasses.replace(
        make_trace("trained", (), random.Random(0), answer=None), ended=1000.0, finaliser=LayerSpan(1000.0, 1000.0, ())
    )
    check_svg(timeline_svg(trace))


def test_two_rollouts_can_share_a_time_axis() -> None:
    trace = make_trace("trained", (("Generate",),), random.Random(0))
    assert "20 s" not in timeline_svg(trace)
    assert "20 s" in timeline_svg(trace, num_seconds=20.0)
