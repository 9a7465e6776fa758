"""The chat model `lamas`: query, controller's draw, executor, answer."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch

from lamas_local.config import Config
from lamas_local.controller import Controller
from lamas_local.deadline import Deadline
from lamas_local.embedding import Embedder
from lamas_local.executor import Executor, Plan
from lamas_local.latency import measure, requests
from lamas_local.operators.base import EARLY_STOP, needs_solution
from lamas_local.orchestrator.choice import NUM_DRAWS, draws, first_that_fits
from lamas_local.orchestrator.forecast import Forecast
from lamas_local.orchestrator.margin import Margin
from lamas_local.orchestrator.metrics import RolloutMetrics
from lamas_local.orchestrator.progress import Progress
from lamas_local.orchestrator.request import LamasRequest, check_length, recent_turns, split_conversation
from lamas_local.orchestrator.view import (
    ArchitectureEvent,
    FinishedEvent,
    LamasEvent,
    RolloutView,
    rollout_view,
)
from lamas_local.seeds import derive_seed
from lamas_local.tasks.base import Example, Query
from lamas_local.trace import Architecture, ExecutionMode, RolloutTrace
from serving.admission import AdmittedEngine
from serving.http.chat_model import Answered, ChatQuery, Choice, Event, Note, Text, Usage
from serving.http.errors import ApiError, invalid
from serving.http.schema import ChatRequest

NAME = "lamas"


@dataclass(frozen=True, slots=True)
class Chosen:
    """What a query will run."""

    query: Query
    architecture: Architecture
    mode: ExecutionMode
    predicted_s: float | None


class Orchestrator:
    """`ChatModel` over an executor and a trained controller."""

    def __init__(
        self,
        config: Config,
        executor: Executor,
        engine: AdmittedEngine,
        controller: Controller,
        embedder: Embedder,
        forecast: Forecast,
        metrics: RolloutMetrics,
    ) -> None:
        """Put it together; `engine` is the executor's own, whose load decides what fits a budget."""
        self._config, self._executor, self._engine = config, executor, engine
        self._controller, self._embedder = controller, embedder
        self._forecast, self._metrics, self._margin = forecast, metrics, Margin()
        # One thread: the encoder must not hold up the event loop, and is not made for several.
        self._thread = ThreadPoolExecutor(1, "encoder", initializer=torch.set_num_threads, initargs=(1,))
        self._numbers = itertools.count()
        self._max_prompt_tokens = engine.max_model_len - config.sampling.max_tokens

    def check(self, request: ChatRequest) -> None:
        """The last turn must be a question that fits a prompt; there is one answer to it.

        Raises:
            ApiError: it is not.
        """
        if request.n not in (None, 1):
            raise invalid(f"n: {request.n} given, the orchestrator gives 1 answer", "n")
        problem, _ = split_conversation(request)
        check_length(Query("", problem), self._engine, self._max_prompt_tokens)

    async def answer(self, query: ChatQuery) -> AsyncGenerator[Event, None]:
        """Where it is streamed, events as they come; the answer's text when the vote has it, then the rollout."""
        assert isinstance(query.request, LamasRequest)
        budget_s = query.request.latency_budget_s
        chosen = await self._choose(query, query.request)
        progress = Progress(query.admitted) if query.is_streamed else None
        deadline = None if budget_s is None else Deadline(query.arrived + budget_s - self._margin.of(budget_s))
        running = asyncio.ensure_future(self._executor.run(self._plan(query, chosen, deadline, progress)))
        try:
            if progress is not None:
                yield _note(_architecture_event(chosen, budget_s))
                async for event in progress.events(running):
                    yield _note(event)
            trace = await running
        finally:
            if deadline is not None:
                deadline.cancel()
            running.cancel()
            with suppress(asyncio.CancelledError, Exception):  # raised above where it matters
                await running
        rollout = self._account(query, trace, chosen.predicted_s, budget_s)
        if trace.answer is None:
            raise _no_answer(trace)
        yield Text(trace.answer)
        try:
            yield _answered(trace, rollout, is_streamed=query.is_streamed)
        finally:  # the response has been handed over
            if deadline is not None and deadline.is_over:
                self._margin.learn(time.monotonic() - deadline.at)

    def close(self) -> None:
        """End the encoder's thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _choose(self, query: ChatQuery, request: LamasRequest) -> Chosen:
        problem, context = split_conversation(request)
        name = f"{query.request_id}.{next(self._numbers)}" if request.seed is None else f"seed {request.seed}"
        number = 1 if request.latency_budget_s is None else NUM_DRAWS
        loop = asyncio.get_running_loop()
        drawn = await loop.run_in_executor(self._thread, self._draw, problem, name, number)
        recent = await loop.run_in_executor(self._thread, recent_turns, context, self._engine, self._max_prompt_tokens)
        mode = request.execution_mode or self._config.execution.mode
        num_running = self._engine.num_in_flight

        def seconds(architecture: Architecture) -> float | None:
            return self._forecast.seconds(architecture, mode, self._executor.finaliser, num_running)

        architecture = drawn[0]
        if request.latency_budget_s is not None:
            left_s = query.arrived + request.latency_budget_s - time.monotonic()
            architecture = first_that_fits([*drawn, *self._singles()], seconds, left_s)
        return Chosen(Query(name, problem, context=recent), architecture, mode, seconds(architecture))

    def _draw(self, problem: str, name: str, number: int) -> list[Architecture]:
        embedding = self._embedder.embed([problem])[0]
        return draws(self._controller, embedding, derive_seed(self._config.seed, "serve-draw", name), number)

    def _singles(self) -> list[Architecture]:
        """The architectures of one operator."""
        return [
            ((name,),)
            for name in self._controller.names
            if name != EARLY_STOP and not needs_solution(self._executor.operators[name])
        ]

    def _plan(self, query: ChatQuery, chosen: Chosen, deadline: Deadline | None, progress: Progress | None) -> Plan:
        return Plan(
            Example(chosen.query, gold=""),
            chosen.architecture,
            chosen.mode,
            # The first part of engine requests' ids, which seeds do not depend on: equal seeds may run side by side.
            policy=f"{query.request_id}.{next(self._numbers)}",
            is_scored=False,
            deadline=deadline,
            observer=progress,
        )

    def _account(
        self, query: ChatQuery, trace: RolloutTrace, predicted_s: float | None, budget_s: float | None
    ) -> RolloutView:
        latency = measure(trace, self._config.latency)
        rollout = rollout_view(
            trace,
            latency,
            request_id=query.request_id,
            arrived=query.arrived,
            admitted=query.admitted,
            predicted_s=predicted_s,
            latency_budget_s=budget_s,
        )
        self._metrics.count(trace, latency, rollout.budget_met)
        self._forecast.learn(trace)
        return rollout


def _architecture_event(chosen: Chosen, budget_s: float | None) -> ArchitectureEvent:
    return ArchitectureEvent(
        layers=chosen.architecture,
        execution_mode=chosen.mode,
        predicted_s=chosen.predicted_s,
        latency_budget_s=budget_s,
    )


def _note(event: LamasEvent) -> Note:
    return Note({"lamas": event.model_dump(mode="json")})


def _answered(trace: RolloutTrace, rollout: RolloutView, *, is_streamed: bool) -> Answered:
    assert trace.answer is not None
    ran = requests(trace)
    field = FinishedEvent(rollout=rollout) if is_streamed else rollout
    log: dict[str, Any] = {
        name: getattr(rollout, name)
        for name in ("architecture", "execution_mode", "predicted_s", "measured_s", "latency_budget_s", "budget_met")
    }
    return Answered(
        (Choice(trace.answer, "stop"),),
        Usage(
            sum(span.num_prompt_tokens for span in ran),
            sum(span.num_output_tokens for span in ran),
            sum(span.num_cached_tokens for span in ran),
        ),
        fields={"lamas": field.model_dump(mode="json")},
        log=log | {"num_aborted_requests": rollout.num_aborted_requests},
    )


def _no_answer(trace: RolloutTrace) -> ApiError:
    failure = trace.failure
    reason = f"{failure.kind}: {failure.message}" if failure is not None else "unknown"
    return ApiError(500, f"no operator made a solution ({reason})", type="server_error", code="no_answer")
