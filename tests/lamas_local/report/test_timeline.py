from __future__ import annotations

import dataclasses
import random
import re

from lamas_local.report import timeline_svg
from lamas_local.trace import LayerSpan, RequestSpan, RolloutTrace, Step, ToolSpan
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


def dataflow_trace() -> RolloutTrace:
    """Layer 2's chain starts with layer 1 and is the longest; layer 1's second starts a refinement; one is aborted."""
    rng, started = random.Random(0), 1000.0
    chain, short = make_operator("GenerateCoT", started, rng), make_operator("Generate", started, rng)
    short = dataclasses.replace(short, ended=started + 1, num_added=1)
    chain = dataclasses.replace(chain, ended=started + 9, num_added=1)
    refine = dataclasses.replace(
        make_operator("SelfRefine", started + 1, rng), ended=started + 4, reads="solution", num_added=1
    )
    asked: Step = (RequestSpan("r", 1, started, started + 9, is_aborted=True),)
    ran: Step = (ToolSpan("run", started + 2, started + 2, started + 9, "aborted", "fake"),)
    aborted = dataclasses.replace(
        make_operator("Programmer", started, rng), ended=started + 9, steps=(asked, ran), is_aborted=True
    )
    return dataclasses.replace(
        make_trace("trained", (("Generate",),), rng),
        mode="dataflow",
        started=started,
        ended=started + 9.5,
        layers=(
            LayerSpan(started, started + 1, (short,)),
            LayerSpan(started, started + 9, (refine, chain)),
            LayerSpan(started, started + 9, (aborted,)),
        ),
        finaliser=LayerSpan(started + 9, started + 9.5, ()),
    )


def critical_names(trace: RolloutTrace) -> list[str]:
    """The operators whose names are marked; the text stands after its hover title."""
    texts = check_svg(timeline_svg(trace)).iter(f"{SVG}text")
    return [list(text.itertext())[-1] for text in texts if text.get("class") == "strong critical"]


def test_a_dataflow_shows_overlapping_layers_with_the_path_through_the_graph() -> None:
    trace = dataflow_trace()
    drawing = timeline_svg(trace)
    root = check_svg(drawing)
    assert critical_names(trace) == ["GenerateCoT"]
    bands = [element for element in root.iter(f"{SVG}rect") if element.get("class") == "band"]
    lefts = [float(band.get("x") or "nan") for band in bands]
    assert lefts[0] == lefts[1] == lefts[2] < lefts[3]  # all but the finaliser begin at once
    assert drawing.count("off the path") == 2  # layers 1 and 3
    assert "1 aborted" in drawing
    # The line runs along the chain alone: from the rollout's start to the finaliser's.
    [line] = [element for element in root.iter(f"{SVG}polyline") if element.get("class") == "seconds"]
    xs = [float(x) for x in re.findall(r"([\d.]+),", line.get("points") or "")]
    assert (min(xs), max(xs)) == (lefts[1], lefts[3])


def test_a_dataflow_path_steps_from_one_operator_to_the_next() -> None:
    trace = dataflow_trace()
    refine, chain = trace.layers[1].operators
    shorter = dataclasses.replace(chain, ended=chain.started + 2)
    layers = (trace.layers[0], dataclasses.replace(trace.layers[1], operators=(refine, shorter)), trace.layers[2])
    trace = dataclasses.replace(trace, layers=layers)
    root = check_svg(timeline_svg(trace))
    assert critical_names(trace) == ["Generate", "SelfRefine"]
    [line] = [element for element in root.iter(f"{SVG}polyline") if element.get("class") == "seconds"]
    points = re.findall(r"([\d.]+),([\d.]+)", line.get("points") or "")
    assert len(points) == 5
    assert points[1][0] == points[2][0] == points[3][0]  # the refinement starts where what it read ended


def test_what_was_aborted_is_marked_as_such_and_not_as_failed() -> None:
    trace = dataflow_trace()
    assert count(trace, "rect", "failed") == 0
    assert count(trace, "rect", "aborted") == 2 + 1  # a request, a tool run, and the legend
    drawing = timeline_svg(trace)
    assert "Programmer (aborted)" in drawing
    assert "the vote was decided without it" in drawing
