"""The floor of a `score_floor` run whose baseline's score is not given: measured before the first step."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from statistics import fmean

from lamas_local.config import Config, ConfigError
from lamas_local.controller import Controller
from lamas_local.embedding import Embedder
from lamas_local.executor import Executor, Plan
from lamas_local.policy import FIXED, LearnedPolicy, Policy, parse_fixed
from lamas_local.tasks.base import Task

RUN_NAME = "score-floor"
"""Stands for a policy's name in the ids of the baseline's requests."""


async def measure_score_floor(
    config: Config, untrained: Controller, embedder: Embedder, task: Task, executor: Executor
) -> float:
    """`score_floor_share` times the baseline's mean score.

    The baseline runs once on each of the first `score_floor_queries` queries of the training split, a training batch's
    rollouts at a time. As in an evaluation, a rollout that failed scores 0.

    Raises:
        ConfigError: it scores 0 everywhere, so that no share of it is a floor.
    """
    objective, trainer = config.objective, config.trainer
    name, share = objective.score_floor_baseline, objective.score_floor_share
    assert isinstance(name, str)
    assert share is not None
    baseline: Policy = LearnedPolicy(untrained, embedder, config.seed, config.execution.mode, step=0)
    if name.startswith(FIXED):
        baseline = parse_fixed(name, executor.operators, "objective.score_floor_baseline")
    scores: list[float] = []
    at_once = trainer.queries_per_step * trainer.rollouts_per_query
    for first in range(0, objective.score_floor_queries, at_once):
        positions = range(first, min(first + at_once, objective.score_floor_queries))
        traces = await asyncio.gather(*(executor.run(plan) for plan in _plans(baseline, task, positions)))
        scores += [trace.score or 0.0 for trace in traces]
    if not any(scores):
        raise ConfigError(
            f"objective.score_floor_baseline: {name!r} scores 0 on {len(scores)} training queries, and no share of that "
            "is a floor; give a policy that scores, or a score"
        )
    return share * fmean(scores)


def _plans(baseline: Policy, task: Task, positions: Iterable[int]) -> list[Plan]:
    """A rollout a position; a finite split starts over, and each pass samples anew."""
    size = task.num_examples("train")
    plans = []
    for position in positions:
        example = task.example("train", position)
        architecture, epoch = baseline.architecture(example.query), position // size if size else 0
        finalised = baseline.is_finalised
        plans.append(Plan(example, architecture, baseline.mode, RUN_NAME, epoch=epoch, is_finalised=finalised))
    return plans
