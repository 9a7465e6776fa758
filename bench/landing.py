"""Where one constrained training lands: trained from nothing, evaluated on test queries, judged as the CLI judges."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.goal import Goal
from bench.workers import stop_if_asked
from lamas_local.config import Config
from lamas_local.evaluation import evaluate, summarise_policy
from lamas_local.policy import LearnedPolicy
from lamas_local.run_folder import RunFolder
from lamas_local.session import Session, run
from lamas_local.step_metrics import Metrics
from lamas_local.trace import RolloutTrace
from lamas_local.trainer import Trainer
from lamas_local.verdict import judge


@dataclass(frozen=True, slots=True)
class Landing:
    """One training under a goal."""

    title: str
    setting: float
    """The goal's."""
    seed: int
    asked: float
    reached: float
    is_kept: bool
    score: float
    seconds: float
    """Mean wall-clock seconds of a query."""
    multiplier: float
    """At the last step, score per second."""

    @property
    def ratio(self) -> float:
        """Reached over asked."""
        return self.reached / self.asked


def land(item: tuple[Goal, Config]) -> Landing | None:
    """Train and evaluate, with an engine and a clock of its own; None where it was interrupted."""
    goal, config = item
    landing = run(config, _land(goal, config))
    if landing is not None:
        words = f"{goal.title} {goal.setting:g}, seed {config.seed}: asked {landing.asked:.3g}"
        print(f"{words}, reached {landing.reached:.3g}", file=sys.stderr)
    return landing


async def _land(goal: Goal, config: Config) -> Landing | None:
    session = await Session.open(config)
    stop = asyncio.Event()
    metrics: list[Metrics] = []
    traces: list[RolloutTrace] = []

    def on_step(line: Metrics) -> None:
        metrics.append(line)
        stop_if_asked(stop)

    def on_rollout(trace: RolloutTrace) -> None:
        traces.append(trace)
        stop_if_asked(stop)

    try:
        with tempfile.TemporaryDirectory() as folder:
            trainer = _trainer(session, Path(folder))
            await trainer.train(stop, on_step)
        examples = [session.task.example("test", index) for index in range(config.evaluation.num_queries)]
        session.embedder.embed([example.query.problem for example in examples])  # at once is several times quicker
        trained = LearnedPolicy(trainer.controller, session.embedder, config.seed, config.execution.mode, trainer.step)
        if not await evaluate({"trained": trained}, session.task, session.executor, config, stop, on_rollout):
            return None
    finally:
        await session.close()
    verdict = judge(traces, config, metrics[-1]["constraint_target"], trainer.calibration.model)
    assert verdict is not None
    summary: dict[str, Any] = summarise_policy(traces, config)
    return Landing(
        title=goal.title,
        setting=goal.setting,
        seed=config.seed,
        asked=verdict["target"],
        reached=verdict["value"],
        is_kept=verdict["is_kept"],
        score=summary["score"],
        seconds=summary["wall_latency_s_mean"],
        multiplier=metrics[-1]["multiplier"],
    )


def _trainer(session: Session, folder: Path) -> Trainer:
    config, controller = session.config, session.new_controller()
    return Trainer(config, session.task, controller, session.embedder, session.executor, RunFolder(folder))
