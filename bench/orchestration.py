"""What orchestrating one query costs on the CPU when the engine answers at once."""

from __future__ import annotations

import cProfile
import pstats
import time
from dataclasses import dataclass
from statistics import median

import numpy as np
import torch

from bench.case import fixed_architecture
from lamas_local.config import Config
from lamas_local.credit import utilities
from lamas_local.engine_config import FakeEngineConfig, VllmEngineConfig
from lamas_local.executor import Plan
from lamas_local.latency import cost_usd, measure
from lamas_local.session import Session
from lamas_local.trace import Architecture

ARCHITECTURE = "fixed:Generate,GenerateCoT+MultiGenerateCoT,SelfRefine+GenerateCoT,ScEnsemble+SelfRefine,ScEnsemble"
"""4 layers of 2 operators."""
NUM_LAYERS, NUM_OPERATORS = 4, 8
PROFILE_ABOVE_MS = 2.0
NUM_PROFILED = 5
NUM_WARM_UP = 20
NUM_DRAWS = 100


@dataclass(frozen=True, slots=True)
class Orchestration:
    """CPU time of this process per query, in milliseconds."""

    median_ms: float
    p95_ms: float
    drawn: Architecture
    executed: Architecture
    profile: tuple[str, ...]
    """The functions that take the most time of their own; empty when the median is small."""
    all_ms: tuple[float, ...]


async def measure_orchestration(config: Config, num_repeats: int) -> Orchestration:
    """Draw, execute, measure and credit a query of 4 layers and 8 operators, `num_repeats` times.

    The query's embedding is cached, and the engine is a `FakeEngine`, whose own work is counted too. What is executed
    is fixed; what is drawn is as near to it in size as the untrained controller comes. Nothing else may run in this
    process.
    """
    max_model_len = config.engine.max_model_len if isinstance(config.engine, VllmEngineConfig) else None
    fake = FakeEngineConfig(max_model_len=max_model_len or FakeEngineConfig().max_model_len)
    session = await Session.open(config.model_copy(update={"engine": fake}))
    try:
        query = _Query(session)
        for _ in range(NUM_WARM_UP):
            await query.orchestrate()
        all_ms = []
        for _ in range(num_repeats):
            started = time.process_time()
            await query.orchestrate()
            all_ms.append((time.process_time() - started) * 1000)
        profile: tuple[str, ...] = ()
        if median(all_ms) > PROFILE_ABOVE_MS:
            with cProfile.Profile() as profiler:
                for _ in range(num_repeats):
                    await query.orchestrate()
            profile = top_functions(profiler, num_repeats)
        return Orchestration(
            median(all_ms), float(np.percentile(all_ms, 95)), query.draw(), query.executed, profile, tuple(all_ms)
        )
    finally:
        await session.close()


class _Query:
    """One query, and the seed of a draw of about the size wanted."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._controller = session.new_controller()
        self._example = session.task.example("test", 0)
        self.executed = fixed_architecture(session, ARCHITECTURE)
        self._draw_seed = min(range(NUM_DRAWS), key=lambda seed: size_difference(self.draw(seed)))

    async def orchestrate(self) -> list[list[float]]:
        """Everything that is done for a query but the engine's work; returns the operators' utilities."""
        session, config = self._session, self._session.config
        self.draw()
        trace = await session.executor.run(Plan(self._example, self.executed, "layered"))
        cost = cost_usd(trace, config.objective)
        latency = measure(trace, config.latency)
        score = trace.score or 0.0
        return utilities(trace.architecture, score, cost, latency, config.objective, config.latency)

    def draw(self, seed: int | None = None) -> Architecture:
        """With gradients, as in training."""
        embedding = self._session.embedder.embed([self._example.query.problem])[0]
        generator = torch.Generator().manual_seed(self._draw_seed if seed is None else seed)
        return self._controller.draw(embedding, generator).architecture


def size_difference(architecture: Architecture) -> tuple[int, int]:
    """How far from 4 layers, then from 8 operators."""
    return abs(len(architecture) - NUM_LAYERS), abs(sum(map(len, architecture)) - NUM_OPERATORS)


def top_functions(profiler: cProfile.Profile, num_queries: int) -> tuple[str, ...]:
    """The functions with the most time of their own, in milliseconds a query under the profiler, which slows them."""
    stats = pstats.Stats(profiler).get_stats_profile().func_profiles
    top = sorted(stats.items(), key=lambda item: item[1].tottime, reverse=True)[:NUM_PROFILED]
    return tuple(
        f"{name} ({found.file_name}:{found.line_number}): {found.tottime * 1000 / num_queries:.2f} ms"
        for name, found in top
    )
