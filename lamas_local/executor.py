"""Runs an architecture on a query: operators become concurrent requests, everything is stamped."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lamas_local.config import SamplingConfig
from lamas_local.finaliser import vote
from lamas_local.operator_call import RunningCall
from lamas_local.operators.base import EARLY_STOP, Operator, OperatorError, Update, merge, needs_solution
from lamas_local.sandbox import Sandbox, SandboxError
from lamas_local.tasks.base import Example, Task
from lamas_local.trace import Architecture, ExecutionMode, Failure, LayerSpan, OperatorSpan, RolloutTrace
from serving.types import Engine


@dataclass(frozen=True, slots=True)
class Plan:
    """One rollout to be: what runs on which query, and how it is seeded and named."""

    example: Example
    architecture: Architecture
    mode: ExecutionMode
    policy: str = "train"
    step: int = 0
    rollout: int = 0
    epoch: int = 0
    """Which pass over the split the query belongs to, from 0."""
    is_finalised: bool = True
    """Whether the finaliser's operators follow; the vote always does."""


class Executor:
    """Architecture and engine in, rollout out. Any number of rollouts may run at once on one engine."""

    def __init__(
        self,
        engine: Engine,
        task: Task,
        operators: Iterable[Operator],
        sampling: SamplingConfig,
        seed: int,
        finaliser: Sequence[str] = (),
        sandbox: Sandbox | None = None,
    ) -> None:
        """Put together what runs.

        Args:
            engine: answers the requests.
            task: its prompts, its reading of answers, its score.
            operators: everything that plans and the finaliser may name.
            sampling: of every request.
            seed: every request's seed is derived from it.
            finaliser: names of the operators that run after the vote, in order.
            sandbox: runs what operators ask to be run; None where none of them does.
        """
        self.engine = engine
        self.task = task
        self.operators = {operator.name: operator for operator in operators}
        self.sampling = sampling
        self.seed = seed
        self.finaliser = tuple(finaliser)
        self.sandbox = sandbox

    async def run(self, plan: Plan) -> RolloutTrace:
        """Run every layer, then the finaliser; the rollout has ended before it is scored.

        A failed operator is a fact on the trace and its siblings are used; a rollout fails when no solution is left.
        """
        started = time.monotonic()
        solutions: tuple[str, ...] = ()
        layers: list[LayerSpan] = []
        for index, drawn in enumerate(plan.architecture):
            layer, solutions = await self._run_layer(plan, index, drawn, solutions)
            layers.append(layer)
        answer, finaliser = await self._finalise(plan, solutions)
        ended = time.monotonic()
        score, failure = None, None if answer is not None else _commonest_failure(layers)
        if answer is not None:
            try:
                score = await self.task.score(plan.example, answer)
            except SandboxError as error:  # nothing is known of the answer: neither right nor wrong
                answer, failure = None, Failure(type(error).__name__, str(error))
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
            finaliser=finaliser,
            answer=answer,
            score=score,
            failure=failure,
        )

    async def _run_layer(
        self, plan: Plan, index: int, drawn: Sequence[str], solutions: tuple[str, ...]
    ) -> tuple[LayerSpan, tuple[str, ...]]:
        """One layer, and the solutions after it, merged in drawn order."""
        started = time.monotonic()
        names = [name for name in drawn if name != EARLY_STOP]
        copies = [names[:i].count(name) for i, name in enumerate(names)]
        if plan.mode == "layered":
            running = (
                self._run_operator(plan, index, name, solutions, copy) for name, copy in zip(names, copies, strict=True)
            )
            results = await asyncio.gather(*running)
            solutions = merge(solutions, [update for _, update in results])
        else:
            results = []
            for name, copy in zip(names, copies, strict=True):
                results.append(await self._run_operator(plan, index, name, solutions, copy))
                solutions = merge(solutions, [results[-1][1]])
        return LayerSpan(started, time.monotonic(), tuple(span for span, _ in results)), solutions

    async def _finalise(self, plan: Plan, solutions: tuple[str, ...]) -> tuple[str | None, LayerSpan]:
        """The vote, then the finaliser's operators on what it leaves; where one fails, the answer before it stays."""
        started = time.monotonic()
        answer = vote(solutions, self.task.extract_answer) if solutions else None
        spans: list[OperatorSpan] = []
        for name in self.finaliser if plan.is_finalised else ():
            if answer is None:
                break
            span, update = await self._run_operator(plan, len(plan.architecture), name, (answer,))
            spans.append(span)
            answer = next(reversed(merge((answer,), [update])), answer)
        return answer, LayerSpan(started, time.monotonic(), tuple(spans))

    async def _run_operator(
        self, plan: Plan, layer: int, name: str, solutions: tuple[str, ...], copy: int = 0
    ) -> tuple[OperatorSpan, Update]:
        operator = self.operators[name]
        label = f"{name}#{copy + 1}" if copy else name
        call = RunningCall(
            executor=self,
            query=plan.example.query,
            run=f"{plan.policy}-{plan.step}",
            rollout=plan.rollout,
            epoch=plan.epoch,
            layer=layer,
            label=label,
            solutions=() if operator.reads == "problem" else solutions,
        )
        started = time.monotonic()
        failure, update = None, Update(added=())
        try:
            if needs_solution(operator) and not solutions:
                raise OperatorError(Failure("NothingToRead", "every operator before it failed"))
            update = await operator.run(call)
        except OperatorError as error:
            failure = error.failure
        return OperatorSpan(name, started, time.monotonic(), tuple(call.steps), failure), update


def _commonest_failure(layers: Sequence[LayerSpan]) -> Failure:
    failures = Counter(span.failure for layer in layers for span in layer.operators if span.failure is not None)
    return failures.most_common(1)[0][0] if failures else Failure("NoSolution", "the architecture made no solution")
