"""How long an architecture takes one operator after another, in layers, and as dataflow with and without aborting.

All ways run the same architectures on the same queries with the same seeds, one query at a time, on one engine.
Every rollout runs once, unmeasured, in every way first, so that no measured one finds fewer of its prompt tokens in
the prefix cache than its counterpart. Which way goes first changes from case to case and from repeat to repeat.
"""

from __future__ import annotations

import argparse
import asyncio
import copy
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tqdm import tqdm

from bench.case import WIDE, Case, choose_cases
from bench.command import new_parser, positive, run_command
from bench.comparison import Comparison, Run, compare
from bench.result import open_folder, print_table, show_ratio, show_spread, write_result
from bench.way import PAIRS, WAYS, Way, order_of_ways
from lamas_local.cli import RUN_FAILED
from lamas_local.config import Config
from lamas_local.critical_path import critical_path
from lamas_local.executor import Executor, Plan
from lamas_local.latency import requests
from lamas_local.session import Session
from lamas_local.trace import RolloutTrace

NAME = "execution_modes"
WIDE_GROUP = f"a layer of {WIDE} or more"
"""Where layers have to show what they are for: only a layer of several operators runs anything at the same time."""
DRAWN_GROUP = "drawn"


@dataclass(frozen=True, slots=True)
class Target:
    """The first way's median seconds over the second's, at most, over a group of architectures."""

    pair: tuple[str, str]
    group: str
    ratio: float


TARGETS = (Target(PAIRS[0], WIDE_GROUP, 0.6), Target(PAIRS[1], DRAWN_GROUP, 0.75))


def main(argv: Sequence[str] | None = None) -> int:
    """The command; status 1 when a rollout failed, whether the targets are met or not."""
    parser = new_parser(f"python -m bench.{NAME}", "Sequential, layered and dataflow execution, in seconds.")
    parser.add_argument("--num-architectures", type=positive, default=12, help="cases (%(default)s)")
    parser.add_argument("--repeats", type=positive, default=3, help="measured runs of each case and way (%(default)s)")
    return run_command(parser, run, argv)


