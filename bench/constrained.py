"""How near constrained training lands to what was asked: a latency budget (mean, p95) and a score floor, over seeds.

Each training is the whole real thing but for its engine, which `configs/constrained.yaml` simulates. The trained policy
is evaluated on test queries, a draw a query, and judged as `lamas-local train` judges it.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from pydantic import ValidationError
from tqdm import tqdm

from bench.asked_reached import draw_asked_reached
from bench.command import new_parser, positive, run_command
from bench.result import open_folder, print_table, show_spread, write_result
from bench.spread import spread
from lamas_local.baselines import PENALTY
from lamas_local.config import Config, ConfigError, ObjectiveConfig
from lamas_local.evaluation import evaluate, summarise_policy
from lamas_local.policy import LearnedPolicy
from lamas_local.run_folder import RunFolder
from lamas_local.session import Session
from lamas_local.session import run as run_session
from lamas_local.trace import RolloutTrace
from lamas_local.trainer import Trainer
from lamas_local.verdict import judge

NAME = "constrained"
TOLERANCE = 0.1
"""Reached over asked, averaged over the seeds, is to be within this of 1."""


@dataclass(frozen=True, slots=True)
class Goal:
    """One constraint."""

    title: str
    settings: dict[str, Any]
    """Of `objective`."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One training under a goal."""

    goal: str
    setting: float
    """The budget in seconds or the floor's share."""
    seed: int
    asked: float
    reached: float
    score: float
    seconds: float
    """Mean wall-clock seconds of a query."""
    multiplier: float
    """At the last step, score per second."""

    @property
    def ratio(self) -> float:
        """Reached over asked."""
        return self.reached / self.asked


def main(argv: Sequence[str] | None = None) -> int:
    """The command; status 0 whether the target is met or not."""
    parser = new_parser(f"python -m bench.{NAME}", "Asked and reached under a latency budget or a score floor.")
    parser.add_argument("--num-seeds", type=positive, default=5, help="trainings of each (%(default)s)")
    parser.add_argument("--mean-budgets", type=float, nargs="*", default=[0.2, 0.4, 0.8], help="seconds (%(default)s)")
    parser.add_argument("--p95-budgets", type=float, nargs="*", default=[0.5, 1.0, 1.5], help="seconds (%(default)s)")
    parser.add_argument("--floors", type=float, nargs="*", default=[0.8, 0.9, 1.0], help="shares (%(default)s)")
    return run_command(parser, run, argv)


def run(args: argparse.Namespace, config: Config) -> int:
    """Train, evaluate, write, print; returns the exit status."""
    goals = [
        *(budget("mean seconds", "mean", seconds) for seconds in args.mean_budgets),
        *(budget("p95 seconds", "p95", seconds) for seconds in args.p95_budgets),
        *(Goal("score", {"kind": "score_floor", "score_floor_share": share}) for share in args.floors),
    ]
    plans = [(goal, goal_config(config, goal, seed)) for goal in goals for seed in range(args.num_seeds)]
    folder = open_folder(args.output, NAME)
    load_before = os.getloadavg()
    outcomes = [run_session(planned, outcome_of(goal.title, planned)) for goal, planned in tqdm(plans, desc=NAME)]
    groups: dict[tuple[str, float], list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault((outcome.goal, outcome.setting), []).append(outcome)
    figures = {
        "tolerance": TOLERANCE,
        "goals": [
            {
                "goal": goal,
                "setting": setting,
                "asked_mean": fmean(one.asked for one in group),
                "reached_mean": fmean(one.reached for one in group),
                "ratio": asdict(spread([one.ratio for one in group])),
                "ratio_mean": fmean(one.ratio for one in group),
                "num_within_tolerance": sum(is_near(one.ratio) for one in group),
                "score_mean": fmean(one.score for one in group),
                "seconds_mean": fmean(one.seconds for one in group),
            }
            for (goal, setting), group in groups.items()
        ],
    }
    path = write_result(folder, config, figures, {"outcomes": [asdict(one) for one in outcomes]}, load_before)
    titles = list(dict.fromkeys(one.goal for one in outcomes))
    panels = {title: [(one.asked, one.reached) for one in outcomes if one.goal == title] for title in titles}
    draw_asked_reached(folder / f"{NAME}.png", panels, TOLERANCE)
    num_near = sum(is_near(fmean(one.ratio for one in group)) for group in groups.values())
    print_table(
        f"asked and reached, {args.num_seeds} seeds, {config.evaluation.num_queries} test queries each",
        ("constraint", "setting", "asked", "reached", "reached / asked", "within 10%", "score", "seconds"),
        [
            (
                goal,
                f"{setting:g}",
                f"{fmean(one.asked for one in group):.3g}",
                f"{fmean(one.reached for one in group):.3g}",
                show_spread(spread([one.ratio for one in group])),
                f"{sum(is_near(one.ratio) for one in group)} of {len(group)}",
                f"{fmean(one.score for one in group):.3f}",
                f"{fmean(one.seconds for one in group):.3g}",
            )
            for (goal, setting), group in groups.items()
        ],
        [
            "Means over seeds; reached / asked is the median (smallest–largest). A floor's setting is its share.",
            f"Mean of reached / asked within {TOLERANCE:.0%} of 1: {num_near} of {len(groups)} constraints.",
        ],
    )
    print(f"result: {path}")
    return 0


def budget(title: str, statistic: str, seconds: float) -> Goal:
    """A latency budget."""
    settings = {"kind": "latency_budget", "latency_budget_statistic": statistic, "latency_budget_s": seconds}
    return Goal(title, settings)


def goal_config(config: Config, goal: Goal, seed: int) -> Config:
    """The configuration with a goal and a seed.

    Raises:
        ConfigError: the goal is none, such as a budget of 0 s.
    """
    try:
        objective = ObjectiveConfig.model_validate({**config.objective.model_dump(), **PENALTY, **goal.settings})
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(f"{goal.title}: {first['msg']}, got {first['input']!r}") from error
    return config.model_copy(update={"objective": objective, "seed": seed})


async def outcome_of(title: str, config: Config) -> Outcome:
    """Train and evaluate."""
    session = await Session.open(config)
    try:
        with tempfile.TemporaryDirectory() as folder:
            trainer = Trainer(
                config,
                session.task,
                session.new_controller(),
                session.embedder,
                session.executor,
                RunFolder(Path(folder)),
            )
            metrics: list[dict[str, Any]] = []
            await trainer.train(asyncio.Event(), metrics.append)
        traces: list[RolloutTrace] = []
        trained = LearnedPolicy(trainer.controller, session.embedder, config.seed, config.execution.mode, trainer.step)
        await evaluate({"trained": trained}, session.task, session.executor, config, asyncio.Event(), traces.append)
        target = metrics[-1]["constraint_target"]
        verdict, summary = judge(traces, config, target, trainer.calibration.model), summarise_policy(traces, config)
        assert verdict is not None
        objective = config.objective
        return Outcome(
            goal=title,
            setting=objective.latency_budget_s or objective.score_floor_share or 0.0,
            seed=config.seed,
            asked=target,
            reached=verdict["value"],
            score=summary["score"],
            seconds=summary["wall_latency_s_mean"],
            multiplier=metrics[-1]["multiplier"],
        )
    finally:
        await session.close()


def is_near(ratio: float) -> bool:
    """Whether reached over asked is within the tolerance."""
    return abs(ratio - 1) <= TOLERANCE


if __name__ == "__main__":
    sys.exit(main())
