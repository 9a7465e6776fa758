"""Runs an architecture on a query: operators become concurrent requests, everything is stamped."""

from __future__ import annotations

import asyncio
import functools
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lamas_local.config import Config, SamplingConfig
from lamas_local.dataflow import Node, Results, merge_layers, nodes
from lamas_local.deadline import Deadline
from lamas_local.finaliser import is_decided, vote
from lamas_local.observer import Observer
from lamas_local.operator_call import RunningCall
from lamas_local.operators.base import EARLY_STOP, Operator, Update, merge, visible
from lamas_local.operators.roster import Roster
from lamas_local.reuse import RolloutRuns
from lamas_local.sandbox import Sandbox, SandboxError
from lamas_local.scheduler import run_dataflow
from lamas_local.seeds import occasion
from lamas_local.tasks.base import Example, Task
from lamas_local.trace import Architecture, ExecutionMode, Failure, LayerSpan, OperatorSpan, RolloutTrace
from serving.clock import now
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
    runs: RolloutRuns | None = None
    """Where recorded runs come from; without it every operator runs."""
    is_scored: bool = True
    """Whether there is a gold answer to score by."""
    deadline: Deadline | None = None
    """When the answer is to be ready, at whatever stage the work is then."""
    observer: Observer | None = None
    """Is told of every operator's start and end."""


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
        abort: bool = True,
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
            abort: whether `dataflow` stops what can no longer matter.
        """
        self.engine = engine
        self.task = task
        self.operators = {operator.name: operator for operator in operators}
        self.sampling = sampling
        self.seed = seed
        self.finaliser = tuple(finaliser)
        self.sandbox = sandbox
        self.abort = abort

    @classmethod
    def of(cls, config: Config, engine: Engine, task: Task, roster: Roster, sandbox: Sandbox | None = None) -> Executor:
        """The executor that a configuration describes, on an engine."""
        return cls(
            engine,
            task,
            roster.known.values(),
            config.sampling,
            config.seed,
            [operator.name for operator in roster.finaliser],
            sandbox,
            abort=config.execution.abort,
        )

    async def run(self, plan: Plan) -> RolloutTrace:
        """Run every layer, then the finaliser; the rollout has ended before it is scored.

        A failed operator is a fact on the trace and its siblings are used; a rollout fails when no solution is left.
        """
        started = now()
        run_layers = self._run_as_dataflow if plan.mode == "dataflow" else self._run_layers
        layers, solutions = await run_layers(plan, [_without_stop(drawn) for drawn in plan.architecture])
        answer, finaliser = await self._finalise(plan, solutions)
        ended = now()
        score, failure = None, None if answer is not None else _commonest_failure(layers)
        if answer is not None and plan.is_scored:
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

    async def _run_layers(
        self, plan: Plan, architecture: Sequence[Sequence[str]]
    ) -> tuple[list[LayerSpan], tuple[str, ...]]:
        """One layer after another; and the solutions after them, merged in drawn order."""
        solutions: tuple[str, ...] = ()
        layers: list[LayerSpan] = []
        for index, names in enumerate(architecture):
            started = now()
            if plan.mode == "layered":
                running = (self._run_operator(plan, index, names, i, solutions) for i in range(len(names)))
                results = await asyncio.gather(*running)
                solutions = merge(solutions, [update for _, update in results])
            else:
                results = []
                for i in range(len(names)):
                    results.append(await self._run_operator(plan, index, names, i, solutions))
                    solutions = merge(solutions, [results[-1][1]])
            layers.append(LayerSpan(started, now(), tuple(span for span, _ in results)))
        return layers, solutions

    async def _run_as_dataflow(
        self, plan: Plan, architecture: Sequence[Sequence[str]]
    ) -> tuple[list[LayerSpan], tuple[str, ...]]:
        """Every operator as soon as what it reads exists; the solutions are merged as those of layers."""
        operators = [[self.operators[name] for name in names] for names in architecture]
        calls: dict[Node, RunningCall] = {}
        spans: dict[Node, OperatorSpan] = {}

        async def start(node: Node, solutions: tuple[str, ...]) -> Update:
            layer, position = node
            calls[node] = self._call(plan, layer, architecture[layer], position, solutions)
            spans[node], update = await _run(plan, calls[node], node)
            return update

        def is_over(results: Results) -> bool:
            return can_abort and is_decided(
                [[results.get((i, j), one) for j, one in enumerate(drawn)] for i, drawn in enumerate(operators)],
                extract_answer,
            )

        can_abort = self.abort and not (plan.is_finalised and self.finaliser)  # a finaliser reads the answer's words
        extract_answer = functools.cache(self.task.extract_answer)
        reads = [[operator.reads for operator in drawn] for drawn in operators]
        started = now()
        results = await run_dataflow(reads, start, is_over)
        for node in nodes(architecture):
            if node not in results:
                layer, position = node
                call = calls.get(node) or self._call(plan, layer, architecture[layer], position, ())
                spans[node], _ = call.stopped()
                if node in calls and plan.observer is not None:
                    plan.observer.ended(*node, spans[node])
        layers = [[spans[layer, i] for i in range(len(names))] for layer, names in enumerate(architecture)]
        return _overlapping(layers, started), merge_layers(architecture, results)

    async def _finalise(self, plan: Plan, solutions: tuple[str, ...]) -> tuple[str | None, LayerSpan]:
        """The vote, then the finaliser's operators on what it leaves; where one fails, the answer before it stays."""
        started = now()
        answer = vote(solutions, self.task.extract_answer) if solutions else None
        spans: list[OperatorSpan] = []
        for name in self.finaliser if plan.is_finalised else ():
            if answer is None:
                break
            span, update = await self._run_operator(plan, len(plan.architecture), (name,), 0, (answer,))
            spans.append(span)
            answer = next(reversed(merge((answer,), [update])), answer)
        return answer, LayerSpan(started, now(), tuple(spans))

    async def _run_operator(
        self, plan: Plan, layer: int, names: Sequence[str], position: int, solutions: tuple[str, ...]
    ) -> tuple[OperatorSpan, Update]:
        return await _run(plan, self._call(plan, layer, names, position, solutions), (layer, position))

    def _call(
        self, plan: Plan, layer: int, names: Sequence[str], position: int, solutions: tuple[str, ...]
    ) -> RunningCall:
        """The run of the operator at a position of a layer, from now on; it sees of `solutions` what it reads."""
        name = names[position]
        operator = self.operators[name]
        copy = names[:position].count(name)
        label = f"{name}#{copy + 1}" if copy else name
        return RunningCall(
            workplace=self,
            operator=operator,
            query=plan.example.query,
            run_name=f"{plan.policy}-{plan.step}",
            identity=(occasion(plan.example.query.id, plan.epoch), plan.rollout, layer, label),
            solutions=visible(operator.reads, solutions),
            started=now(),
            deadline=plan.deadline,
        )


