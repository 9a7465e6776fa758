"""Each idea on its own: MaAS, LAMaS as published, and what is changed here, trained alike, on the same test queries.

Every variant trains on equally many rollouts of the same queries. Where a rule needs a latency weight, all rules get
the same few weights and one is chosen by what training said (`bench/sweep.py`). Run again, the command goes on: what
is trained is not trained again. On a simulated engine each seed has a process and a virtual clock of its own.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace

from bench.ablation_table import TARGETS, describe_target, judge, make_rows, markdown, print_rows
from bench.command import new_parser, positive, run_command
from bench.replicates import replicate
from bench.result import open_folder, write_result
from bench.seed_run import SeedRun, evaluate_seed, num_workers, open_seeds, train_seed, untrained_policies
from bench.sweep import RULE, TrainingEnd, choose_best, choose_weights, read_training_end
from bench.tradeoff import draw_tradeoff
from bench.variant import VARIANTS, Candidate, choose_candidates, num_rollouts
from bench.workers import interruptible, run_all
from lamas_local.commands import INTERRUPTED
from lamas_local.config import Config
from lamas_local.run_folder import RunFolder, write_atomically

NAME = "ablation"
WEIGHTS = (0.003, 0.01, 0.03, 0.1)
REFERENCE = "maas-layered"


def main(argv: Sequence[str] | None = None) -> int:
    """The command; status 0 whether the targets are met or not."""
    parser = new_parser(f"python -m bench.{NAME}", "Every idea on its own, trained alike, on the same test queries.")
    parser.add_argument("--seeds", type=positive, default=5, help="runs of everything, each with its own seed (5)")
    parser.add_argument("--num-queries", type=positive, default=2000, help="test queries a policy and seed (2000)")
    parser.add_argument("--variants", nargs="+", metavar="NAME", help=", ".join(one.name for one in VARIANTS))
    parser.add_argument(
        "--weights", type=float, nargs="+", default=WEIGHTS, metavar="W", help=f"latency weights to try {WEIGHTS}"
    )
    parser.add_argument("--latency-budget-s", type=float, metavar="S", help="adds the variant latency-budget")
    parser.add_argument("--score-floor-share", type=float, metavar="X", help="adds the variant score-floor")
    parser.add_argument("--jobs", type=positive, default=2, help="seeds at once; 1 on a real engine (%(default)s)")
    parser.add_argument("--restart", action="store_true", help="train and evaluate everything anew")
    return run_command(parser, run, argv)


def run(args: argparse.Namespace, config: Config) -> int:
    """Train, choose, evaluate, write, print; returns the exit status."""
    load_before = os.getloadavg()
    asked = {"latency_budget_s": args.latency_budget_s, "score_floor_share": args.score_floor_share}
    candidates = choose_candidates(args.variants, args.weights, asked)
    folder = open_folder(args.output, NAME)
    seeds = open_seeds(config, folder, candidates, args.seeds, args.num_queries, restart=args.restart)
    num_jobs = num_workers(args.jobs, config)
    with interruptible() as flag:
        if not all(run_all(train_seed, seeds, num_jobs, flag)):
            return INTERRUPTED
        ends = training_ends(seeds, candidates)
        chosen = choose_weights(candidates, ends, ends[REFERENCE])
        outcomes = run_all(evaluate_seed, [replace(seed, candidates=chosen) for seed in seeds], num_jobs, flag)
    finished = [one for one in outcomes if one is not None]
    if len(finished) < len(seeds):
        return INTERRUPTED
    replicates = replicate(finished)
    ours = [one for one in chosen if one.variant.is_ours]
    best = choose_best(ours, ends, ends[REFERENCE]).name if ours else None
    rows = make_rows(replicates, [*(one.name for one in chosen), *untrained_policies(config)])
    verdicts = [judge(replicates, best, target) for target in TARGETS] if best is not None else []
    notes = [
        describe_intervals(args.seeds, args.num_queries, config),
        RULE,
        *(describe_target(verdict) for verdict in verdicts),
    ]
    figures = {
        "rows": [asdict(row) for row in rows],
        "best_of_ours": best,
        "targets": [asdict(verdict) for verdict in verdicts],
        "training": {name: asdict(end) for name, end in ends.items()},
    }
    raw = {"by_seed": {name: own.rows() for name, own in replicates.seen.items()}}
    path = write_result(folder, config, figures, raw, load_before)
    write_atomically(folder / "table.md", markdown(rows, notes).encode())
    draw_tradeoff(folder / "tradeoff.png", rows, sweeps(candidates, ends))
    print_rows(rows, notes)
    print(f"result: {path}, {folder / 'table.md'}, {folder / 'tradeoff.png'}")
    return 0


def training_ends(seeds: Sequence[SeedRun], candidates: Sequence[Candidate]) -> dict[str, TrainingEnd]:
    """How each controller's training ended, by the name of its run."""
    ends = {}
    for candidate in candidates:
        configs = [seed.run_config(candidate) for seed in seeds]
        trainer = configs[0].trainer
        ends[candidate.run] = read_training_end(
            [RunFolder(one.run_dir) for one in configs], trainer.queries_per_step * trainer.rollouts_per_query
        )
    return ends


def sweeps(candidates: Sequence[Candidate], ends: Mapping[str, TrainingEnd]) -> dict[str, list[TrainingEnd]]:
    """By variant, the ends of its trainings, the smallest weight first."""
    found: dict[str, list[TrainingEnd]] = {}
    for candidate in candidates:
        if candidate.run == candidate.name:
            found.setdefault(candidate.variant.name, []).append(ends[candidate.run])
    return found


def describe_intervals(num_seeds: int, num_queries: int, config: Config) -> str:
    """What the brackets are."""
    how = (
        f"Student's t over {num_seeds} seeds (of the whole: training, queries, sampling)"
        if num_seeds > 1
        else "bootstrap over the queries of one seed, which says nothing of how much training itself varies"
    )
    return (
        f"{num_queries} test queries a policy and seed, {num_rollouts(config)} training rollouts each, engine "
        f"{config.engine.kind}. 95% intervals: {how}."
    )


if __name__ == "__main__":
    sys.exit(main())
