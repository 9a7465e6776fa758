"""When the token proxy can be trusted: its error in seconds beside the cost model's, from one query at a time to many.

Architectures drawn by the untrained controller, and some wide fixed ones, run on test queries at each concurrency,
each on a query of its own. Half of the queries are held out: the token slopes and the cost model are fitted to the
others. The levels run in two rounds, the second in the reverse order, so that a drift of the machine hits all alike.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tqdm import tqdm

from bench.case import Case, choose_cases, fixed_architecture
from bench.command import new_parser, positive, run_command
from bench.predictors import (
    COUNTS,
    Block,
    Level,
    Predictors,
    Rollout,
    compare_level,
    describe_rollouts,
    fit_predictors,
    regress,
)
from bench.result import open_folder, print_table, write_result
from bench.scatter import draw_scatter
from lamas_local.calibration import is_held_out
from lamas_local.cli import RUN_FAILED
from lamas_local.config import Config, ConfigError
from lamas_local.executor import Plan
from lamas_local.run_folder import RunFolder, write_atomically
from lamas_local.session import Session
from lamas_local.summary_table import number
from lamas_local.trace import RolloutTrace

NAME = "proxy_vs_wallclock"
NUM_ROUNDS = 2
TARGET_MAPE = 0.15
"""The cost model's error on held-out rollouts, at most, at every level."""
TARGET_SHARE = 0.5
"""Of the one-slope token proxy's error, at most, at the levels from `BUSY` up."""
BUSY = 4
WARM_UP = "fixed:Generate,GenerateCoT,MultiGenerateCoT+SelfRefine,ScEnsemble"


def main(argv: Sequence[str] | None = None) -> int:
    """The command; status 1 when a rollout failed, whether the targets are met or not."""
    parser = new_parser(f"python -m bench.{NAME}", "The token proxy and the cost model against the clock.")
    parser.add_argument(
        "--concurrency",
        type=positive,
        nargs="+",
        default=[1, 2, 4, 8, 16],
        metavar="N",
        help="rollouts at once, a level each (1 2 4 8 16)",
    )
    parser.add_argument("--num-rollouts", type=positive, default=60, help="rollouts of each level (%(default)s)")
    return run_command(parser, run, argv)


def run(args: argparse.Namespace, config: Config) -> int:
    """Measure, write, print; returns the exit status."""
    folder = open_folder(args.output, NAME)
    load_before = os.getloadavg()
    levels = sorted(set(args.concurrency))
    blocks = asyncio.run(measure_levels(config, levels, args.num_rollouts))
    traces = [trace for block in blocks for trace in block.traces]
    write_traces(folder, traces)
    failures = [trace.failure for trace in traces if trace.failure is not None]
    if failures:
        path = write_result(folder, config, {"num_failed_rollouts": len(failures)}, {"blocks": []}, load_before)
        print(
            f"{len(failures)} of {len(traces)} rollouts failed, the first with {failures[0].kind}: "
            f"{failures[0].message}; see {path}",
            file=sys.stderr,
        )
        return RUN_FAILED
    predictors = fit_predictors(blocks)
    rollouts = [rollout for block in blocks for rollout in describe_rollouts(block, predictors.model)]
    compared = [
        compare_level(level, [block for block in blocks if block.concurrency == level], predictors, config.latency)
        for level in levels
    ]
    regression = regress(rollouts)
    figures = {
        "num_failed_rollouts": 0,
        "target_mape": TARGET_MAPE,
        "target_share": TARGET_SHARE,
        **judge(compared),
        "levels": [asdict(level) for level in compared],
        "predictors": asdict(predictors),
        "regression": regression,
    }
    path = write_result(folder, config, figures, {"rollouts": [asdict(one) for one in rollouts]}, load_before)
    draw_scatter(folder / "scatter.png", panels(rollouts, predictors))
    print_levels(compared, predictors)
    print_regression(regression)
    print(f"result: {path}, {folder / 'scatter.png'}")
    return 0


async def measure_levels(config: Config, levels: Sequence[int], num_rollouts: int) -> list[Block]:
    """Start the engine, warm it up, run every level in `NUM_ROUNDS` parts, end the engine.

    Raises:
        ConfigError: the test split has too few queries, or `operators` lacks one that a fixed case needs.
    """
    session = await Session.open(config)
    try:
        check_queries(session, len(levels) * num_rollouts)
        cases = choose_cases(session, len(levels) * num_rollouts)
        warm_up = fixed_architecture(session, WARM_UP)
        await asyncio.gather(
            *(
                session.executor.run(Plan(session.task.example("train", i), warm_up, "layered", "warm-up", rollout=i))
                for i in range(max(levels))
            )
        )
        blocks = []
        with tqdm(total=len(cases), desc=NAME, unit="rollout") as bar:
            for round_ in range(NUM_ROUNDS):
                for index in in_turn(len(levels), round_):
                    # A query each, so that no level finds in the prefix cache what another has left there.
                    mine = cases[index * num_rollouts : (index + 1) * num_rollouts][round_::NUM_ROUNDS]
                    if mine:
                        blocks.append(await measure_block(session, levels[index], mine, round_, bar))
        return blocks
    finally:
        await session.close()


def check_queries(session: Session, num_queries: int) -> None:
    """Raises ConfigError where the test split has fewer queries than are measured, or none of these is fitted to."""
    size = session.task.num_examples("test")
    if size is not None and size < num_queries:
        raise ConfigError(
            f"--num-rollouts: {num_queries} test queries are needed, one a rollout of each level, but the test split "
            f"of task.kind {session.config.task.kind!r} has {size}"
        )
    if all(is_held_out(session.task.example("test", index).query.id) for index in range(num_queries)):
        raise ConfigError(
            f"--num-rollouts: {num_queries} test queries are too few, as all of them are held out and none is left to "
            "fit to; 10 are a safe number"
        )


