"""How near constrained training lands to what was asked: a latency budget (mean, p95) and a score floor, over seeds.

Each training is the whole real thing but for its engine, which `configs/constrained.yaml` simulates. The trained policy
is evaluated on test queries, a draw a query, and judged as `lamas-local train` judges it.

The targets lie where they can be met and bind: between the fastest operator and the untrained controller, from which
every training starts. Under that configuration, over 1,000 test queries of seeds 100 and 101, Generate takes 0.05 s
(p95 0.08) and scores 0.61, the untrained controller takes 1.27 s (p95 2.64) and scores 0.88, and the best fixed vote
scores 0.95. Above the untrained controller's seconds a budget is slack: kept, without anything being reached.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from statistics import fmean
from typing import Any

from bench.asked_reached import draw_asked_reached
from bench.command import new_parser, positive, run_command
from bench.goal import Goal
from bench.landing import Landing, land
from bench.result import open_folder, print_table, write_result
from bench.seed_run import num_workers
from bench.spread import spread
from bench.workers import interruptible, run_all
from lamas_local.commands import INTERRUPTED
from lamas_local.config import Config

NAME = "constrained"
TOLERANCE = 0.1
"""Reached over asked, averaged over the seeds, is to be within this of 1."""
Group = tuple[Goal, Sequence[Landing]]
"""A goal and where its seeds landed."""
STOPS = "ending; nothing is kept of a run that is not finished"
MEAN_BUDGETS = (0.2, 0.4, 0.8)
P95_BUDGETS = (0.5, 1.0, 1.5)
FLOORS = (0.8, 0.9, 1.0)


def main(argv: Sequence[str] | None = None) -> int:
    """The command; status 0 whether the target is met or not."""
    parser = new_parser(f"python -m bench.{NAME}", "Asked and reached under a latency budget or a score floor.")
    parser.add_argument("--num-seeds", type=positive, default=5, help="trainings of each goal (%(default)s)")
    parser.add_argument("--mean-budgets", type=float, nargs="*", default=MEAN_BUDGETS, help="seconds (%(default)s)")
    parser.add_argument("--p95-budgets", type=float, nargs="*", default=P95_BUDGETS, help="seconds (%(default)s)")
    parser.add_argument("--floors", type=float, nargs="*", default=FLOORS, help="shares (%(default)s)")
    parser.add_argument("--jobs", type=positive, default=2, help="trainings at once; 1 on a real engine (%(default)s)")
    return run_command(parser, run, argv)


def run(args: argparse.Namespace, config: Config) -> int:
    """Train, evaluate, write, print; returns the exit status."""
    goals = [
        *(Goal.budget("mean", seconds) for seconds in args.mean_budgets),
        *(Goal.budget("p95", seconds) for seconds in args.p95_budgets),
        *(Goal.floor(share) for share in args.floors),
    ]
    seeds = range(config.seed, config.seed + args.num_seeds)
    items = [(goal, goal.config(config, seed)) for goal in goals for seed in seeds]
    folder = open_folder(args.output, NAME)
    load_before = os.getloadavg()
    with interruptible(STOPS) as flag:
        landed = run_all(land, items, num_workers(args.jobs, config), flag)
    landings = [one for one in landed if one is not None]
    if len(landings) < len(items):
        return INTERRUPTED
    groups = [(goal, landings[i * len(seeds) : (i + 1) * len(seeds)]) for i, goal in enumerate(goals)]
    figures = {"tolerance": TOLERANCE, "goals": [describe(group) for group in groups]}
    path = write_result(folder, config, figures, {"landings": [asdict(one) for one in landings]}, load_before)
    titles = dict.fromkeys(goal.title for goal in goals)
    panels = {title: [(one.asked, one.reached) for one in landings if one.title == title] for title in titles}
    draw_asked_reached(folder / f"{NAME}.png", panels, TOLERANCE)
    print_groups(groups, config.evaluation.num_queries)
    print(f"result: {path}")
    return 0


def describe(group: Group) -> dict[str, Any]:
    """For `result.json`: what was asked for, and means and spread over the seeds."""
    goal, landings = group
    return {
        "goal": goal.title,
        "setting": goal.setting,
        "asked_mean": fmean(one.asked for one in landings),
        "reached_mean": fmean(one.reached for one in landings),
        "ratio": asdict(spread([one.ratio for one in landings])),
        "ratio_mean": fmean(one.ratio for one in landings),
        "num_within_tolerance": sum(is_near(one.ratio) for one in landings),
        "num_kept": sum(one.is_kept for one in landings),
        "score_mean": fmean(one.score for one in landings),
        "seconds_mean": fmean(one.seconds for one in landings),
    }


def print_groups(groups: Sequence[Group], num_queries: int) -> None:
    """The table."""
    rows = []
    for goal, landings in groups:
        ratios = spread([one.ratio for one in landings])
        rows.append(
            (
                goal.title,
                f"{goal.setting:g}",
                f"{fmean(one.asked for one in landings):.3g}",
                f"{fmean(one.reached for one in landings):.3g}",
                f"{fmean(one.ratio for one in landings):.2f} ({ratios.min:.2f}–{ratios.max:.2f})",
                f"{sum(is_near(one.ratio) for one in landings)} of {len(landings)}",
                f"{sum(one.is_kept for one in landings)} of {len(landings)}",
                f"{fmean(one.score for one in landings):.3f}",
                f"{fmean(one.seconds for one in landings):.3g}",
            )
        )
    num_near = sum(is_near(fmean(one.ratio for one in landings)) for _, landings in groups)
    print_table(
        f"asked and reached, {len(groups[0][1])} seeds, {num_queries} test queries each",
        ("constraint", "setting", "asked", "reached", "reached / asked", "within 10%", "kept", "score", "seconds"),
        rows,
        [
            "Means over seeds (smallest–largest). A floor's setting is its share. A budget that is kept far below "
            "what was asked was not reached: it was slack, or training went too far.",
            f"Mean of reached / asked within {TOLERANCE:.0%} of 1: {num_near} of {len(groups)} constraints.",
        ],
    )


def is_near(ratio: float) -> bool:
    """Whether reached over asked is within the tolerance."""
    return abs(ratio - 1) <= TOLERANCE


if __name__ == "__main__":
    sys.exit(main())