def run(args: argparse.Namespace, config: Config) -> int:
    """Measure, write, print; returns the exit status."""
    folder = open_folder(args.output, NAME)
    load_before = os.getloadavg()
    cases, runs = asyncio.run(measure_cases(config, args.num_architectures, args.repeats))
    failed = [run for run in runs if run.failure is not None]
    groups = {} if failed else compare_groups(cases, runs)
    figures = {
        "targets": [asdict(target) | {"is_met": is_met(target, groups)} for target in TARGETS],
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
    """Start the engine, warm it up, run every case in every way `num_repeats` times, end the engine."""
    session = await Session.open(config)
    try:
        cases = choose_cases(session, num_cases)
        executors = {way: executor_for(session, way) for way in WAYS}
        await asyncio.gather(
            *(
                executors[way].run(Plan(case.example, case.architecture, way.mode, f"warm-up-{way.name}"))
                for case in cases
                for way in WAYS
            )
        )
        runs = []
        with tqdm(total=num_repeats * len(cases) * len(WAYS), desc=NAME, unit="rollout") as bar:
            for repeat in range(num_repeats):
                for index, case in enumerate(cases):
                    for turn, way in enumerate(order_of_ways(index, repeat)):
                        # Seeds depend on the query and the place in the architecture, so all ways sample alike.
                        plan = Plan(case.example, case.architecture, way.mode, way.name, step=repeat)
                        trace = await executors[way].run(plan)
                        answer = trace.answer and session.task.extract_answer(trace.answer)
                        runs.append(describe_run(trace, index, repeat, turn, answer))
                        bar.update()
        return cases, runs
    finally:
        await session.close()


def executor_for(session: Session, way: Way) -> Executor:
    """The session's executor, told whether to abort."""
    executor = copy.copy(session.executor)
    executor.abort = way.abort
    return executor


def describe_run(trace: RolloutTrace, case: int, repeat: int, turn: int, answer: str | None) -> Run:
    """What is kept of a rollout; its policy is the way's name."""
    spans = requests(trace)
    return Run(
        case=case,
        repeat=repeat,
        way=trace.policy,
        turn=turn,
        seconds=trace.ended - trace.started,
        cp_tokens=critical_path(trace, "tokens").length,
        output_tokens=sum(span.num_output_tokens for span in spans),
        prompt_tokens=sum(span.num_prompt_tokens for span in spans),
        cached_tokens=sum(span.num_cached_tokens for span in spans),
        num_requests=len(spans),
        num_aborted_requests=sum(span.is_aborted for span in spans),
        num_failed_operators=sum(span.failure is not None for layer in trace.layers for span in layer.operators),
        answer=answer,
        failure=None if trace.failure is None else f"{trace.failure.kind}: {trace.failure.message}",
    )


def describe_case(case: Case) -> dict[str, Any]:
    """A case for the result."""
    return {"origin": case.origin, "query": case.example.query.id, "architecture": case.architecture}


def compare_groups(cases: Sequence[Case], runs: Sequence[Run]) -> dict[str, Comparison]:
    """Groups without a case are left out; some fixed case is always wide."""
    members: dict[str, Sequence[int]] = {
        WIDE_GROUP: [i for i, case in enumerate(cases) if case.is_wide],
        f"no layer of {WIDE} or more": [i for i, case in enumerate(cases) if not case.is_wide],
        "all": range(len(cases)),
        DRAWN_GROUP: [i for i, case in enumerate(cases) if case.origin == "drawn"],
        "fixed": [i for i, case in enumerate(cases) if case.origin == "fixed"],
    }
    return {
        name: compare([run for run in runs if run.case in chosen]) for name, chosen in members.items() if len(chosen)
    }


def is_met(target: Target, groups: Mapping[str, Comparison]) -> bool:
    """Whether a target is met; it is not where its group is empty."""
    return target.group in groups and ratio_of(target, groups[target.group]) <= target.ratio


def ratio_of(target: Target, group: Comparison) -> float:
    """The figure a target is about."""
    return group.pairs["/".join(target.pair)].ratio_of_medians


def print_groups(groups: Mapping[str, Comparison], cases: Sequence[Case], num_repeats: int) -> None:
    """Two tables, how the cases came to be, and the verdicts."""
    num_drawn = sum(case.origin == "drawn" for case in cases)
    print_table(
        f"seconds: median of {num_repeats} repeats' medians (smallest–largest repeat)",
        ("architectures", "n", *(way.name for way in WAYS)),
        [
            (name, str(group.num_cases), *(show_spread(group.seconds_by_repeat[way.name]) for way in WAYS))
            for name, group in groups.items()
        ],
        [
            f"{num_drawn} architectures drawn by the untrained controller, as drawn; {len(cases) - num_drawn} fixed, "
            f"each with a layer of {WIDE} or more operators; a query each. dataflow-whole aborts nothing.",
            *(
                f"{name}: " + ", ".join(f"{way.name} {values[way.name]:{digits}}" for way in WAYS)
                for name, values, digits in (
                    ("Mean output tokens", groups["all"].output_tokens, ".0f"),
                    ("Mean aborted requests", groups["all"].aborted_requests, ".2f"),
                    ("Prompt tokens from the prefix cache", groups["all"].cached_share, ".0%"),
                )
            ),
        ],
    )
    print_table(
        "one way beside another",
        ("architectures", "ways", "ratio", "paired ratio [95%]", "worst case", "CP ratio", "other answers"),
        [
            (
                name,
                ways,
                f"{pair.ratio_of_medians:.2f}",
                show_ratio(pair.paired_ratio),
                f"{pair.ratios_by_case.max:.2f}",
                f"{pair.cp_tokens_ratio:.2f}",
                f"{pair.num_other_answers} of {group.num_cases * num_repeats}",
            )
            for name, group in groups.items()
            for ways, pair in group.pairs.items()
        ],
        [
            "CP ratio: of the critical paths in tokens, about the paired ratio if batching slowed nothing down.",
            *(describe_target(target, groups) for target in TARGETS),
        ],
    )


def describe_target(target: Target, groups: Mapping[str, Comparison]) -> str:
    """The verdict in a sentence."""
    one, other = target.pair
    if target.group not in groups:
        return f"target not measured: {one} against {other} needs architectures of the group {target.group!r}"
    verdict = "target met" if is_met(target, groups) else "target missed"
    return (
        f"{verdict}: {one} takes {ratio_of(target, groups[target.group]):.2f} of {other}'s median seconds over the "
        f"architectures of the group {target.group!r}; the target is at most {target.ratio}."
    )


if __name__ == "__main__":
    sys.exit(main())
