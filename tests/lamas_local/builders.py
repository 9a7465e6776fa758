"""Small builders: traces by hand, engines that answer as told, whole runs without a model."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from lamas_local.config import Config, SamplingConfig
from lamas_local.config_loader import dump_config
from lamas_local.embedding import FakeEmbedder
from lamas_local.executor import Executor, Plan
from lamas_local.operators import OPERATORS, Operator, load_operators
from lamas_local.run_folder import RunFolder
from lamas_local.sandbox import Sandbox, SandboxResult, Status
from lamas_local.session import new_controller
from lamas_local.tasks import Example, Query, Split, Task, TaskPrompts, load_task
from lamas_local.trace import (
    Architecture,
    ExecutionMode,
    Failure,
    LayerSpan,
    OperatorSpan,
    RequestSpan,
    RolloutTrace,
    Span,
    Step,
    ToolSpan,
)
from lamas_local.trainer import Trainer
from lamas_local.virtual_time import run_virtually
from serving.clock import now
from serving.fake_engine import FakeEngine
from serving.types import Completion, Engine, EngineError, GenerationRequest, RequestTiming

T = TypeVar("T")


def run_to_the_end(coroutine: Coroutine[Any, Any, T]) -> T:
    """Its result in virtual time; nothing may be left running."""

    async def main() -> T:
        result = await coroutine
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return result

    return run_virtually(main())


# Traces by hand. What a test does not name is zero or empty.


def request(tokens: int, *, prompt_tokens: int = 0, text: str = "so 4") -> RequestSpan:
    return RequestSpan(
        request_id="r",
        seed=0,
        started=0.0,
        ended=0.0,
        timing=RequestTiming(0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
        num_prompt_tokens=prompt_tokens,
        num_output_tokens=tokens,
        finish_reason="stop",
        text=text,
    )


def tool(seconds: float, status: Status = "ok", waited: float = 0.0) -> ToolSpan:
    return ToolSpan("run", 5.0 - waited, 5.0, 5.0 + seconds, status, "fake")


def operator(
    *steps: int | Span | Step, seconds: float = 0.0, name: str = "Generate", started: float = 0.0, **facts: Any
) -> OperatorSpan:
    """A step is a tuple of spans, one span, or the output tokens of one request."""
    spans = (request(step) if isinstance(step, int) else step for step in steps)
    tuples = tuple(span if isinstance(span, tuple) else (span,) for span in spans)
    return OperatorSpan(name, started, started + seconds, tuples, **{"num_added": 1, **facts})


def layer(*operators: OperatorSpan, seconds: float | None = None) -> LayerSpan:
    """Takes as long as its longest operator where the test does not say."""
    longest = max((one.ended - one.started for one in operators), default=0.0)
    return LayerSpan(0.0, longest if seconds is None else seconds, operators)


def trace(
    *layers: LayerSpan,
    mode: ExecutionMode = "layered",
    finaliser: LayerSpan | None = None,
    wall_s: float = 0.0,
    score: float | None = 1.0,
    failure: Failure | None = None,
    policy: str = "train",
    query_id: str = "q",
    step: int = 1,
    started: float = 100.0,
) -> RolloutTrace:
    return RolloutTrace(
        query_id=query_id,
        rollout=0,
        policy=policy,
        step=step,
        mode=mode,
        architecture=tuple(tuple(span.name for span in one.operators) or ("EarlyStop",) for one in layers),
        started=started,
        ended=started + wall_s,
        layers=layers,
        finaliser=finaliser or LayerSpan(0.0, 0.0, ()),
        answer=None if failure else "4",
        score=None if failure else score,
        failure=failure,
    )


# Engines and tasks.


class ScriptedEngine(FakeEngine):
    """Answers what the test says, as late as it says; keeps every request and the most that ran at once."""

    def __init__(
        self,
        answer: Callable[[GenerationRequest], str] | None = None,
        delay_s: Callable[[GenerationRequest], float] = lambda request: 0.0,
        fail: Callable[[GenerationRequest], EngineError | None] = lambda request: None,
        max_model_len: int = 2048,
    ) -> None:
        super().__init__(max_model_len=max_model_len)
        self._answer, self._delay, self._failure = answer, delay_s, fail
        self.requests: list[GenerationRequest] = []
        self.num_in_flight = self.max_in_flight = 0

    async def generate(self, request: GenerationRequest) -> Completion:
        started = now()
        self.requests.append(request)
        self.num_in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.num_in_flight)
        try:
            await asyncio.sleep(self._delay(request))
            if (error := self._failure(request)) is not None:
                raise error
            if self._answer is None:
                return await super().generate(request)
        finally:
            self.num_in_flight -= 1
        text, ended = self._answer(request), now()
        return Completion(
            text=text,
            num_prompt_tokens=self.count_chat_tokens(request.messages),
            num_cached_tokens=0,
            num_output_tokens=len(text.split()),
            finish_reason="stop",
            timing=RequestTiming(started, started, started, ended, ended, ended),
        )


def operator_of(request: GenerationRequest) -> str:
    """The operator (and copy) a request belongs to: its id ends in operator, step and sample."""
    return request.request_id.split("/")[-3]


def user_text(request: GenerationRequest) -> str:
    return request.messages[-1].content


class OneProblemTask:
    """The same problem at every position; scored by a function of the solution. With `size`, it starts over."""

    prompts = TaskPrompts("End with 'Answer:' and the number.")

    def __init__(
        self,
        problem: str = "2 + 2?",
        score: Callable[[str], float] = lambda solution: 1.0,
        *,
        size: int | None = None,
        entry_point: str | None = None,
        score_s: float = 0.0,
    ) -> None:
        self.problem = problem
        self.size = size
        self.entry_point = entry_point
        self.is_closed = False
        self._score = score
        self._score_s = score_s

    def num_examples(self, split: Split) -> int | None:
        return self.size

    def example(self, split: Split, index: int) -> Example:
        position = index % self.size if self.size else index
        return Example(Query(f"{split}-{position}", self.problem, self.entry_point), "4")

    def extract_answer(self, solution: str) -> str | None:
        return solution or None

    async def score(self, example: Example, solution: str) -> float:
        await asyncio.sleep(self._score_s)
        return self._score(solution)

    async def close(self) -> None:
        self.is_closed = True


class FakeSandbox(Sandbox):
    """Runs nothing: each program gets the next result of the script, the last one again and again."""

    def __init__(self, *script: SandboxResult, seconds: float = 0.0) -> None:
        self.isolation = "fake"
        self.script = list(script)
        self.seconds = seconds
        self.runs: list[tuple[str, ...]] = []

    async def run(self, code: str, function: str | None = None) -> SandboxResult:
        return await self._next(code, function or "")

    async def check(self, code: str, entry_point: str, tests: str) -> SandboxResult:
        return await self._next(code, entry_point, tests)

    async def _next(self, *run: str) -> SandboxResult:
        started = now()
        self.runs.append(run)
        await asyncio.sleep(self.seconds)
        result = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        return replace(result, asked=started, started=started, ended=now())


def result(value: str | None = None, status: Status = "ok", *, output: str = "", traceback: str = "") -> SandboxResult:
    return SandboxResult(status, value, output, traceback, 0.0, 0.0, 0.0)


def executor(
    engine: Engine,
    task: Task | None = None,
    *,
    seed: int = 0,
    max_tokens: int = 64,
    finaliser: Sequence[str] = (),
    sandbox: Sandbox | None = None,
) -> Executor:
    sampling = SamplingConfig(max_tokens=max_tokens)
    operators = load_operators(list(OPERATORS))
    return Executor(engine, task or OneProblemTask(), operators, sampling, seed, finaliser, sandbox)


async def run(
    engine: Engine,
    architecture: Architecture,
    mode: ExecutionMode = "layered",
    *,
    task: Task | None = None,
    rollout: int = 0,
    **settings: Any,
) -> RolloutTrace:
    """One rollout on position 0 of the task's test split."""
    task = task or OneProblemTask()
    plan = Plan(task.example("test", 0), architecture, mode, rollout=rollout)
    return await executor(engine, task, **settings).run(plan)


