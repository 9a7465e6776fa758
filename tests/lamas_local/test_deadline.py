"""A rollout that must be ready in time, and one whose caller gives up, in every mode."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import get_args

import pytest

from lamas_local.deadline import Deadline
from lamas_local.executor import Plan
from lamas_local.latency import requests
from lamas_local.trace import Architecture, ExecutionMode, OperatorSpan, RolloutTrace
from serving.fake_engine import FakeEngine
from serving.types import Completion, GenerationRequest, StreamingEngine
from tests.lamas_local.builders import OneProblemTask, executor, operator_of

MODES: tuple[ExecutionMode, ...] = get_args(ExecutionMode)
SLOW_S = 30.0


class UnevenEngine(FakeEngine):
    """Some operators' words come slowly."""

    def __init__(self, *slow: str, token_s: float = 0.0) -> None:
        super().__init__(token_s=token_s)
        self.slow = slow
        self.num_asked = 0

    async def _run(self, request: GenerationRequest, is_streamed: bool) -> AsyncGenerator[str | Completion, None]:
        self.num_asked += 1
        async with aclosing(super()._run(request, is_streamed=True)) as pieces:
            async for piece in pieces:
                yield piece
                if operator_of(request) in self.slow and isinstance(piece, str):
                    await asyncio.sleep(SLOW_S)


class Events:
    """An observer that keeps what it is told."""

    def __init__(self) -> None:
        self.running: set[tuple[int, int]] = set()
        self.told: list[tuple[str, int, int, str]] = []

    def started(self, layer: int, position: int, name: str) -> None:
        self.running.add((layer, position))
        self.told.append(("started", layer, position, name))

    def ended(self, layer: int, position: int, span: OperatorSpan) -> None:
        self.running.remove((layer, position))  # once, and only what had started
        self.told.append(("ended", layer, position, span.name))


async def timed(
    engine: StreamingEngine,
    architecture: Architecture,
    mode: ExecutionMode,
    seconds: float,
    events: Events | None = None,
) -> RolloutTrace:
    task = OneProblemTask()
    deadline = Deadline(time.monotonic() + seconds)
    plan = Plan(task.example("test", 0), architecture, mode, is_scored=False, deadline=deadline, observer=events)
    trace = await executor(engine, task).run(plan)
    deadline.cancel()
    return trace


def statuses(trace: RolloutTrace) -> list[list[bool]]:
    return [[span.is_aborted for span in layer.operators] for layer in trace.layers]


@pytest.mark.parametrize("mode", MODES)
async def test_at_the_deadline_what_runs_is_stopped_and_what_there_is_votes(mode: ExecutionMode) -> None:
    engine, events = UnevenEngine("GenerateCoT"), Events()
    trace = await timed(engine, (("Generate", "GenerateCoT"), ("SelfRefine",)), mode, 0.2, events)
    assert 0.2 <= trace.ended - trace.started < 2.0
    assert trace.failure is None
    assert trace.layers[0].operators[0].steps[0][0].text == trace.answer  # type: ignore[union-attr]
    assert trace.layers[0].operators[1].is_aborted
    assert trace.score is None
    assert engine.num_unfinished == 0
    assert not events.running


@pytest.mark.parametrize("mode", MODES)
async def test_nothing_is_begun_after_the_deadline(mode: ExecutionMode) -> None:
    events = Events()
    architecture = (("Generate",), ("GenerateCoT",), ("SelfRefine",), ("ScEnsemble",))
    trace = await timed(UnevenEngine("GenerateCoT", "SelfRefine"), architecture, mode, 0.1, events)
    assert statuses(trace)[-1] == [True]
    assert trace.layers[-1].operators[0].steps == ()
    assert "ScEnsemble" not in {name for _, _, _, name in events.told}
    assert trace.answer is not None


@pytest.mark.parametrize("mode", MODES)
async def test_without_a_solution_the_text_so_far_is_the_answer(mode: ExecutionMode) -> None:
    engine = UnevenEngine(token_s=0.02)
    trace = await timed(engine, (("GenerateCoT",),), mode, 0.11)
    (span,) = requests(trace)
    assert trace.ended - trace.started < 1.0
    assert span.is_aborted
    assert span.text == trace.answer
    assert trace.answer
    assert span.num_output_tokens == len(trace.answer.split()) < 40
    assert span.num_prompt_tokens > 0
    assert not trace.layers[0].operators[0].is_aborted
    assert engine.num_unfinished == 0


async def test_without_any_text_the_first_is_waited_for() -> None:
    trace = await timed(FakeEngine(delay_s=0.3, token_s=0.05), (("Generate",),), "layered", 0.1)
    assert 0.3 <= trace.ended - trace.started < 1.5
    assert trace.answer is not None
    assert len(trace.answer.split()) == 1


@pytest.mark.parametrize("mode", MODES)
async def test_a_deadline_that_is_not_reached_changes_nothing(mode: ExecutionMode) -> None:
    architecture: Architecture = (("Generate", "MultiGenerateCoT"), ("SelfRefine", "ScEnsemble"))
    task = OneProblemTask()
    free = await executor(FakeEngine(), task).run(Plan(task.example("test", 0), architecture, mode))
    timed_trace = await timed(FakeEngine(), architecture, mode, 60.0)
    assert timed_trace.answer == free.answer
    if mode != "dataflow":  # which stops what can no longer matter, and when that is known depends on the clock
        assert [span.text for span in requests(timed_trace)] == [span.text for span in requests(free)]
        assert statuses(timed_trace) == statuses(free) == [[False, False], [False, False]]


@pytest.mark.parametrize("with_deadline", [False, True])
@pytest.mark.parametrize("mode", MODES)
async def test_who_cancels_a_rollout_leaves_nothing_in_the_engine(mode: ExecutionMode, with_deadline: bool) -> None:
    engine = UnevenEngine("Generate", "GenerateCoT", "MultiGenerateCoT")
    task = OneProblemTask()
    deadline = Deadline(time.monotonic() + 60) if with_deadline else None
    architecture = (("Generate", "MultiGenerateCoT"), ("GenerateCoT", "SelfRefine"))
    running = asyncio.ensure_future(
        executor(engine, task).run(Plan(task.example("test", 0), architecture, mode, deadline=deadline))
    )
    await asyncio.sleep(0.05)
    assert engine.num_unfinished >= 1
    asked = engine.num_asked
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert engine.num_unfinished == 0
    await asyncio.sleep(0.02)
    assert engine.num_asked == asked


@pytest.mark.parametrize("mode", MODES)
async def test_an_observer_sees_every_operator_start_and_end(mode: ExecutionMode) -> None:
    events, task = Events(), OneProblemTask()
    architecture = (("Generate", "GenerateCoT"), ("ScEnsemble",))
    trace = await executor(FakeEngine(), task).run(Plan(task.example("test", 0), architecture, mode, observer=events))
    assert not events.running
    places = {(0, 0, "Generate"), (0, 1, "GenerateCoT"), (1, 0, "ScEnsemble")}
    assert {place[1:] for place in events.told if place[0] == "started"} == places
    assert {place[1:] for place in events.told if place[0] == "ended"} == places
    unobserved = await executor(FakeEngine(), task).run(Plan(task.example("test", 0), architecture, mode))
    assert unobserved.answer == trace.answer
