"""What every command shares: the task, the operators, the encoder, the engine, the executor."""

from __future__ import annotations

import asyncio
import functools
import multiprocessing
import sys
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from lamas_local.config import Config, ConfigError, HumanEvalTaskConfig
from lamas_local.controller import Controller
from lamas_local.embedding import Embedder, FakeEmbedder, SentenceEmbedder
from lamas_local.engine_config import SimulatedEngineConfig
from lamas_local.engines import start_engine
from lamas_local.executor import Executor
from lamas_local.operators import Operator, needs_sandbox
from lamas_local.operators.roster import Roster, load_roster
from lamas_local.policy import FIXED, check_policies, parse_fixed
from lamas_local.reuse import check_reuse
from lamas_local.sandbox import Sandbox
from lamas_local.seeds import derive_seed
from lamas_local.simulation.engine import check_simulation
from lamas_local.simulation.remembering_task import RememberingTask
from lamas_local.tasks import Task, load_task
from lamas_local.virtual_time import run_virtually
from serving.admission import AdmittedEngine
from serving.models import resolve_encoder

T = TypeVar("T")


def run(config: Config, main: Coroutine[Any, Any, T], start: float = 0.0) -> T:
    """`asyncio.run`; in virtual time, from `start` seconds on, where the engine is simulated."""
    return run_virtually(main, start) if isinstance(config.engine, SimulatedEngineConfig) else asyncio.run(main)


@dataclass(frozen=True)
class Session:
    """Opened by `Session.open`; `close` ends the engine and the task's scoring."""

    config: Config
    task: Task
    operators: list[Operator]
    embedder: Embedder
    engine: AdmittedEngine
    executor: Executor

    @classmethod
    async def open(cls, config: Config) -> Session:
        """Check what can be checked without an engine, then start the engine and load the encoder.

        Raises:
            ConfigError: reuse of runs where it cannot be, an unknown operator or policy, no operator for layer 1, less
                isolation than demanded, more test queries than there are, or a prompt budget of nothing.
            serving.types.EngineStartError: the model is unknown or does not fit.
        """
        check_reuse(config)
        roster = load_roster(config)
        sandbox = open_sandbox(config, roster)
        check_simulation(config, sandbox)
        task = load_task(config.task, config.seed, sandbox)
        if isinstance(config.engine, SimulatedEngineConfig):
            task = RememberingTask(task)
        torch.set_num_threads(1)  # the controller is tiny; the cores belong to the engine
        async with AsyncExitStack() as opened:
            opened.push_async_callback(task.close)
            check_splits(config, task)
            new_controller(config, roster.drawn, FakeEmbedder())
            engine, embedder = await start_engine_and_embedder(config, task)
            opened.push_async_callback(engine.close)
            if engine.max_model_len <= config.sampling.max_tokens:
                raise ConfigError(
                    f"sampling.max_tokens is {config.sampling.max_tokens}, but the model's prompt and answer together "
                    f"may have {engine.max_model_len} tokens (engine.max_model_len)"
                )
            opened.pop_all()
        executor = Executor.of(config, engine, task, roster, sandbox)
        return cls(config, task, roster.drawn, embedder, engine, executor)

    def new_controller(self) -> Controller:
        """The untrained controller of this configuration; the same every time."""
        return new_controller(self.config, self.operators, self.embedder)

    async def close(self) -> None:
        """End the engine and what the task started."""
        try:
            await self.engine.close()
        finally:
            await self.task.close()


def open_sandbox(config: Config, roster: Roster) -> Sandbox | None:
    """The sandbox where the task, an operator, the finaliser or a fixed policy runs code, announced in one line.

    Raises:
        ConfigError: an unknown policy, or less isolation than `sandbox.isolation` demands.
    """
    used = check_policies(config.evaluation.policies, roster.known)
    baseline = config.objective.score_floor_baseline
    if isinstance(baseline, str) and baseline.startswith(FIXED):
        layers = parse_fixed(baseline, roster.known, "objective.score_floor_baseline").layers
        used.update(operator for layer in layers for operator in layer)
    runs_code = any(
        needs_sandbox(operator)
        for operator in (*roster.drawn, *roster.finaliser, *(roster.known[name] for name in used))
    )
    if not runs_code and not isinstance(config.task, HumanEvalTaskConfig):
        return None
    sandbox = Sandbox(config.sandbox)
    print(f"sandbox: model-written code runs under {sandbox.isolation}", file=sys.stderr)
    return sandbox


def check_splits(config: Config, task: Task) -> None:
    """Raises ConfigError where there is nothing to train on, or less to evaluate on than is to be evaluated."""
    if task.num_examples("train") == 0:
        raise ConfigError(f"task: the training split of task.kind {config.task.kind!r} has no examples")
    size, num_queries = task.num_examples("test"), config.evaluation.num_queries
    if size is not None and num_queries > size:
        raise ConfigError(
            f"evaluation.num_queries is {num_queries}, but the test split of task.kind {config.task.kind!r} has "
            f"{size} examples, so at most {size} are allowed"
        )


def new_controller(config: Config, operators: list[Operator], embedder: Embedder) -> Controller:
    """An untrained controller, its weights derived from the seed."""
    embeddings = embedder.embed([operator.description for operator in operators])
    return Controller(config.controller, operators, embeddings, derive_seed(config.seed, "controller"))


async def start_engine_and_embedder(config: Config, task: Task) -> tuple[AdmittedEngine, Embedder]:
    """Both at once: the start of the engine's processes takes longest and leaves a core free.

    Raises:
        ConfigError: the encoder is unknown.
        serving.types.EngineStartError: the engine cannot start.
    """
    load_embedder = find_embedder(config)
    children = multiprocessing.active_children()
    starting = asyncio.ensure_future(start_engine(config, task))
    try:
        # Not before this process has imported all of vLLM: two threads at it would find packages half-made.
        while not starting.done() and set(multiprocessing.active_children()) <= set(children):
            await asyncio.wait([starting], timeout=0.1)
        embedder = await asyncio.to_thread(load_embedder)
        return await starting, embedder
    except BaseException:
        starting.cancel()
        await asyncio.wait([starting])
        if not starting.cancelled() and starting.exception() is None:
            await starting.result().close()
        raise


def find_embedder(config: Config) -> Callable[[], Embedder]:
    """What loads the sentence encoder of `controller.encoder`; `fake` for tests of logic."""
    if config.controller.encoder == "fake":
        return FakeEmbedder
    return functools.partial(SentenceEmbedder, resolve_encoder(config.controller.encoder))
