"""What reuse of operator runs saves: two trainings, the engine tokens of each, and how far their policies came.

Both run on one engine, which then evaluates both policies on the same test queries, a query of each in turn.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from tqdm import tqdm

from bench.command import new_parser, run_command
from bench.learning_curves import draw_curves
from bench.result import open_folder, print_table, write_result
from bench.spending import Spent, learning_curve, spent
from lamas_local.calibration import Calibration
from lamas_local.checkpoint import load_checkpoint
from lamas_local.cli import RUN_FAILED
from lamas_local.commands import differences
from lamas_local.config import Config, ConfigError
from lamas_local.config_loader import load_config
from lamas_local.evaluation import evaluate, standard_error, summarise_policy
from lamas_local.policy import LearnedPolicy
from lamas_local.run_folder import RunFolder
from lamas_local.session import Session
from lamas_local.session import run as run_session
from lamas_local.step_metrics import Metrics
from lamas_local.summary_table import number, with_error
from lamas_local.trace import RolloutTrace, read_traces
from lamas_local.trainer import BatchFailedError, Trainer

NAME = "reuse"
WITHOUT, WITH = "without reuse", "with reuse"
MAX_TOKENS_RATIO = 0.25
MAX_SECONDS_RATIO = 1.1
MAX_SCORE_LOSS_SE = 1.0
"""Targets: engine tokens, seconds of the policy, and score lost in standard errors of the score without reuse."""
MAY_DIFFER = ("run_dir", "trainer.", "evaluation.", "admission.")


@dataclass(frozen=True, slots=True)
class Side:
    """One training and its policy."""

    config: Config
    folder: RunFolder
    is_trained: bool
    """Whether it was before."""


@dataclass(frozen=True, slots=True)
class Reached:
    """With reuse beside without."""

    tokens_ratio: float
    score_difference: float
    """Mean over test queries."""
    score_difference_se: float | None
    """Of the paired difference: small where both policies mostly choose alike."""
    score_se: float | None
    """Of the score without reuse."""
    seconds_ratio: float
    """Of mean wall-clock seconds."""

    @property
    def is_met(self) -> dict[str, bool]:
        """By target. A better score and fewer seconds are no miss."""
        return {
            "tokens": self.tokens_ratio <= MAX_TOKENS_RATIO,
            "score": self.score_difference >= -MAX_SCORE_LOSS_SE * (self.score_se or 0.0),
            "seconds": self.seconds_ratio <= MAX_SECONDS_RATIO,
        }


def main(argv: Sequence[str] | None = None) -> int:
    """The command; status 1 when a rollout of the evaluation failed, whether the targets are met or not."""
    parser = new_parser(f"python -m bench.{NAME}", "Training with and without reuse of operator runs.")
    other = parser.add_mutually_exclusive_group()
    other.add_argument(
        "--without", type=Path, metavar="FILE", help="train without reuse by the trainer section of this configuration"
    )
    other.add_argument(
        "--without-run", type=Path, metavar="RUN", help="take this trained run for the one without reuse"
    )
    return run_command(parser, run, argv)


def run(args: argparse.Namespace, config: Config) -> int:
    """Train, evaluate, write, print; returns the exit status."""
    folder = open_folder(args.output, NAME)
    sides = choose_sides(config, folder, args.without, args.without_run)
    load_before = os.getloadavg()
    try:
        evaluated = run_session(config, measure_sides(config, sides))
    except BatchFailedError as error:
        print(f"bench.{NAME}: {error}", file=sys.stderr)
        return RUN_FAILED
    trained = {name: training_traces(side.folder) for name, side in sides.items()}
    costs = {name: spent(traces) for name, traces in trained.items()}
    policies = {name: summarise_policy(traces, config) for name, traces in evaluated.items()}
    model = Calibration.of(trained[WITHOUT]).model  # one for both, so that their seconds compare
    curves = {name: learning_curve(traces, config.latency, model) for name, traces in trained.items()}
    num_failed = sum(policy["num_failed"] for policy in policies.values())
    reached = None if num_failed else compare(costs, evaluated)
    figures = {
        "num_failed_rollouts": num_failed,
        "reached": reached and asdict(reached) | {"is_met": reached.is_met},
        "training": {name: asdict(cost) | {"tokens": cost.tokens} for name, cost in costs.items()},
        "policies": policies,
        "trainers": {name: side.config.trainer.model_dump(mode="json") for name, side in sides.items()},
    }
    raw = {"curves": {name: [asdict(point) for point in points] for name, points in curves.items()}}
    path = write_result(folder, config, figures, raw, load_before)
    draw_curves(folder / "curves.png", curves)
    if reached is None:
        print(f"{num_failed} rollouts of the evaluation failed; see {path}", file=sys.stderr)
        return RUN_FAILED
    print_sides(costs, policies, reached)
    print(f"result: {path}, {folder / 'curves.png'}")
    return 0


def choose_sides(config: Config, folder: Path, without: Path | None, without_run: Path | None) -> dict[str, Side]:
    """The training without reuse and the one with it; neither is made yet.

    Raises:
        ConfigError: the configuration reuses nothing, or the other side does or is about something else.
    """
    if config.trainer.reuse is None:
        raise ConfigError(
            "--config: trainer.reuse is absent, so there is nothing to compare; set it, as {} for defaults"
        )
    folders = {name: RunFolder(folder / name.split()[0]) for name in (WITHOUT, WITH)}
    if without_run is not None:
        folders[WITHOUT] = RunFolder(without_run)
        other = folders[WITHOUT].load_config()
        load_checkpoint(folders[WITHOUT].checkpoints)
        for key, theirs, ours in differences(other, config):
            if not key.startswith(MAY_DIFFER):
                raise ConfigError(f"--without-run: {key} is {theirs!r} in {without_run}, and {ours!r} here")
    else:
        # Without a file, the very same training, but for reuse.
        trainer = config.trainer.model_copy(update={"reuse": None}) if without is None else load_config(without).trainer
        other = config.model_copy(update={"trainer": trainer})
    if other.trainer.reuse is not None:
        raise ConfigError(f"{without or without_run}: trainer.reuse is set there, so it is not without reuse")
    return {
        WITHOUT: Side(other, folders[WITHOUT], is_trained=without_run is not None),
        WITH: Side(config, folders[WITH], is_trained=False),
    }


async def measure_sides(config: Config, sides: dict[str, Side]) -> dict[str, list[RolloutTrace]]:
    """Start the engine, train what is not trained, evaluate both, end the engine; the evaluation's rollouts by side."""
    session = await Session.open(config)
    try:
        for name, side in sides.items():
            if not side.is_trained:
                await train_side(session, name, side)
        policies = {name: load_side(session, side) for name, side in sides.items()}
        traces: list[RolloutTrace] = []
        with tqdm(total=2 * config.evaluation.num_queries, desc="evaluate", unit="query") as bar:

            def on_rollout(trace: RolloutTrace) -> None:
                traces.append(trace)
                bar.update()

            await evaluate(policies, session.task, session.executor, config, asyncio.Event(), on_rollout)
        return {name: [trace for trace in traces if trace.policy == name] for name in sides}
    finally:
        await session.close()


