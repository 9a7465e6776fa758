"""Runs an architecture on a query: operators become concurrent requests, everything is stamped."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from lamas_local.config import SamplingConfig
from lamas_local.finaliser import vote
from lamas_local.operators.base import EARLY_STOP, Operator, OperatorError, Update
from lamas_local.prompt import Prompt, fit_prompt
from lamas_local.seeds import derive_seed
from lamas_local.tasks.base import Example, Query, Task
from lamas_local.trace import (
    Architecture,
    ExecutionMode,
    Failure,
    LayerSpan,
    OperatorSpan,
    RequestSpan,
    RolloutTrace,
    Step,
)
from serving.types import Engine, EngineDeadError, EngineError, GenerationRequest, Message


@dataclass(frozen=True, slots=True)
class Plan:
    """One rollout to be: what runs on which query, and how it is seeded and named."""

    example: Example
    architecture: Architecture
    mode: ExecutionMode
    policy: str = "train"
    step: int = 0
    rollout: int = 0


class Executor:
    """Architecture and engine in, rollout out. Any number of rollouts may run at once on one engine."""

    def __init__(
        self, engine: Engine, task: Task, operators: Sequence[Operator], sampling: SamplingConfig, seed: int
    ) -> None:
        self.engine = engine
        self.task = task
        self.operators = {operator.name: operator for operator in operators}
        self.sampling = sampling
        self.seed = seed

    async def run(self, plan: Plan) -> RolloutTrace:
        """Run every layer, then the finaliser, then score.

        A failed operator is a fact on the trace and its siblings are used; a rollout fails when no solution is left.
        """
        started = time.monotonic()
        solutions: tuple[str, ...] = ()
        layers: list[LayerSpan] = []
        for index, drawn in enumerate(plan.architecture):
            layer, updates = await self._run_layer(plan, index, drawn, solutions)
            layers.append(layer)
            for update in updates:
                solutions = update.apply(solutions)
        finaliser_started = time.monotonic()
        answer = vote(solutions, self.task.extract_answer) if solutions else None
        ended = time.monotonic()
        return RolloutTrace(
            query_id=plan.example.query.id,
            rollout=plan.rollout,
            policy=plan.policy,
            step=plan.step,
            mode=plan.mode,
            architecture=plan.architecture,
            started=started,
            ended=ended,
            layers=tuple(layers),
            finaliser=LayerSpan(finaliser_started, ended, ()),
            answer=answer,
            score=self.task.score(plan.example, answer) if answer is not None else None,
            failure=None if answer is not None else _commonest_failure(layers),
        )

    async def _run_layer(
        self, plan: Plan, index: int, drawn: Sequence[str], solutions: tuple[str, ...]
    ) -> tuple[LayerSpan, list[Update]]:
        """One layer and what its operators do to the solutions, in drawn order."""
        started = time.monotonic()
        names = [name for name in drawn if name != EARLY_STOP]
        if plan.mode == "layered":
            results = list(await asyncio.gather(*(self._run_operator(plan, index, name, solutions) for name in names)))
        else:
            results = []
            for name in names:
                results.append(await self._run_operator(plan, index, name, solutions))
                solutions = results[-1][1].apply(solutions)
        spans = tuple(span for span, _ in results)
        return LayerSpan(started, time.monotonic(), spans), [update for _, update in results]

    async def _run_operator(
        self, plan: Plan, layer: int, name: str, solutions: tuple[str, ...]
    ) -> tuple[OperatorSpan, Update]:
        operator = self.operators[name]
        call = _Call(
            executor=self,
            query=plan.example.query,
            rollout=plan.rollout,
            run=f"{plan.policy}-{plan.step}",
            layer=layer,
            operator=name,
            solutions=() if operator.reads == "problem" else solutions,
        )
        started = time.monotonic()
        failure, update = None, Update(added=())
        try:
            if operator.reads != "problem" and not solutions:
                raise OperatorError(Failure("NothingToRead", "every operator before it failed"))
            update = await operator.run(call)
        except OperatorError as error:
            failure = error.failure
        return OperatorSpan(name, started, time.monotonic(), tuple(call.steps), failure), update


@dataclass(slots=True)
class _Call:
    """One run of one operator: what it sees, and the spans of what it does."""

    executor: Executor
    query: Query
    rollout: int
    run: str
    """Keeps request ids apart where several policies run the same query; not part of any seed."""
    layer: int
    operator: str
    solutions: tuple[str, ...]
    steps: list[Step] = field(default_factory=list)

    @property
    def problem(self) -> str:
        return self.query.problem

    @property
    def answer_format(self) -> str:
        return self.executor.task.answer_format

    async def ask(
        self, prompt: Prompt, num_samples: int = 1, choices: tuple[str, ...] | None = None, stop: tuple[str, ...] = ()
    ) -> list[str]:
        engine, sampling = self.executor.engine, self.executor.sampling
        fitted = fit_prompt(prompt, engine, engine.max_model_len - sampling.max_tokens)
        requests = [
            self._request(fitted.messages, len(self.steps), sample, choices, stop) for sample in range(num_samples)
        ]
        spans = await asyncio.gather(*(self._complete(request, fitted.num_cut_tokens) for request in requests))
        self.steps.append(tuple(spans))
        texts = [span.text for span in spans if span.text is not None]
        if not texts:
            raise OperatorError(spans[0].failure or Failure("NoSample", "the engine returned nothing"))
        return texts

    def _request(
        self,
        messages: tuple[Message, ...],
        step: int,
        sample: int,
        choices: tuple[str, ...] | None,
        stop: tuple[str, ...],
    ) -> GenerationRequest:
        sampling = self.executor.sampling
        place = (self.query.id, self.rollout, self.layer, self.operator, step, sample)
        return GenerationRequest(
            request_id="/".join(str(part) for part in (self.run, *place)),
            messages=messages,
            max_tokens=sampling.max_tokens,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            seed=derive_seed(self.executor.seed, *place),
            choices=choices,
            stop=stop,
        )

    async def _complete(self, request: GenerationRequest, num_cut_tokens: int) -> RequestSpan:
        assert request.seed is not None
        seed = request.seed
        started = time.monotonic()
        try:
            completion = await self.executor.engine.generate(request)
        except EngineDeadError:
            raise
        except EngineError as error:
            failure = Failure(type(error).__name__, str(error))
            return RequestSpan(request.request_id, seed, started, time.monotonic(), num_cut_tokens, failure=failure)
        return RequestSpan(
            request_id=request.request_id,
            seed=seed,
            started=started,
            ended=time.monotonic(),
            num_cut_tokens=num_cut_tokens,
            timing=completion.timing,
            num_prompt_tokens=completion.num_prompt_tokens,
            num_cached_tokens=completion.num_cached_tokens,
            num_output_tokens=completion.num_output_tokens,
            finish_reason=completion.finish_reason,
            text=completion.text,
        )


def _commonest_failure(layers: Sequence[LayerSpan]) -> Failure:
    failures = Counter(span.failure for layer in layers for span in layer.operators if span.failure is not None)
    return failures.most_common(1)[0][0] if failures else Failure("NoSolution", "the architecture made no solution")
