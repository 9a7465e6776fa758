"""How long an architecture takes when a layer's operators run together, next to when they run one after another.

Both modes run the same architectures on the same queries with the same seeds, one query at a time, on one engine.
Every rollout runs once, unmeasured, in both modes first, so that no measured one finds fewer of its prompt tokens in
the prefix cache than its counterpart. Which mode goes first alternates from case to case and from repeat to repeat.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, median
from typing import Any

from tqdm import tqdm

from bench.case import WIDE, Case, choose_cases
from bench.command import new_parser, positive, run_command
from bench.result import open_folder, print_table, show_ratio, show_spread, write_result
from bench.spread import Ratio, Spread, paired_ratio, spread
from lamas_local.cli import RUN_FAILED
from lamas_local.config import Config
from lamas_local.critical_path import critical_path
from lamas_local.executor import Plan
from lamas_local.latency import requests
from lamas_local.session import Session
from lamas_local.trace import ExecutionMode, RolloutTrace

NAME = "execution_modes"
MODES: tuple[ExecutionMode, ...] = ("sequential", "layered")
TARGET_RATIO = 0.6
"""Layered's median seconds over sequential's, at most, over the architectures of `WIDE_GROUP`."""
WIDE_GROUP = f"a layer of {WIDE} or more"
"""The headline: only a layer of several operators has anything to run at the same time."""


@dataclass(frozen=True, slots=True)
class Run:
    """One measured rollout."""

    case: int
    repeat: int
    mode: ExecutionMode
    is_first: bool
    """Whether it ran before its counterpart in the other mode."""
    seconds: float
    cp_tokens: float
    """Critical path: the tokens that have to be made one after another."""
    output_tokens: int
    prompt_tokens: int
    cached_tokens: int
    num_failed_operators: int
    failure: str | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Both modes over some of the cases."""

    num_cases: int
    seconds: dict[ExecutionMode, float]
    """Median over all measured rollouts."""
    seconds_by_repeat: dict[ExecutionMode, Spread]
    """Of each repeat's median: how well the measurement repeats."""
    seconds_by_case: dict[ExecutionMode, Spread]
    """Of each case's median over repeats: how much the architectures differ."""
    ratio_of_medians: float
    """Layered over sequential; what the target is about."""
    paired_ratio: Ratio
    """Per case, median over repeats of layered over sequential; the bootstrap draws cases."""
    cp_tokens_ratio: float
    """Median over cases of layered's critical path over sequential's, in tokens: about what the paired ratio would be
    if a request took as long in a batch as alone. An architecture without parallel operators has 1."""
    output_tokens: dict[ExecutionMode, float]
    """Mean per rollout."""
    cached_share: dict[ExecutionMode, float]
    """Share of prompt tokens that came from the prefix cache."""


def main(argv: Sequence[str] | None = None) -> int:
    """The command; status 1 when a rollout failed, whether the target is met or not."""
    parser = new_parser(f"python -m bench.{NAME}", "Sequential against layered execution, in seconds.")
    parser.add_argument("--num-architectures", type=positive, default=12, help="cases (%(default)s)")
    parser.add_argument("--repeats", type=positive, default=3, help="measured runs of each case and mode (%(default)s)")
    return run_command(parser, run, argv)


def run(args: argparse.Namespace, config: Config) -> int:
    """Measure, write, print; returns the exit status."""
    folder = open_folder(args.output, NAME)
    load_before = os.getloadavg()
    cases, runs = asyncio.run(measure_cases(config, args.num_architectures, args.repeats))
    failed = [run for run in runs if run.failure is not None]
    groups = {} if failed else compare_groups(cases, runs)
    figures = {
        "target_ratio": TARGET_RATIO,
        "is_target_met": not failed and groups[WIDE_GROUP].ratio_of_medians <= TARGET_RATIO,
        "num_failed_rollouts": len(failed),
        "num_failed_operators": sum(run.num_failed_operators for run in runs),
        "groups": {name: asdict(group) for name, group in groups.items()},
    }
    raw = {"cases": [describe_case(case) for case in cases], "runs": [asdict(run) for run in runs]}
    path = write_result(folder, config, figures, raw, load_before)
    if failed:
        print(
            f"{len(failed)} of {len(runs)} rollouts failed, the first with {failed[0].failure}; see {path}",
            file=sys.stderr,
        )
        return RUN_FAILED
    print_groups(groups, cases, args.repeats)
    print(f"result: {path}")
    return 0


async def measure_cases(config: Config, num_cases: int, num_repeats: int) -> tuple[list[Case], list[Run]]:
    """Start the engine, warm it up, run every case in both modes `num_repeats` times, end the engine."""
    session = await Session.open(config)
    try:
        cases = choose_cases(session, num_cases)
        warm_up = [Plan(case.example, case.architecture, mode, f"warm-up-{mode}") for case in cases for mode in MODES]
        await asyncio.gather(*(session.executor.run(plan) for plan in warm_up))
        runs = []
        with tqdm(total=num_repeats * len(cases) * len(MODES), desc=NAME, unit="rollout") as bar:
            for repeat in range(num_repeats):
                for index, case in enumerate(cases):
                    for position, mode in enumerate(order_of_modes(index, repeat)):
                        # Seeds depend on the query and the place in the architecture, so both modes sample alike.
                        plan = Plan(case.example, case.architecture, mode, mode, step=repeat)
                        trace = await session.executor.run(plan)
                        runs.append(describe_run(trace, index, repeat, is_first=position == 0))
                        bar.update()
        return cases, runs
    finally:
        await session.close()