async def train_side(session: Session, name: str, side: Side) -> None:
    """One training into its own folder, from the untrained controller."""
    side.folder.create(side.config, resume=False, restart=True)
    trainer = Trainer(
        side.config, session.task, session.new_controller(), session.embedder, session.executor, side.folder
    )
    with tqdm(total=side.config.trainer.num_steps, desc=f"train {name}", unit="step") as bar:

        def on_step(metrics: Metrics) -> None:
            bar.update()

        await trainer.train(asyncio.Event(), on_step)


def load_side(session: Session, side: Side) -> LearnedPolicy:
    """The policy of a side's newest checkpoint."""
    state = load_checkpoint(side.folder.checkpoints)
    controller = session.new_controller()
    controller.load_state_dict(state.controller)
    config = session.config
    return LearnedPolicy(controller, session.embedder, config.seed, config.execution.mode, state.step)


def training_traces(folder: RunFolder) -> list[RolloutTrace]:
    """The rollouts a run was trained on."""
    return [trace for trace in read_traces(folder.traces) if trace.policy == "train"]


def compare(costs: dict[str, Spent], evaluated: dict[str, list[RolloutTrace]]) -> Reached:
    """With reuse beside without, query by query; nothing failed."""
    scores = {name: {trace.query_id: trace.score or 0.0 for trace in traces} for name, traces in evaluated.items()}
    seconds = {name: fmean(trace.ended - trace.started for trace in traces) for name, traces in evaluated.items()}
    paired = [score - scores[WITHOUT][query_id] for query_id, score in scores[WITH].items()]
    return Reached(
        tokens_ratio=costs[WITH].tokens / costs[WITHOUT].tokens,
        score_difference=fmean(paired),
        score_difference_se=standard_error(paired),
        score_se=standard_error(list(scores[WITHOUT].values())),
        seconds_ratio=seconds[WITH] / seconds[WITHOUT],
    )


def print_sides(costs: dict[str, Spent], policies: dict[str, dict[str, Any]], reached: Reached) -> None:
    """A table and the verdicts."""
    rows = []
    for name, cost in costs.items():
        policy = policies[name]
        rows.append(
            (
                name,
                str(cost.num_updates),
                f"{cost.num_runs} + {cost.num_reused_runs}",
                f"{cost.prompt_tokens} ({cost.cached_tokens})",
                str(cost.output_tokens),
                str(cost.tokens),
                with_error(policy["score"], policy["score_se"], 3),
                with_error(policy["wall_latency_s_mean"], policy["wall_latency_s_se"], 2),
                number(policy["num_operators_mean"], 1),
            )
        )
    difference = with_error(reached.score_difference, reached.score_difference_se, 3)
    verdicts = {name: "met" if is_met else "missed" for name, is_met in reached.is_met.items()}
    print_table(
        "training with and without reuse of operator runs; ± is one standard error",
        ("", "updates", "runs + reused", "prompt (cached)", "output", "tokens", "score", "seconds", "operators"),
        rows,
        (
            f"engine tokens, ratio: {reached.tokens_ratio:.3f} (at most {MAX_TOKENS_RATIO}: {verdicts['tokens']})",
            f"score, paired difference: {difference} (at least -{MAX_SCORE_LOSS_SE:g} SE of the score without reuse, "
            f"{number(reached.score_se, 3)}: {verdicts['score']})",
            f"mean seconds, ratio: {reached.seconds_ratio:.3f} (at most {MAX_SECONDS_RATIO}: {verdicts['seconds']})",
        ),
    )


if __name__ == "__main__":
    sys.exit(main())