def in_turn(num_levels: int, round_: int) -> list[int]:
    """The levels' order changes from round to round."""
    order = list(range(num_levels))
    return order if round_ % 2 == 0 else order[::-1]


async def measure_block(
    session: Session, concurrency: int, cases: Sequence[Case], round_: int, bar: tqdm[Any]
) -> Block:
    """Run cases, `concurrency` at a time, until all have ended."""
    waiting = iter(cases)
    traces: list[RolloutTrace] = []

    async def work() -> None:
        while (case := next(waiting, None)) is not None:
            plan = Plan(case.example, case.architecture, "layered", f"concurrency-{concurrency}", round_)
            traces.append(await session.executor.run(plan))
            bar.update()

    await asyncio.gather(*(work() for _ in range(concurrency)))
    return Block(concurrency, tuple(traces))


def write_traces(folder: Path, traces: Sequence[RolloutTrace]) -> None:
    """`traces.jsonl` anew: every stamp, so that other models can be fitted to the same rollouts."""
    run_folder = RunFolder(folder)
    write_atomically(run_folder.traces, b"")
    run_folder.append_traces(traces)


def judge(levels: Sequence[Level]) -> dict[str, bool | None]:
    """Which targets are met; None where a level has nothing that is held out."""

    def met(pairs: Sequence[tuple[float | None, float | None]]) -> bool | None:
        known = [(value, limit) for value, limit in pairs if value is not None and limit is not None]
        return None if len(known) < len(pairs) else all(value <= limit for value, limit in known)

    def share(value: float | None) -> float | None:
        return None if value is None else TARGET_SHARE * value

    busy = [level for level in levels if level.concurrency >= BUSY]
    return {
        "is_mape_target_met": met([(level.calibrated_mape, TARGET_MAPE) for level in levels]),
        "is_share_target_met": met([(level.calibrated_mape, share(level.one_slope_mape)) for level in busy]),
        "is_share_of_level_slope_met": met([(level.calibrated_mape, share(level.level_slope_mape)) for level in busy]),
    }


def panels(rollouts: Sequence[Rollout], predictors: Predictors) -> dict[str, list[tuple[float, float, int]]]:
    """Held-out rollouts by both predictors."""
    new = [one for one in rollouts if one.is_held_out]
    slope = predictors.slope_s_per_token
    return {
        f"token proxy: {slope:.3f} s per critical-path token": [
            (one.seconds, slope * one.cp_tokens, one.concurrency) for one in new
        ],
        "cost model, under the load of the moment": [(one.seconds, one.calibrated_s, one.concurrency) for one in new],
    }


def print_levels(levels: Sequence[Level], predictors: Predictors) -> None:
    """The table, the fitted values and the verdicts."""
    columns = (
        "at once", "n", "seconds", "running", "Pearson", "Spearman", "s/token",
        "raw", "one slope", "own slope", "model", "same op.",
    )  # fmt: skip
    rows = [
        (
            str(level.concurrency),
            str(level.num_held_out),
            number(level.seconds_mean, 2),
            number(level.running_mean, 1),
            number(level.pearson, 2),
            number(level.spearman, 2),
            number(level.slope_s_per_token, 3),
            number(level.raw_proxy_mape, 2),
            number(level.one_slope_mape, 2),
            number(level.level_slope_mape, 2),
            number(level.calibrated_mape, 2),
            f"{number(level.critical_agreement, 2)} / {number(level.calibrated_critical_agreement, 2)}",
        )
        for level in levels
    ]
    model = predictors.model
    verdicts = {True: "met", False: "missed", None: "unknown"}
    judged = judge(levels)
    notes = [
        "Held-out rollouts. raw, one slope, own slope, model: mean relative error of CP tokens / tokens_per_second, of "
        "the best slope over all levels, of the level's own, and of the cost model. same op.: layers where CP tokens "
        "/ the model name the same critical operator as the clock, of those with a choice.",
        f"A step takes {model.step_s * 1000:.1f} ms + {model.running_s * 1000:.2f} ms a request + "
        f"{model.prefill_token_s * 1000:.2f} ms a prompt token; a request waits for {model.wait_steps:.2f} of a step + "
        f"{model.wait_s * 1000:.1f} ms; the way back takes {model.return_s * 1000:.1f} ms. One slope: "
        f"{predictors.slope_s_per_token:.4f} s per token.",
        *(
            f"A query alone, as the model predicts it for a reference load of 0: mean relative error "
            f"{number(level.reference_mape, 2)}."
            for level in levels
            if level.concurrency == 1
        ),
        f"The model's error at most {TARGET_MAPE} at every level: target {verdicts[judged['is_mape_target_met']]}; at "
        f"most {TARGET_SHARE} of the one-slope proxy's from {BUSY} at once up: target "
        f"{verdicts[judged['is_share_target_met']]} (of the level's own slope: "
        f"{verdicts[judged['is_share_of_level_slope_met']]}).",
    ]
    print_table("tokens and a fitted cost model against the clock", columns, rows, notes)


def print_regression(regression: dict[str, Any]) -> None:
    """R2 of each count alone, and the coefficients of all."""
    together = regression["together"]
    rows = [(name, number(regression["alone"][name], 3), number(together["s_per_unit"][name], 5)) for name in COUNTS]
    print_table(
        f"seconds of {regression['num_rollouts']} rollouts by least squares",
        ("count", "R2 alone", "s per unit, together"),
        rows,
        [f"Together: R2 {number(together['r2'], 3)}, intercept {number(together['intercept_s'], 3)} s."],
    )


if __name__ == "__main__":
    sys.exit(main())
