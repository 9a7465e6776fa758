"""What each request of a run was asked, read and answered: its rollouts are run again on an engine that knows them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lamas_local.config import Config, ConfigError
from lamas_local.engine_config import answering
from lamas_local.executor import Executor, Plan
from lamas_local.latency import requests
from lamas_local.operators.base import needs_sandbox
from lamas_local.operators.roster import load_roster
from lamas_local.simulation.occasion import occasion_of
from lamas_local.simulation.remembering_task import RememberingTask
from lamas_local.simulation.replay_engine import ReplayEngine
from lamas_local.simulation.skill import candidates
from lamas_local.tasks.base import Split
from lamas_local.trace import RequestSpan, RolloutTrace
from serving.types import GenerationRequest

MAX_EXAMPLES = 20_000
"""Positions of a split that are looked through for a run's queries."""


@dataclass(frozen=True, slots=True)
class Observation:
    """One request of a run that ended well."""

    span: RequestSpan
    operator: str
    query_id: str
    difficulty: int
    num_prompt_characters: int
    num_messages: int
    answer: str | None
    is_right: bool
    read_answer: str | None
    """Of the solution it read; None without one."""
    read_right: bool | None
    """Whether that was right; None without one."""
    candidates: tuple[str | None, ...] = ()
    """The answers it could choose among."""
    choice: str | None = None
    """The answer it chose; an empty text for a candidate without one, None where there was no choice."""


async def observations(traces: Sequence[RolloutTrace], task: RememberingTask, config: Config) -> list[Observation]:
    """Every request whose prompt can be made again, in the order of the traces.

    Raises:
        ConfigError: the run's operators run code, or its queries are not those of its task.
    """
    remember_queries(task, {trace.query_id for trace in traces})
    spans = {span.request_id: span for trace in traces for span in requests(trace) if span.timing is not None}
    engine = ReplayEngine(spans, answering(config.engine).max_model_len or 2**31)
    roster = load_roster(config)
    executor = Executor.of(config, engine, task, roster)
    executor.abort = False  # every request that was asked then is asked again
    for trace in traces:
        used = {name for layer in trace.architecture for name in layer}
        if any(needs_sandbox(roster.known[name]) for name in (*used, *config.finaliser)):
            raise ConfigError("engine.run: a run whose operators run code cannot be fitted to")
        await executor.run(plan_of(trace, task))
    return [_observe(request, spans[request.request_id], task) for request in engine.requests]


def plan_of(trace: RolloutTrace, task: RememberingTask) -> Plan:
    """The plan that a rollout came from; its requests then have the same ids."""
    first = next(iter(requests(trace)), None)
    return Plan(
        task.remembered(trace.query_id),
        trace.architecture,
        trace.mode,
        trace.policy,
        trace.step,
        trace.rollout,
        0 if first is None else occasion_of(first.request_id).epoch,
    )


def remember_queries(task: RememberingTask, query_ids: set[str]) -> None:
    """Have the task give each of some queries.

    Raises:
        ConfigError: it has no such query among its first examples.
    """
    missing = set(query_ids)
    splits: tuple[Split, ...] = ("train", "test")
    for index in range(MAX_EXAMPLES):
        for split in splits:
            size = task.num_examples(split)
            if size is None or index < size:
                missing.discard(task.example(split, index).query.id)
        if not missing:
            return
    raise ConfigError(f"engine.run: its task has no query {min(missing)!r} among its first {MAX_EXAMPLES}")


def _observe(request: GenerationRequest, span: RequestSpan, task: RememberingTask) -> Observation:
    occasion = occasion_of(request.request_id)
    example = task.remembered(occasion.query_id)
    right = task.right_answer(example)
    read = request.messages[-1].content[len(example.query.problem) :]
    read_answer = task.extract_answer(read) if read and not request.choices else None
    answers: tuple[str | None, ...] = ()
    choice = None
    if request.choices:
        answers = tuple(task.extract_answer(text) for text in candidates(read, request.choices))
        choice = answers[request.choices.index(span.text or "")] or ""
    answer = choice if request.choices else task.extract_answer(span.text or "")
    return Observation(
        span=span,
        operator=occasion.operator,
        query_id=occasion.query_id,
        difficulty=task.difficulty(example),
        num_prompt_characters=sum(len(message.content) for message in request.messages),
        num_messages=len(request.messages),
        answer=answer,
        is_right=answer == right,
        read_answer=read_answer,
        read_right=None if not read or request.choices else read_answer == right,
        candidates=answers,
        choice=choice,
    )
