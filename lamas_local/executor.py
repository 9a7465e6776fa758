"""Runs an architecture on a query: operators become concurrent requests, everything is stamped."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass, field

from lamas_local.config import ConfigError, SamplingConfig
from lamas_local.finaliser import vote
from lamas_local.operators.base import EARLY_STOP, Operator, OperatorError, Update, merge, needs_solution
from lamas_local.prompt import FittedPrompt, Prompt, fit_prompt
from lamas_local.sandbox import Sandbox, SandboxResult
from lamas_local.seeds import derive_seed, occasion
from lamas_local.tasks.base import Example, Task, TaskPrompts
from lamas_local.trace import (
    Architecture,
    ExecutionMode,
    Failure,
    LayerSpan,
    OperatorSpan,
    RequestSpan,
    RolloutTrace,
    Step,
    ToolSpan,
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
    epoch: int = 0
    """Which pass over the split the query belongs to, from 0."""


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
            score=await self.task.score(plan.example, answer) if answer is not None else None,
            failure=None if answer is not None else _commonest_failure(layers),
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
        for name in self.finaliser if answer is not None else ():
            assert answer is not None
            span, update = await self._run_operator(plan, len(plan.architecture), name, (answer,))
            spans.append(span)
            answer = merge((answer,), [update])[-1]
        return answer, LayerSpan(started, time.monotonic(), tuple(spans))

    async def _run_operator(
        self, plan: Plan, layer: int, name: str, solutions: tuple[str, ...], copy: int = 0
    ) -> tuple[OperatorSpan, Update]:
        operator = self.operators[name]
        label = f"{name}#{copy + 1}" if copy else name
        call = _Call(self, plan, layer, label, () if operator.reads == "problem" else solutions)
        started = time.monotonic()
        failure, update = None, Update(added=())
        try:
            if needs_solution(operator) and not solutions:
                raise OperatorError(Failure("NothingToRead", "every operator before it failed"))
            update = await operator.run(call)
        except OperatorError as error:
            failure = error.failure
        return OperatorSpan(name, started, time.monotonic(), tuple(call.steps), failure), update


@dataclass(slots=True)
class _Call:
    """One run of one operator: what it sees, and the spans of what it does."""

    executor: Executor
    plan: Plan
    layer: int
    label: str
    """The operator's name; a further copy of it in a layer has its number besides."""
    solutions: tuple[str, ...]
    steps: list[Step] = field(default_factory=list)

    @property
    def problem(self) -> str:
        return self.plan.example.query.problem

    @property
    def entry_point(self) -> str | None:
        return self.plan.example.query.entry_point

    @property
    def prompts(self) -> TaskPrompts:
        return self.executor.task.prompts

    def extract_answer(self, solution: str) -> str | None:
        return self.executor.task.extract_answer(solution)

    async def run_python(self, code: str, function: str | None = None) -> SandboxResult:
        return await self._tool("run", self._sandbox.run(code, function))

    async def check_python(self, code: str, entry_point: str, tests: str) -> SandboxResult:
        return await self._tool("check", self._sandbox.check(code, entry_point, tests))

    @property
    def _sandbox(self) -> Sandbox:
        if self.executor.sandbox is None:
            raise ConfigError(f"operators: {self.label} runs Python, so its class must have `needs_sandbox = True`")
        return self.executor.sandbox

    async def _tool(self, name: str, running: Awaitable[SandboxResult]) -> SandboxResult:
        result = await running
        span = ToolSpan(
            name=name,
            asked=result.asked,
            started=result.started,
            ended=result.ended,
            status=result.status,
            isolation=self._sandbox.isolation,
            output=_last_lines(result.traceback or result.output),
        )
        self.steps.append((span,))
        return result

    async def ask(
        self, prompt: Prompt, num_samples: int = 1, choices: tuple[str, ...] | None = None, stop: tuple[str, ...] = ()
    ) -> list[str]:
        return await self._complete_all([self._fit(prompt)] * num_samples, choices, stop)

    async def ask_together(self, prompts: Sequence[Prompt], stop: tuple[str, ...] = ()) -> list[str]:
        return await self._complete_all([self._fit(prompt) for prompt in prompts], None, stop)

    def _fit(self, prompt: Prompt) -> FittedPrompt:
        engine = self.executor.engine
        return fit_prompt(prompt, engine, engine.max_model_len - self.executor.sampling.max_tokens)

    async def _complete_all(
        self, prompts: Sequence[FittedPrompt], choices: tuple[str, ...] | None, stop: tuple[str, ...]
    ) -> list[str]:
        """One step: its requests run at the same time."""
        step = len(self.steps)
        self.steps.append(())  # taken now, so that requests keep ids of their own whatever else is asked meanwhile
        spans = await asyncio.gather(
            *(
                self._complete(self._request(fitted.messages, step, sample, choices, stop), fitted.num_cut_tokens)
                for sample, fitted in enumerate(prompts)
            )
        )
        self.steps[step] = tuple(spans)
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
        plan = self.plan
        # The policy and the step keep request ids apart where they run the same query; they are no part of a seed.
        run = f"{plan.policy}-{plan.step}"
        place = (occasion(plan.example.query.id, plan.epoch), plan.rollout, self.layer, self.label, step, sample)
        return GenerationRequest(
            request_id="/".join(str(part) for part in (run, *place)),
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


def _last_lines(text: str) -> str:
    """What of a run's output is kept on the trace: at most 10 lines and 2,000 characters."""
    return "\n".join(text.rstrip().splitlines()[-10:])[-2000:]
