"""Rollouts per second with one and with several replicas of a simulated engine in Ray, in real time, at saturation.

The same number of rollouts is in flight all the time, enough to fill every replica's batch: as one ends, the next one
begins. Those that end in a window are counted, after a warm-up in which the batches fill. The engine's seconds are
those of its profile, so nothing but Ray, the placement and this process is measured; how busy the processors were says
whether they were the limit.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import psutil

from bench.command import new_parser, positive, run_command
from bench.result import open_folder, print_table, show_ratio, show_spread, write_result
from bench.spread import paired_ratio, spread
from lamas_local.config import Config, ConfigError
from lamas_local.engine_config import RayEngineConfig, SimulatedEngineConfig, answering
from lamas_local.executor import Plan
from lamas_local.policy import parse_fixed
from lamas_local.session import Session
from serving.clock import now

NAME = "replicas"
POLICY = "fixed:Generate,GenerateCoT"
"""One layer: with a second one, whose requests queue behind the first ones of others, rollouts end in waves."""
TARGET_RATIO = 1.8
"""Of two replicas to one."""


@dataclass(frozen=True, slots=True)
class Throughput:
    """One window."""

    num_rollouts: int
    """That ended in it."""
    num_failed: int
    seconds: float
    cpu_share: float
    """Of all processors of this machine, by whatever ran."""
    replica_shares: dict[str, float]
    """Of the requests."""

    @property
    def rollouts_per_s(self) -> float:
        """Without those that failed."""
        return (self.num_rollouts - self.num_failed) / self.seconds


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; returns the exit status."""
    parser = new_parser(f"python -m bench.{NAME}", "Rollouts per second, by replicas of a simulated engine in Ray.")
    parser.add_argument("--replicas", type=positive, nargs=2, default=(1, 2), metavar="N", help="compared (1 2)")
    parser.add_argument("--repeats", type=positive, default=3, metavar="N", help="of either (%(default)s)")
    parser.add_argument("--in-flight", type=positive, default=64, metavar="N", help="rollouts at once (%(default)s)")
    parser.add_argument("--warm-up-s", type=positive, default=30, metavar="S", help="seconds not counted (%(default)s)")
    parser.add_argument("--window-s", type=positive, default=45, metavar="S", help="seconds counted (%(default)s)")
    return run_command(parser, measure, argv)


def measure(args: argparse.Namespace, config: Config) -> int:
    """Both, in turn; write and print."""
    if not isinstance(answering(config.engine), SimulatedEngineConfig):
        raise ConfigError(
            f"engine.kind is {config.engine.kind!r}, but this benchmark measures replicas of a simulated engine: take "
            "--config configs/simulated.yaml"
        )
    folder = open_folder(args.output, NAME)
    load_before = os.getloadavg()
    windows: dict[int, list[Throughput]] = {number: [] for number in args.replicas}
    for repeat in range(args.repeats):
        for number in args.replicas if repeat % 2 == 0 else reversed(args.replicas):
            window = asyncio.run(saturate(replicated(config, number), args.in_flight, args.warm_up_s, args.window_s))
            windows[number].append(window)
            print(f"{number} replicas: {window.rollouts_per_s:.2f} rollouts a second", file=sys.stderr)
    few, many = (windows[number] for number in args.replicas)
    ratio = paired_ratio([b.rollouts_per_s / a.rollouts_per_s for a, b in zip(few, many, strict=True)])
    is_met = ratio.median >= TARGET_RATIO if tuple(args.replicas) == (1, 2) else None
    figures: dict[str, Any] = {
        "rollouts_per_s": {
            str(number): asdict(spread([one.rollouts_per_s for one in own])) for number, own in windows.items()
        },
        "ratio": asdict(ratio),
        "is_target_met": is_met,
    }
    raw = {str(number): [asdict(one) for one in own] for number, own in windows.items()}
    path = write_result(folder, config, figures, raw, load_before)
    rows = [
        (
            str(number),
            show_spread(spread([one.rollouts_per_s for one in own])),
            show_spread(spread([one.cpu_share for one in own])),
            str(sum(one.num_rollouts for one in own)),
            str(sum(one.num_failed for one in own)),
        )
        for number, own in windows.items()
    ]
    verdict = {True: "met", False: "missed", None: "unknown"}[is_met]
    notes = [
        f"{args.replicas[1]} replicas to {args.replicas[0]}: {show_ratio(ratio)}; at least {TARGET_RATIO:g} for two to "
        f"one: target {verdict}. {args.in_flight} rollouts in flight.",
    ]
    columns = ("replicas", "rollouts a second", "processors busy", "rollouts", "failed")
    print_table("replicas of a simulated engine in Ray", columns, rows, notes)
    print(f"result: {path}")
    return 0


def replicated(config: Config, num_replicas: int) -> Config:
    """The configuration with so many replicas of its engine, and everything in the engine at once."""
    ray = RayEngineConfig() if not isinstance(config.engine, RayEngineConfig) else config.engine
    changes: dict[str, Any] = {
        "engine": ray.model_copy(update={"replicas": num_replicas, "replica": answering(config.engine)}),
        "admission": config.admission.model_copy(update={"max_in_flight": 100_000, "deadline_s": 1e6}),
        "controller": config.controller.model_copy(update={"encoder": "fake"}),
    }
    return config.model_copy(update=changes)


async def saturate(config: Config, in_flight: int, warm_up_s: float, window_s: float) -> Throughput:
    """Count the rollouts that end in a window."""
    session = await Session.open(config)
    architecture = parse_fixed(POLICY, session.executor.operators).layers
    indices = itertools.count()
    replicas: list[str] = []
    failures: list[bool] = []

    async def keep_going() -> None:
        while True:
            example = session.task.example("train", next(indices))
            trace = await session.executor.run(Plan(example, architecture, "layered", POLICY))
            failures.append(trace.failure is not None)
            for layer in trace.layers:
                for operator in layer.operators:
                    for step in operator.steps:
                        replicas.extend(span.replica or "" for span in step if span.kind == "request")

    running = [asyncio.ensure_future(keep_going()) for _ in range(in_flight)]
    try:
        await asyncio.wait(running, timeout=warm_up_s, return_when=asyncio.FIRST_EXCEPTION)
        failures.clear()
        replicas.clear()
        psutil.cpu_percent()
        started = now()
        await asyncio.wait(running, timeout=window_s, return_when=asyncio.FIRST_EXCEPTION)
        counted, seconds, busy = list(failures), now() - started, psutil.cpu_percent() / 100
        shares = {name: replicas.count(name) / len(replicas) for name in sorted(set(replicas))}
        for one in running:
            if one.done():
                one.result()
    finally:
        for one in running:
            one.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await session.close()
    return Throughput(len(counted), sum(counted), seconds, busy, shares)


if __name__ == "__main__":
    sys.exit(main())
