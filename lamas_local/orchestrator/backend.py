"""Opens what is served: the run's task, operators, encoder and newest checkpoint, on an engine of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lamas_local.calibration import load_cost_model
from lamas_local.checkpoint import load_checkpoint
from lamas_local.config import Config
from lamas_local.engine_config import OpenAIEngineConfig, VllmEngineConfig, answering
from lamas_local.orchestrator.forecast import Forecast
from lamas_local.orchestrator.metrics import RolloutMetrics
from lamas_local.orchestrator.orchestrator import NAME, Orchestrator
from lamas_local.run_folder import RunFolder
from lamas_local.session import Session
from lamas_local.trace import read_traces
from serving.http.base_model import BaseModel
from serving.http.chat_model import ChatModel


@dataclass(frozen=True)
class OrchestratorBackend:
    """`Backend`: the orchestrator and its base model on one engine."""

    session: Session
    orchestrator: Orchestrator
    models: Mapping[str, ChatModel]

    @property
    def is_dead(self) -> bool:
        """Whether the engine is."""
        return self.session.engine.is_dead

    @property
    def num_unfinished(self) -> int:
        """Requests in the engine."""
        return self.session.engine.num_unfinished

    async def close(self) -> None:
        """End the engine and what the task started."""
        self.orchestrator.close()
        await self.session.close()


async def open_backend(config: Config, folder: RunFolder, metrics: RolloutMetrics) -> OrchestratorBackend:
    """Start an engine and put the run's newest checkpoint on it.

    Raises:
        ConfigError: the run cannot be served with this configuration.
        serving.types.EngineStartError: the engine cannot start.
    """
    state = load_checkpoint(folder.checkpoints)
    model = load_cost_model(folder.calibration)
    past = await asyncio.to_thread(read_traces, folder.traces) if folder.traces.is_file() else []
    session = await Session.open(config)
    controller = session.new_controller()
    controller.load_state_dict(state.controller)
    forecast = Forecast(model, session.executor.operators, config, past)
    orchestrator = Orchestrator(
        config, session.executor, session.engine, controller, session.embedder, forecast, metrics
    )
    models: dict[str, ChatModel] = {NAME: orchestrator, base_model_name(config): BaseModel(session.engine)}
    return OrchestratorBackend(session, orchestrator, models)


def base_model_name(config: Config) -> str:
    """How requests name the base model; of a local folder its last part, so that no path of the machine is told."""
    engine = answering(config.engine)
    if isinstance(engine, OpenAIEngineConfig):
        return engine.model
    if not isinstance(engine, VllmEngineConfig):
        return engine.kind
    path = Path(engine.model)
    return path.name if path.is_dir() else engine.model
