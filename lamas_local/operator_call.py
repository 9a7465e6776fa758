"""One run of one operator: what it sees, and what it does with the engine and the sandbox, kept as spans."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from lamas_local.config import ConfigError, SamplingConfig
from lamas_local.deadline import Beginning, Deadline
from lamas_local.operators.base import Operator, OperatorError, Update, max_added, needs_solution
from lamas_local.prompt import FittedPrompt, Prompt, fit_prompt
from lamas_local.sandbox import Sandbox, SandboxError, SandboxResult
from lamas_local.seeds import derive_seed
from lamas_local.tasks.base import Query, Task, TaskPrompts
from lamas_local.trace import Failure, OperatorSpan, RequestSpan, Step, ToolSpan
from serving.clock import now
from serving.types import Engine, EngineDeadError, EngineError, GenerationRequest, Message


class Workplace(Protocol):
    """What every operator works with; the executor is one."""

    engine: Engine
    task: Task
    sampling: SamplingConfig
    seed: int
    sandbox: Sandbox | None


@dataclass(slots=True)
class RunningCall:
    """An `OperatorCall` on the real engine and sandbox; `steps` holds the spans of what was done."""

    workplace: Workplace
    operator: Operator
    query: Query
    """Not the example: gold answers and hidden tests stay out of an operator's reach."""
    run_name: str
    """The policy and the step: keeps request ids apart where they run the same query; no part of a seed."""
    identity: tuple[str | int, ...]
    """Names and seeds its requests, with their step and sample: the occasion, the rollout, the layer, and the name of
    the operator, with a number where it is a further copy in its layer."""
    solutions: tuple[str, ...]
    started: float
    deadline: Deadline | None = None
    """When requests give what they have, if nothing else has given an answer."""
    steps: list[Step] = field(default_factory=list)

    async def run(self) -> tuple[OperatorSpan, Update]:
        """Run the operator; one that fails leaves the solutions as they are.

        Raises:
            ConfigError: it adds more solutions than it says.
        """
        failure, update = None, Update(added=())
        try:
            if needs_solution(self.operator) and not self.solutions:
                raise OperatorError(Failure("NothingToRead", "every operator before it failed"))
            update = await self.operator.run(self)
        except OperatorError as error:
            failure = error.failure
        most = max_added(self.operator)
        if most is not None and len(update.added) > most:
            raise ConfigError(
                f"operators: {self.operator.name} added {len(update.added)} solutions; its max_added is {most}"
            )
        update = Update(update.added, min(update.num_replaced, len(self.solutions)))
        return self.span(update, failure), update

    def span(self, update: Update, failure: Failure | None = None, *, is_aborted: bool = False) -> OperatorSpan:
        """What is kept of it, now that it has ended."""
        return OperatorSpan(
            name=self.operator.name,
            started=self.started,
            ended=now(),
            steps=tuple(self.steps),
            failure=failure,
            reads=self.operator.reads,
            num_added=len(update.added),
            num_replaced=update.num_replaced,
            is_aborted=is_aborted,
        )

    def stopped(self) -> tuple[OperatorSpan, Update]:
        """What is kept of it where it was not begun or not let finish: nothing it made."""
        nothing = Update(added=())
        return self.span(nothing, is_aborted=True), nothing

    @property
    def problem(self) -> str:
        """The query's text."""
        return self.query.problem

    @property
    def entry_point(self) -> str | None:
        """The function to be written, where the answer is code."""
        return self.query.entry_point

    @property
    def prompts(self) -> TaskPrompts:
        """The task's own pieces of prompt."""
        return self.workplace.task.prompts

    def extract_answer(self, solution: str) -> str | None:
        """The task's reading of a solution."""
        return self.workplace.task.extract_answer(solution)

    async def run_python(self, code: str, function: str | None = None) -> SandboxResult:
        """Run a program in the sandbox: one step, one span."""
        return await self._tool("run", self._sandbox.run(code, function))

    async def check_python(self, code: str, entry_point: str, tests: str) -> SandboxResult:
        """Run our tests against a program in the sandbox: one step, one span."""
        return await self._tool("check", self._sandbox.check(code, entry_point, tests))

    @property
    def _sandbox(self) -> Sandbox:
        if self.workplace.sandbox is None:
            raise ConfigError(
                f"operators: {self.operator.name} runs Python, so its class must have `needs_sandbox = True`"
            )
        return self.workplace.sandbox

    async def _tool(self, name: str, running: Awaitable[SandboxResult]) -> SandboxResult:
        asked = now()
        try:
            result = await running
        except SandboxError as error:
            raise OperatorError(Failure(type(error).__name__, str(error))) from error
        except asyncio.CancelledError:
            span = ToolSpan(name, asked, asked, now(), "aborted", self._sandbox.isolation)
            self.steps.append((span,))
            raise
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
        """Samples of one prompt: one step, a span each."""
        return await self._complete_all([self._fit(prompt)] * num_samples, choices, stop)

    async def ask_together(self, prompts: Sequence[Prompt], stop: tuple[str, ...] = ()) -> list[str]:
        """Several prompts once each: one step, a span each."""
        return await self._complete_all([self._fit(prompt) for prompt in prompts], None, stop)

    def _fit(self, prompt: Prompt) -> FittedPrompt:
        engine = self.workplace.engine
        if self.query.context:
            prompt = replace(prompt, context=(*prompt.context, *self.query.context))
        return fit_prompt(prompt, engine, engine.max_model_len - self.workplace.sampling.max_tokens)

    async def _complete_all(
        self, prompts: Sequence[FittedPrompt], choices: tuple[str, ...] | None, stop: tuple[str, ...]
    ) -> list[str]:
        """One step: its requests run at the same time."""
        step = len(self.steps)
        self.steps.append(())  # taken now, so that requests keep ids of their own whatever else is asked meanwhile
        ended: dict[int, RequestSpan] = {}

        async def complete(sample: int, fitted: FittedPrompt) -> None:
            request = self._request(fitted.messages, step, sample, choices, stop)
            ended[sample] = await self._complete(request, fitted.num_cut_tokens)

        try:
            await asyncio.gather(*(complete(sample, fitted) for sample, fitted in enumerate(prompts)))
        finally:  # also where the operator was aborted
            spans = [ended[sample] for sample in sorted(ended)]
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
        sampling = self.workplace.sampling
        place = (*self.identity, step, sample)
        return GenerationRequest(
            request_id="/".join(str(part) for part in (self.run_name, *place)),
            messages=messages,
            max_tokens=sampling.max_tokens,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            seed=derive_seed(self.workplace.seed, *place),
            choices=choices,
            stop=stop,
        )

    async def _complete(self, request: GenerationRequest, num_cut_tokens: int) -> RequestSpan:
        assert request.seed is not None
        seed = request.seed
        started = now()
        engine = self.workplace.engine
        try:
            completion = await (
                engine.generate(request) if self.deadline is None else self.deadline.ask(engine, request)
            )
        except EngineDeadError:
            raise
        except asyncio.CancelledError:
            # Swallowed, so that the samples beside it end before `gather` raises it in the operator.
            return RequestSpan(request.request_id, seed, started, now(), num_cut_tokens, is_aborted=True)
        except EngineError as error:
            failure = Failure(type(error).__name__, str(error))
            return RequestSpan(request.request_id, seed, started, now(), num_cut_tokens, failure=failure)
        if isinstance(completion, Beginning):
            return RequestSpan(
                request_id=request.request_id,
                seed=seed,
                started=started,
                ended=now(),
                num_cut_tokens=num_cut_tokens,
                num_prompt_tokens=engine.count_chat_tokens(request.messages),
                num_output_tokens=engine.tokenizer.count(completion.text),
                text=completion.text,
                is_aborted=True,
            )
        return RequestSpan(
            request_id=request.request_id,
            seed=seed,
            started=started,
            ended=now(),
            num_cut_tokens=num_cut_tokens,
            timing=completion.timing,
            num_prompt_tokens=completion.num_prompt_tokens,
            num_cached_tokens=completion.num_cached_tokens,
            num_output_tokens=completion.num_output_tokens,
            finish_reason=completion.finish_reason,
            text=completion.text,
            replica=completion.replica,
            num_retries=completion.num_retries,
        )


def _last_lines(text: str) -> str:
    """What of a run's output is kept on the trace: at most 10 lines and 2,000 characters."""
    return "\n".join(text.rstrip().splitlines()[-10:])[-2000:]
