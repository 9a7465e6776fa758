"""A floor from a baseline that is run before the first step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lamas_local.config import ConfigError
from lamas_local.trainer import Trainer
from tests.lamas_local.builders import OneProblemTask, ScriptedEngine, make_config, make_trainer, operator_of


def floor_trainer(run_dir: Path, engine: ScriptedEngine, task: OneProblemTask, **objective: Any) -> Trainer:
    settings = {"kind": "score_floor", "score_floor_share": 0.8, "score_floor_queries": 6, **objective}
    return make_trainer(make_config(run_dir, operators=["Generate", "GenerateCoT"], objective=settings), engine, task)


def rollouts_of(engine: ScriptedEngine, name: str) -> list[str]:
    return [request.request_id for request in engine.requests if request.request_id.startswith(name)]


async def test_a_fixed_policy_is_run_once_a_query_before_the_first_step(tmp_path: Path) -> None:
    engine = ScriptedEngine(operator_of)
    task = OneProblemTask(score=lambda solution: 0.5 if solution == "GenerateCoT" else 0.0)
    trainer = floor_trainer(tmp_path, engine, task, score_floor_baseline="fixed:GenerateCoT")
    metrics, traces = await trainer.train_step()
    assert metrics["constraint_target"] == pytest.approx(0.8 * 0.5)
    assert len(rollouts_of(engine, "score-floor")) == 6
    assert all(trace.policy == "train" for trace in traces)
    await trainer.train_step()
    assert len(rollouts_of(engine, "score-floor")) == 6, "measured once"


async def test_the_untrained_controller_is_the_baseline_where_none_is_named(tmp_path: Path) -> None:
    engine = ScriptedEngine()
    trainer = floor_trainer(tmp_path, engine, OneProblemTask(size=4))
    metrics, _ = await trainer.train_step()
    assert metrics["constraint_target"] == pytest.approx(0.8)
    names = {"/".join(one.split("/")[:2]) for one in rollouts_of(engine, "score-floor")}
    assert len(names) == 6, "the split starts over, and is sampled anew"


async def test_a_score_that_is_given_is_not_measured(tmp_path: Path) -> None:
    engine = ScriptedEngine()
    trainer = floor_trainer(tmp_path, engine, OneProblemTask(), score_floor_baseline="0.5")
    metrics, _ = await trainer.train_step()
    assert metrics["constraint_target"] == pytest.approx(0.4)
    assert not rollouts_of(engine, "score-floor")


async def test_a_share_of_nothing_is_no_floor(tmp_path: Path) -> None:
    trainer = floor_trainer(tmp_path, ScriptedEngine(), OneProblemTask(score=lambda solution: 0.0))
    with pytest.raises(ConfigError, match="score_floor_baseline: 'initial' scores 0 on 6 training queries"):
        await trainer.train_step()