def order_of_modes(case: int, repeat: int) -> tuple[ExecutionMode, ...]:
    """Which mode goes first changes from case to case and from repeat to repeat."""
    return MODES if (case + repeat) % 2 == 0 else MODES[::-1]


def describe_run(trace: RolloutTrace, case: int, repeat: int, *, is_first: bool) -> Run:
    """What is kept of a rollout."""
    spans = requests(trace)
    return Run(
        case=case,
        repeat=repeat,
        mode=trace.mode,
        is_first=is_first,
        seconds=trace.ended - trace.started,
        cp_tokens=critical_path(trace, "tokens").length,
        output_tokens=sum(span.num_output_tokens for span in spans),
        prompt_tokens=sum(span.num_prompt_tokens for span in spans),
        cached_tokens=sum(span.num_cached_tokens for span in spans),
        num_failed_operators=sum(span.failure is not None for layer in trace.layers for span in layer.operators),
        failure=None if trace.failure is None else f"{trace.failure.kind}: {trace.failure.message}",
    )


def describe_case(case: Case) -> dict[str, Any]:
    """A case for the result."""
    return {"origin": case.origin, "query": case.example.query.id, "architecture": case.architecture}


def compare_groups(cases: Sequence[Case], runs: Sequence[Run]) -> dict[str, Comparison]:
    """The headline first. Groups without a case are left out; some fixed case is always wide."""
    members: dict[str, Sequence[int]] = {
        WIDE_GROUP: [i for i, case in enumerate(cases) if case.is_wide],
        f"no layer of {WIDE} or more": [i for i, case in enumerate(cases) if not case.is_wide],
        "all": range(len(cases)),
        "drawn": [i for i, case in enumerate(cases) if case.origin == "drawn"],
        "fixed": [i for i, case in enumerate(cases) if case.origin == "fixed"],
    }
    return {
        name: compare([run for run in runs if run.case in chosen]) for name, chosen in members.items() if len(chosen)
    }


def compare(runs: Sequence[Run]) -> Comparison:
    """Both modes over `runs`, which hold each case and repeat once in each mode."""
    seconds = {(run.mode, run.case, run.repeat): run.seconds for run in runs}
    cp_tokens = {(run.mode, run.case, run.repeat): run.cp_tokens for run in runs}
    cases, repeats = sorted({run.case for run in runs}), sorted({run.repeat for run in runs})
    by_mode = {mode: [run for run in runs if run.mode == mode] for mode in MODES}
    medians = {mode: median(run.seconds for run in chosen) for mode, chosen in by_mode.items()}

    def case_ratios(values: Mapping[tuple[ExecutionMode, int, int], float]) -> list[float]:
        return [
            median(values["layered", case, repeat] / values["sequential", case, repeat] for repeat in repeats)
            for case in cases
        ]

    return Comparison(
        num_cases=len(cases),
        seconds=medians,
        seconds_by_repeat={
            mode: spread([median(seconds[mode, case, repeat] for case in cases) for repeat in repeats])
            for mode in MODES
        },
        seconds_by_case={
            mode: spread([median(seconds[mode, case, repeat] for repeat in repeats) for case in cases])
            for mode in MODES
        },
        ratio_of_medians=medians["layered"] / medians["sequential"],
        paired_ratio=paired_ratio(case_ratios(seconds)),
        cp_tokens_ratio=median(case_ratios(cp_tokens)),
        output_tokens={mode: fmean(run.output_tokens for run in chosen) for mode, chosen in by_mode.items()},
        cached_share={
            mode: sum(run.cached_tokens for run in chosen) / max(sum(run.prompt_tokens for run in chosen), 1)
            for mode, chosen in by_mode.items()
        },
    )


def print_groups(groups: dict[str, Comparison], cases: Sequence[Case], num_repeats: int) -> None:
    """The table, how the cases came to be, and the verdict."""
    rows = [
        (
            name,
            str(group.num_cases),
            show_spread(group.seconds_by_repeat["sequential"]),
            show_spread(group.seconds_by_repeat["layered"]),
            f"{group.ratio_of_medians:.2f}",
            show_ratio(group.paired_ratio),
            f"{group.cp_tokens_ratio:.2f}",
            " / ".join(f"{group.output_tokens[mode]:.0f}" for mode in MODES),
        )
        for name, group in groups.items()
    ]
    columns = ("architectures", "n", "sequential s", "layered s", "ratio", "paired ratio [95%]", "CP ratio", "tokens")
    headline = groups[WIDE_GROUP]
    num_drawn = sum(case.origin == "drawn" for case in cases)
    verdict = "target met" if headline.ratio_of_medians <= TARGET_RATIO else "target missed"
    print_table(
        f"seconds: median of {num_repeats} repeats' medians (smallest–largest repeat)",
        columns,
        rows,
        [
            f"{num_drawn} architectures drawn by the untrained controller, as drawn; {len(cases) - num_drawn} fixed, "
            f"each with a layer of {WIDE} or more operators; a query each.",
            "CP ratio: of the critical paths in tokens, about the paired ratio if batching slowed nothing "
            "down. Tokens: mean output, sequential / layered.",
            "Prompt tokens from the prefix cache: "
            + ", ".join(f"{mode} {headline.cached_share[mode]:.0%}" for mode in MODES)
            + " (every rollout ran once unmeasured in both modes).",
            f"{verdict}: layered takes {headline.ratio_of_medians:.2f} of sequential's median seconds over the "
            f"architectures with {WIDE_GROUP}; the target is at most {TARGET_RATIO}.",
        ],
    )


if __name__ == "__main__":
    sys.exit(main())