async def _run(plan: Plan, call: RunningCall, node: Node) -> tuple[OperatorSpan, Update]:
    """Run an operator, or take its run from a record; past the deadline it is not begun, and stopped where it runs."""
    if plan.deadline is not None and plan.deadline.is_over:
        return call.stopped()
    if plan.observer is not None:
        plan.observer.started(*node, call.operator.name)
    if plan.runs is not None:
        span, update = await plan.runs.run(call)
    elif plan.deadline is not None:
        span, update = await plan.deadline.run(call.run()) or call.stopped()
    else:
        span, update = await call.run()
    if plan.observer is not None:
        plan.observer.ended(*node, span)
    return span, update


def _without_stop(drawn: Sequence[str]) -> list[str]:
    return [name for name in drawn if name != EARLY_STOP]


def _overlapping(layers: Sequence[Sequence[OperatorSpan]], started: float) -> list[LayerSpan]:
    """Layers from the first start to the last end of their operators; an empty one stands where all had ended."""
    ended = max((span.ended for own in layers for span in own), default=started)
    return [
        LayerSpan(
            min((span.started for span in own), default=ended),
            max((span.ended for span in own), default=ended),
            tuple(own),
        )
        for own in layers
    ]


def _commonest_failure(layers: Sequence[LayerSpan]) -> Failure:
    failures = Counter(span.failure for layer in layers for span in layer.operators if span.failure is not None)
    return failures.most_common(1)[0][0] if failures else Failure("NoSolution", "the architecture made no solution")