# Whole runs.

SMALL: dict[str, dict[str, Any]] = {
    "engine": {"kind": "fake"},
    "sampling": {"max_tokens": 48},
    "controller": {"encoder": "fake", "num_layers": 2},
    "latency": {"signal": "tokens"},
    "trainer": {"num_steps": 3, "queries_per_step": 2, "rollouts_per_query": 2, "checkpoint_every": 1},
    "evaluation": {"policies": ["trained", "fixed:Generate"], "num_queries": 2},
}


def make_config(run_dir: Path | str = "runs/test", **changes: Any) -> Config:
    """A small run on the fake engine; each change is a setting, or a section's settings."""
    tree: dict[str, Any] = {"run_dir": str(run_dir), **SMALL}
    for key, value in changes.items():
        tree[key] = {**tree.get(key, {}), **value} if isinstance(value, dict) else value
    return Config.model_validate(tree)


def make_trainer(config: Config, engine: Engine | None = None, task: Task | None = None) -> Trainer:
    """A trainer whose run folder exists."""
    task = task or load_task(config.task, config.seed)
    operators: Sequence[Operator] = load_operators(config.operators)
    embedder = FakeEmbedder()
    controller = new_controller(config, list(operators), embedder)
    folder = RunFolder(config.run_dir)
    folder.checkpoints.mkdir(parents=True, exist_ok=True)
    runner = Executor(engine or FakeEngine(), task, operators, config.sampling, config.seed)
    return Trainer(config, task, controller, embedder, runner, folder)


def write_config(run_dir: Path, **changes: Any) -> list[str]:
    """The arguments that train it: `["train", "--config", FILE]`; the file lies beside the run folder."""
    file = run_dir.with_suffix(".yaml")
    file.write_text(dump_config(make_config(run_dir, **changes)), encoding="utf-8")
    return ["train", "--config", str(file)]
