"""The real controller, trainer and credit in a world of stated chances and durations: what is asked is reached."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean
from typing import Any, cast

import numpy as np
import pytest

from lamas_local.executor import Executor, Plan
from lamas_local.policy import LearnedPolicy
from lamas_local.trace import RolloutTrace
from lamas_local.trainer import Trainer
from tests.lamas_local.builders import make_config, make_trainer
from tests.lamas_local.known_world import KnownWorld, ManyProblems

NUM_QUERIES = 400
"""Their mean seconds are known to about 4%, their 95th percentile and their score to 5%."""


async def trained(run_dir: Path, **objective: Any) -> tuple[Trainer, list[RolloutTrace]]:
    """60 steps of 16 rollouts, then test queries by a draw each."""
    config = make_config(
        run_dir,
        controller={"num_layers": 4},
        latency={"signal": "measured"},
        objective={"credit": "to_go", **objective},
        trainer={"queries_per_step": 4, "rollouts_per_query": 4, "learning_rate": 0.015},
    )
    trainer = make_trainer(config, task=ManyProblems())
    world = KnownWorld(config.seed)
    trainer.executor = cast("Executor", world)
    for _ in range(60):
        await trainer.train_step()
    policy = LearnedPolicy(trainer.controller, trainer.embedder, config.seed, "layered", trainer.step)
    examples = [trainer.task.example("test", i) for i in range(NUM_QUERIES)]
    plans = [Plan(one, policy.architecture(one.query), "layered", "trained") for one in examples]
    return trainer, [await world.run(plan) for plan in plans]


def seconds(traces: list[RolloutTrace]) -> list[float]:
    return [trace.ended - trace.started for trace in traces]


async def test_a_budget_is_reached_and_used(tmp_path: Path) -> None:
    _, traces = await trained(tmp_path, kind="latency_budget", latency_budget_s=3.0)
    assert fmean(seconds(traces)) == pytest.approx(3.0, rel=0.15)
    assert fmean(trace.score or 0.0 for trace in traces) > 0.36, "more than the fastest operator alone"


async def test_a_bound_on_the_tail_is_reached(tmp_path: Path) -> None:
    tail: dict[str, Any] = {"latency_budget_s": 6.0, "latency_budget_statistic": "p95"}
    _, traces = await trained(tmp_path, kind="latency_budget", **tail)
    assert float(np.percentile(seconds(traces), 95)) == pytest.approx(6.0, rel=0.15)


async def test_a_floor_is_kept_in_fewer_seconds(tmp_path: Path) -> None:
    """The untrained controller scores 0.55 in 6.8 s."""
    floor = {"score_floor_share": 0.8, "score_floor_baseline": 0.55}
    _, traces = await trained(tmp_path, kind="score_floor", **floor)
    assert fmean(trace.score or 0.0 for trace in traces) == pytest.approx(0.44, rel=0.15)
    assert fmean(seconds(traces)) < 5.0


async def test_a_budget_below_the_fastest_operator_ends_near_the_fastest(tmp_path: Path) -> None:
    """Generate alone takes 1.05 s on average; the run says how far off it is instead of failing."""
    trainer, traces = await trained(tmp_path, kind="latency_budget", latency_budget_s=0.5)
    assert trainer.dual is not None
    assert 1.0 < fmean(seconds(traces)) < 2.0
    assert 1.0 < trainer.dual.value < 2.0
