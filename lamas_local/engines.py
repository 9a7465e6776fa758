"""The engine that a configuration asks for, here or in a replica's process. Imports nothing heavy before it starts."""

from __future__ import annotations

import functools
import math

from lamas_local.config import AdmissionConfig, Config, ConfigError
from lamas_local.engine_config import (
    FakeEngineConfig,
    OpenAIEngineConfig,
    RayEngineConfig,
    ReplicaConfig,
    SimulatedEngineConfig,
    VllmEngineConfig,
)
from lamas_local.simulation.engine import open_simulated_engine
from lamas_local.simulation.finding_task import FindingTask
from lamas_local.simulation.remembering_task import RememberingTask
from lamas_local.tasks import Task, load_task
from serving.admission import AdmittedEngine
from serving.fake_engine import FakeEngine
from serving.models import resolve_model
from serving.openai_engine import OpenAIEngine
from serving.ray_engine import start_ray_engine
from serving.types import Engine
from serving.vllm_engine import VllmEngine

NO_TASK = "engine.kind: 'simulated' answers a task's queries, and here there is no task"


async def start_engine(config: Config, task: Task | None = None) -> AdmittedEngine:
    """The engine of `engine`, behind its admission; a simulated one answers the queries that `task` has given.

    Raises:
        ConfigError: a simulated one without a task to answer, or without its profile.
        serving.types.EngineStartError: the model is unknown or does not fit.
    """
    if isinstance(config.engine, OpenAIEngineConfig):
        endpoints = config.engine.model_dump(exclude={"kind"})
        return admit(await OpenAIEngine.start(**endpoints, patience_s=config.admission.deadline_s), config.admission)
    if not isinstance(config.engine, RayEngineConfig):
        return admit(await open_engine(config.engine, task, config.seed), config.admission)
    ray = config.engine
    if task is None and isinstance(ray.replica, SimulatedEngineConfig):
        raise ConfigError(NO_TASK)
    engine = await start_ray_engine(
        functools.partial(open_replica, config),
        num_replicas=ray.replicas,
        address=ray.address,
        cpus_per_replica=ray.cpus_per_replica,
        gpus_per_replica=gpus_of(ray.replica) if ray.gpus_per_replica is None else ray.gpus_per_replica,
    )
    return admit(engine, config.admission)


async def open_engine(section: ReplicaConfig, task: Task | None, seed: int) -> Engine:
    """An engine in this process.

    Raises:
        ConfigError, serving.types.EngineStartError: as `start_engine`.
    """
    if isinstance(section, FakeEngineConfig):
        return FakeEngine(max_model_len=section.max_model_len, delay_s=section.delay_s, token_s=section.token_s)
    if isinstance(section, SimulatedEngineConfig):
        if not isinstance(task, RememberingTask):
            raise ConfigError(NO_TASK)
        return await open_simulated_engine(section, task, seed)
    return await VllmEngine.start(
        str(resolve_model(section.model)),
        args=section.args,
        max_model_len=section.max_model_len,
        kv_cache_gib=section.kv_cache_gib,
    )


async def open_replica(config: Config) -> Engine:
    """The engine of a replica, in the replica's process: it hears of queries by their ids alone.

    Raises:
        ConfigError, serving.types.EngineStartError: as `start_engine`.
    """
    assert isinstance(config.engine, RayEngineConfig)
    replica = config.engine.replica
    task = FindingTask(load_task(config.task, config.seed)) if isinstance(replica, SimulatedEngineConfig) else None
    return await open_engine(replica, task, config.seed)


def gpus_of(replica: ReplicaConfig) -> float:
    """GPUs that vLLM's own arguments ask for."""
    args = replica.args if isinstance(replica, VllmEngineConfig) else {}
    sizes = [int(args.get(name, 1)) for name in ("tensor_parallel_size", "pipeline_parallel_size")]
    return float(math.prod(sizes)) if isinstance(replica, VllmEngineConfig) else 0.0


def admit(engine: Engine, admission: AdmissionConfig) -> AdmittedEngine:
    """The engine behind its admission."""
    return AdmittedEngine(
        engine,
        requests_per_s=admission.requests_per_s,
        max_in_flight=admission.max_in_flight,
        deadline_s=admission.deadline_s,
    )
