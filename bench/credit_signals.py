"""What training does where tokens and clock disagree about who is slow: once with either signal, all else equal.

Both controllers learn from the same queries and seeds and are evaluated on the same ones, beside the untrained
controller and each operator alone, which says what it costs in tokens and in seconds. `configs/examples/many_shot.yaml`
is such a case: an operator that reads much and writes little.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean

from matplotlib.figure import Figure

from bench.ablation_table import COLUMNS, show, show_half
from bench.command import new_parser, positive, run_command
from bench.outcome import Outcome
from bench.replicates import Estimate, Replicates, replicate
from bench.result import open_folder, print_table, write_result
from bench.seed_run import SeedRun, evaluate_seed, num_workers, open_seeds, train_seed, untrained_policies
from bench.variant import Candidate, Variant
from bench.workers import interruptible, run_all
from lamas_local.commands import INTERRUPTED
from lamas_local.config import Config
from lamas_local.run_folder import RunFolder
from lamas_local.summary_table import number

NAME = "credit_signals"
SIGNALS = ("tokens", "calibrated")
SHOWN = ("score", "cp_tokens", "seconds", "seconds_p95")
FIRST_LAYER = 0


@dataclass(frozen=True, slots=True)
class Choice:
    """What one policy draws."""

    share_by_operator: dict[str, float]
    """Share of the queries on which it runs an operator at least once."""
    critical_agreement: float | None
    """Mean share of a rollout's layers where tokens and clock name the same critical operator, of those with a
    choice."""


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    parser = new_parser(f"python -m bench.{NAME}", "Trained for tokens and for seconds, where the two disagree.")
    parser.add_argument("--seeds", type=positive, default=1, help="runs of everything, each with its own seed (1)")
    parser.add_argument("--num-queries", type=positive, help="test queries a policy and seed (evaluation.num_queries)")
    parser.add_argument("--jobs", type=positive, default=2, help="seeds at once; 1 on a real engine (%(default)s)")
    parser.add_argument("--restart", action="store_true", help="train and evaluate everything anew")
    return run_command(parser, run, argv)


def run(args: argparse.Namespace, config: Config) -> int:
    """Train, evaluate, write, print; returns the exit status."""
    load_before = os.getloadavg()
    candidates = [
        Candidate(Variant(signal, {"latency": {"signal": signal}}, config.execution.mode)) for signal in SIGNALS
    ]
    folder = open_folder(args.output, NAME)
    num_queries = args.num_queries or config.evaluation.num_queries
    seeds = open_seeds(config, folder, candidates, args.seeds, num_queries, restart=args.restart)
    num_jobs = num_workers(args.jobs, config)
    with interruptible() as flag:
        if not all(run_all(train_seed, seeds, num_jobs, flag)):
            return INTERRUPTED
        evaluated = run_all(evaluate_seed, seeds, num_jobs, flag)
    outcomes = [one for one in evaluated if one is not None]
    if len(outcomes) < len(seeds):
        return INTERRUPTED
    names = [*untrained_policies(config), *SIGNALS]
    replicates = replicate(outcomes)
    choices = {name: describe_choice([one for own in outcomes for one in own if one.policy == name]) for name in names}
    curves = {signal: probabilities(seeds, signal) for signal in SIGNALS}
    seconds = seconds_saved(replicates)
    figures = {
        "policies": {name: {key: asdict(estimate(replicates, name, key)) for key in COLUMNS} for name in names},
        "choices": {name: asdict(choice) for name, choice in choices.items()},
        "first_layer_probabilities": curves,
        "seconds_of_calibrated_against_tokens": asdict(seconds),
    }
    raw = {"by_seed": {name: own.rows() for name, own in replicates.seen.items()}}
    path = write_result(folder, config, figures, raw, load_before)
    draw_probabilities(folder / "probabilities.png", curves)
    print_policies(names, replicates, choices, seconds)
    print(f"result: {path}, {folder / 'probabilities.png'}")
    return 0


def describe_choice(outcomes: Sequence[Outcome]) -> Choice:
    """Of one policy's rollouts, over all seeds."""
    operators = sorted({name for one in outcomes for name in one.operators})
    agreed = [one.critical_agreement for one in outcomes if one.critical_agreement is not None]
    return Choice(
        {name: fmean(name in one.operators for one in outcomes) for name in operators},
        fmean(agreed) if agreed else None,
    )


def probabilities(seeds: Sequence[SeedRun], signal: str) -> dict[str, list[float]]:
    """By operator, its mean probability in layer 1 at each step of training, over all seeds."""
    runs = [
        [json.loads(line)["operator_probabilities"][FIRST_LAYER] for line in metrics.read_text().splitlines()]
        for metrics in (RunFolder(seed.folder / signal).metrics for seed in seeds)
    ]
    return {name: [fmean(step[name] for step in steps) for steps in zip(*runs, strict=True)] for name in runs[0][0]}


def estimate(replicates: Replicates, name: str, key: str) -> Estimate:
    """One of `COLUMNS` of one policy."""
    _, read, _ = COLUMNS[key]
    return replicates.estimate(lambda seen: read(seen[name]))


def seconds_saved(replicates: Replicates) -> Estimate:
    """Mean seconds trained for the clock less those trained for tokens; paired."""
    tokens, clock = SIGNALS
    return replicates.estimate(lambda seen: seen[clock].seconds - seen[tokens].seconds)


def print_policies(
    names: Sequence[str], replicates: Replicates, choices: Mapping[str, Choice], seconds: Estimate
) -> None:
    """What each policy draws and takes."""
    operators = sorted({name for choice in choices.values() for name in choice.share_by_operator})
    rows = [
        (
            name,
            *(show_half(estimate(replicates, name, key), COLUMNS[key][2]) for key in SHOWN),
            number(choices[name].critical_agreement, 2),
            *(f"{choices[name].share_by_operator.get(operator, 0.0):.0%}" for operator in operators),
        )
        for name in names
    ]
    print_table(
        "trained for tokens and for seconds: value ± half of its 95% interval; queries on which an operator runs",
        ("policy", *(COLUMNS[key][0] for key in SHOWN), "same op.", *operators),
        rows,
        [
            f"Intervals: over {replicates.kind}. same op.: layers where tokens and clock name the same critical "
            "operator, of those with a choice.",
            f"calibrated against tokens: {show(seconds, 2, signed=True)} seconds.",
        ],
    )


def draw_probabilities(path: Path, curves: Mapping[str, Mapping[str, Sequence[float]]]) -> None:
    """A PNG: each operator's probability in layer 1 through training, a panel a signal."""
    figure = Figure(figsize=(5 * len(curves), 4.2), layout="constrained")
    panels = figure.subplots(1, len(curves), sharey=True, squeeze=False)[0]
    for axes, (signal, by_operator) in zip(panels, curves.items(), strict=True):
        for name, values in by_operator.items():
            if max(values) > 0:
                axes.plot(range(1, len(values) + 1), values, label=name)
        axes.set(title=f"latency.signal: {signal}", xlabel="step", ylim=(0, 1))
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("mean probability in layer 1")
    panels[-1].legend()
    figure.savefig(path, dpi=120, metadata={"Software": None})


if __name__ == "__main__":
    sys.exit(main())
