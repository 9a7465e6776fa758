"""What a sandboxed run costs: a trivial program many times, as many at once as the configuration allows."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict

from bench.command import new_parser, positive, run_command
from bench.result import open_folder, print_table, show_spread, write_result
from bench.spread import spread
from lamas_local.cli import RUN_FAILED
from lamas_local.config import Config
from lamas_local.sandbox import Sandbox, SandboxResult
from lamas_local.sandbox.isolation import KINDS

NAME = "sandbox_cost"
TARGET_MS = 60.0
"""Median milliseconds of one run, less than."""
WARM_UP_RUNS = 8
PROGRAM = "def solve():\n    return 6 * 7\n"
VALUE = "42"
TESTS = "assert solve() == 42\n"


def main(argv: Sequence[str] | None = None) -> int:
    """The command; status 1 when a run was lost, whether the target is met or not."""
    parser = new_parser(f"python -m bench.{NAME}", "Milliseconds of a trivial program in the sandbox.")
    parser.add_argument("--num-runs", type=positive, default=200, help="runs in each repeat (%(default)s)")
    parser.add_argument("--repeats", type=positive, default=3, help="repeats of each (%(default)s)")
    parser.add_argument("--kind", choices=KINDS, help="this isolation; the strongest when absent")
    return run_command(parser, run, argv)


def run(args: argparse.Namespace, config: Config) -> int:
    """Measure, write, print; returns the exit status."""
    folder = open_folder(args.output, NAME)
    load_before = os.getloadavg()
    sandbox = Sandbox(config.sandbox, args.kind)
    runs, checks = asyncio.run(measure(sandbox, args.num_runs, args.repeats))
    num_lost = sum(result.status != "ok" or result.value != VALUE for repeat in runs for result in repeat)
    num_lost += sum(result.status != "ok" for repeat in checks for result in repeat)
    run_ms = spread([milliseconds(result) for repeat in runs for result in repeat])
    waited_ms = spread([milliseconds(result, with_wait=True) for repeat in runs for result in repeat])
    check_ms = spread([milliseconds(result) for repeat in checks for result in repeat])
    figures = {
        "target_ms": TARGET_MS,
        "isolation": sandbox.isolation,
        "num_runs": args.num_runs,
        "num_at_once": config.sandbox.max_runs,
        "num_lost": num_lost,
        "run_ms": asdict(run_ms),
        "run_with_wait_ms": asdict(waited_ms),
        "check_ms": asdict(check_ms),
        "is_target_met": run_ms.median < TARGET_MS and num_lost == 0,
    }
    raw = {
        "run_ms": [[milliseconds(result) for result in repeat] for repeat in runs],
        "check_ms": [[milliseconds(result) for result in repeat] for repeat in checks],
    }
    path = write_result(folder, config, figures, raw, load_before)
    rows = [
        ("run, started to ended", show_spread(run_ms, 1), f"{run_ms.q25:.1f}–{run_ms.q75:.1f}"),
        ("run, asked to ended", show_spread(waited_ms, 1), f"{waited_ms.q25:.1f}–{waited_ms.q75:.1f}"),
        ("check, started to ended", show_spread(check_ms, 1), f"{check_ms.q25:.1f}–{check_ms.q75:.1f}"),
    ]
    verdict = "met" if figures["is_target_met"] else "missed"
    print_table(
        f"{args.num_runs} × {args.repeats} trivial programs, {config.sandbox.max_runs} at once",
        ("ms", "median (min–max)", "quartiles"),
        rows,
        [
            f"isolation: {sandbox.isolation}",
            f"lost: {num_lost}; target median run < {TARGET_MS:.0f} ms and none lost: {verdict}",
        ],
    )
    print(f"result: {path}")
    if num_lost:
        print(f"{num_lost} runs were lost; see {path}", file=sys.stderr)
        return RUN_FAILED
    return 0


async def measure(
    sandbox: Sandbox, num_runs: int, num_repeats: int
) -> tuple[list[list[SandboxResult]], list[list[SandboxResult]]]:
    """Runs and checks of every repeat, after a warm-up; all of a repeat are asked for at once."""

    async def together(ask: Callable[[], Awaitable[SandboxResult]], count: int) -> list[SandboxResult]:
        return list(await asyncio.gather(*(ask() for _ in range(count))))

    def one_run() -> Awaitable[SandboxResult]:
        return sandbox.run(PROGRAM, "solve")

    def one_check() -> Awaitable[SandboxResult]:
        return sandbox.check(PROGRAM, "solve", TESTS)

    await together(one_run, WARM_UP_RUNS)
    await together(one_check, WARM_UP_RUNS)
    runs: list[list[SandboxResult]] = []
    checks: list[list[SandboxResult]] = []
    for _ in range(num_repeats):
        runs.append(await together(one_run, num_runs))
        checks.append(await together(one_check, num_runs))
    return runs, checks


def milliseconds(result: SandboxResult, *, with_wait: bool = False) -> float:
    """How long it took, from when it began or, `with_wait`, from when it was asked for."""
    return 1000 * (result.ended - (result.asked if with_wait else result.started))


if __name__ == "__main__":
    sys.exit(main())
