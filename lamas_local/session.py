"""What every command shares: the task, the operators, the encoder, the engine, the executor."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from lamas_local.config import Config, ConfigError, FakeEngineConfig
from lamas_local.controller import Controller
from lamas_local.embedding import Embedder, FakeEmbedder, SentenceEmbedder
from lamas_local.executor import Executor
from lamas_local.operators import Operator, load_operators
from lamas_local.seeds import derive_seed
from lamas_local.tasks import Task, load_task
from serving.admission import AdmittedEngine
from serving.fake_engine import FakeEngine
from serving.models import resolve_encoder, resolve_model
from serving.types import Engine
from serving.vllm_engine import VllmEngine


@dataclass(frozen=True)
class Session:
    """Opened by `Session.open`; `close` ends the engine."""

    config: Config
    task: Task
    operators: list[Operator]
    embedder: Embedder
    engine: Engine
    executor: Executor

    @classmethod
    async def open(cls, config: Config) -> Session:
        """Check what can be checked without an engine, then load the encoder and start the engine.

        Raises:
            ConfigError: an unknown operator, none for layer 1, or a prompt budget of nothing.
            serving.types.EngineStartError: the model is unknown or does not fit.
        """
        task = load_task(config.task, config.seed)
        operators = load_operators(config.operators)
        torch.set_num_threads(1)  # the controller is tiny; the cores belong to the engine
        embedder = open_embedder(config)
        new_controller(config, operators, embedder)
        engine = await start_engine(config)
        if engine.max_model_len <= config.sampling.max_tokens:
            await engine.close()
            raise ConfigError(
                f"sampling.max_tokens is {config.sampling.max_tokens}, but the model's prompt and answer together may "
                f"have {engine.max_model_len} tokens (engine.max_model_len)"
            )
        executor = Executor(engine, task, operators, config.sampling, config.seed)
        return cls(config, task, operators, embedder, engine, executor)

    def new_controller(self) -> Controller:
        """The untrained controller of this configuration; the same every time."""
        return new_controller(self.config, self.operators, self.embedder)

    async def close(self) -> None:
        """End the engine."""
        await self.engine.close()


def new_controller(config: Config, operators: list[Operator], embedder: Embedder) -> Controller:
    """An untrained controller, its weights derived from the seed."""
    embeddings = embedder.embed([operator.description for operator in operators])
    return Controller(config.controller, operators, embeddings, derive_seed(config.seed, "controller"))


def open_embedder(config: Config) -> Embedder:
    """The sentence encoder of `controller.encoder`; `fake` for tests of logic."""
    if config.controller.encoder == "fake":
        return FakeEmbedder()
    return SentenceEmbedder(resolve_encoder(config.controller.encoder))


async def start_engine(config: Config) -> Engine:
    """The engine of `engine`, behind its admission."""
    engine: Engine
    if isinstance(config.engine, FakeEngineConfig):
        engine = FakeEngine(max_model_len=config.engine.max_model_len)
    else:
        engine = await VllmEngine.start(
            str(resolve_model(config.engine.model)),
            args=config.engine.args,
            max_model_len=config.engine.max_model_len,
            kv_cache_gib=config.engine.kv_cache_gib,
        )
    admission = config.admission
    return AdmittedEngine(
        engine,
        requests_per_s=admission.requests_per_s,
        max_in_flight=admission.max_in_flight,
        deadline_s=admission.deadline_s,
    )
