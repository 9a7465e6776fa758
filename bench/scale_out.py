"""Queries a second and seconds a query, by simulated engine replicas and arrival rate: who is the limit when?

In virtual time, with the unchanged executor. Queries come at random (Poisson) and run the same 4 layers of 8 operators;
each request goes to the least loaded replica. A query first holds its orchestrator's core for the CPU time that
`bench.capacity` measured, first come, first served; orchestrator processes get queries in turn. One replica is filled
first, with as many queries as it can hold: rates are shares of what it then finishes, times the replicas.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import math
import os
import random
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from bench.command import new_parser, positive, run_command
from bench.orchestration import ARCHITECTURE
from bench.result import open_folder, print_table, write_result
from bench.simulated_replicas import Replicas
from lamas_local.config import Config, ConfigError
from lamas_local.engine_config import SimulatedEngineConfig
from lamas_local.engines import admit
from lamas_local.executor import Executor, Plan
from lamas_local.operators.roster import load_roster
from lamas_local.policy import parse_fixed
from lamas_local.simulation.engine import check_simulation, open_profile, simulated_engine
from lamas_local.simulation.profile import Profile
from lamas_local.simulation.remembering_task import RememberingTask
from lamas_local.simulation.skill import SkilledModel
from lamas_local.tasks import load_task
from lamas_local.virtual_time import run_virtually
from serving.clock import now

NAME = "scale_out"
REPLICAS = (1, 4, 16, 64, 256)
SHARES = (0.5, 0.9)
"""Of what the engines can finish."""
WARM_UP_S, COUNTED_S, AFTER_S = 12.0, 6.0, 8.0
"""Queries come all the time, and those that come in the middle are counted. At nine tenths a query takes six seconds:
the engines must have filled before, and stay full until the last counted one has ended."""
FULL, NUM_FULL = 256, 1024
"""Queries in flight, and in all, while one replica is filled."""
BUSY = 0.8
"""Of its core's time that an orchestrator should be planned for."""


@dataclass(frozen=True, slots=True)
class Cell:
    """So many replicas at one arrival rate."""

    num_replicas: int
    num_orchestrators: int
    arrivals_per_s: float
    finished_per_s: float
    """From the warm-up's end on, while queries come."""
    p50_s: float | None
    """None where the orchestrators cannot keep up: it then grows as long as queries come."""
    p95_s: float | None


class Orchestrators:
    """The cores of orchestrator processes, in virtual time."""

    def __init__(self, number: int, cpu_s: float) -> None:
        self._cores = itertools.cycle([asyncio.Lock() for _ in range(number)])
        self._cpu_s = cpu_s

    async def work(self) -> None:
        """Wait for the next one's core, and hold it for a query's CPU time."""
        async with next(self._cores):
            await asyncio.sleep(self._cpu_s)


class Site:
    """Replicas with an executor over them; one to a virtual loop."""

    def __init__(self, config: Config, profile: Profile, num_replicas: int) -> None:
        assert isinstance(config.engine, SimulatedEngineConfig)
        self.task = RememberingTask(load_task(config.task, config.seed))
        model = SkilledModel(self.task, profile.skill, profile.tokens)
        length = config.engine.max_model_len
        engines = [simulated_engine(profile, model, length, config.engine.noise, seed) for seed in range(num_replicas)]
        unbounded = config.admission.model_copy(update={"max_in_flight": 2**31, "deadline_s": 1e9})
        roster = load_roster(config)
        self.executor = Executor.of(config, admit(Replicas(engines), unbounded), self.task, roster)
        self.architecture = parse_fixed(ARCHITECTURE, roster.known).layers

    async def run(self, number: int) -> None:
        """One query."""
        trace = await self.executor.run(Plan(self.task.example("test", number), self.architecture, "layered"))
        assert trace.failure is None, trace.failure


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; returns the exit status."""
    parser = new_parser("python -m bench.scale_out", __doc__.splitlines()[0])
    parser.add_argument("--replicas", type=positive, nargs="+", default=REPLICAS, metavar="N")
    parser.add_argument("--cpu-ms", type=float, required=True, metavar="MS", help="CPU of a query (bench.capacity)")
    return run_command(parser, measure, argv)


def measure(args: argparse.Namespace, config: Config) -> int:
    """Fill one replica, then every cell with one orchestrator and with enough of them; write, draw and print."""
    if not isinstance(config.engine, SimulatedEngineConfig):
        raise ConfigError(f"engine.kind is {config.engine.kind!r}: take --config configs/simulated.yaml")
    check_simulation(config, None)
    folder, load_before = open_folder(args.output, NAME), os.getloadavg()
    profile, cpu_s = asyncio.run(open_profile(config.engine)), args.cpu_ms / 1000
    per_s = run_virtually(fill(config, profile))
    cells: list[Cell] = []
    for num_replicas, share in itertools.product(args.replicas, SHARES):
        rate = share * per_s * num_replicas
        for number in sorted({1, needed(rate, cpu_s)}):
            cells.append(run_virtually(simulate(config, profile, num_replicas, rate, number, cpu_s)))
    figures = {"replica_per_s": per_s, "cpu_s": cpu_s, "cells": [asdict(cell) for cell in cells]}
    path = write_result(folder, config, figures, {}, load_before)
    draw_cells(folder / "scale_out.png", cells, per_s, cpu_s)
    print_cells(cells, per_s, cpu_s)
    print(f"result: {path}, {folder / 'scale_out.png'}")
    return 0


def needed(rate: float, cpu_s: float) -> int:
    """Orchestrator processes for so many queries a second."""
    return max(1, math.ceil(rate * cpu_s / BUSY))


async def fill(config: Config, profile: Profile) -> float:
    """Queries a second that one replica finishes when there are always as many as it can hold."""
    site, waiting, ended = Site(config, profile, 1), iter(range(NUM_FULL)), list[float]()

    async def work() -> None:
        for number in waiting:
            await site.run(number)
            ended.append(now())

    await asyncio.gather(*(work() for _ in range(FULL)))
    first, last = NUM_FULL // 4, 3 * NUM_FULL // 4  # neither the start together nor the emptying
    return (last - first) / (ended[last] - ended[first])


async def simulate(
    config: Config, profile: Profile, num_replicas: int, rate: float, num_orchestrators: int, cpu_s: float
) -> Cell:
    """Let queries come for a while, and all of them end where the orchestrators keep up."""
    site, orchestrators = Site(config, profile, num_replicas), Orchestrators(num_orchestrators, cpu_s)
    arrivals, end = random.Random(config.seed), WARM_UP_S + COUNTED_S + AFTER_S
    spans: list[tuple[float, float]] = []

    async def run(query: int) -> None:
        arrived = now()
        await orchestrators.work()
        await site.run(query)
        spans.append((arrived, now()))

    running: list[asyncio.Task[None]] = []
    while now() < end:
        running.append(asyncio.ensure_future(run(len(running))))
        await asyncio.sleep(arrivals.expovariate(rate))
    num_finished = sum(ended >= WARM_UP_S for _, ended in spans)
    p50_s = p95_s = None
    if rate * cpu_s < num_orchestrators:
        await asyncio.gather(*running)
        seconds = [ended - arrived for arrived, ended in spans if WARM_UP_S <= arrived < WARM_UP_S + COUNTED_S]
        p50_s, p95_s = (float(np.percentile(seconds, share)) for share in (50, 95))
    return Cell(num_replicas, num_orchestrators, rate, num_finished / (end - WARM_UP_S), p50_s, p95_s)


def draw_cells(path: Path, cells: Sequence[Cell], per_s: float, cpu_s: float) -> None:
    """Queries a second by replicas: what the engines could, and what comes out behind one orchestrator and enough."""
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    replicas = sorted({cell.num_replicas for cell in cells})
    axes.loglog(replicas, [per_s * number for number in replicas], color="0.6", label="what the engines can finish")
    axes.axhline(1 / cpu_s, color="tab:red", linestyle="--", label="one orchestrator's core is full")
    busiest = [cell for cell in cells if cell.arrivals_per_s > 0.99 * SHARES[-1] * per_s * cell.num_replicas]
    enough = {cell.num_replicas: cell for cell in busiest}  # the later of two has more orchestrators
    one = [cell for cell in busiest if cell.num_orchestrators == 1]
    axes.loglog(
        list(enough), [cell.finished_per_s for cell in enough.values()], "o-", color="tab:blue",
        label=f"enough orchestrators, {SHARES[-1]:.0%} of that arriving",
    )  # fmt: skip
    axes.loglog(
        [cell.num_replicas for cell in one], [cell.finished_per_s for cell in one], "s:", color="tab:red",
        label="one orchestrator",
    )  # fmt: skip
    axes.set_xlabel("engine replicas")
    axes.set_ylabel("queries finished a second (simulated)")
    axes.set_xticks(replicas, [str(number) for number in replicas])
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)


def print_cells(cells: Sequence[Cell], per_s: float, cpu_s: float) -> None:
    """The table, and where one orchestrator ends."""
    rows = [
        (
            str(cell.num_replicas),
            f"{cell.arrivals_per_s:.1f}",
            str(cell.num_orchestrators),
            f"{cell.finished_per_s:.1f}",
            *("grows" if seconds is None else f"{seconds:.2f}" for seconds in (cell.p50_s, cell.p95_s)),
        )
        for cell in cells
    ]
    columns = ("replicas", "arrive a second", "orchestrators", "finished a second", "p50, s", "p95, s")
    note = (
        f"One replica finishes {per_s:.1f} queries a second; one orchestrator's core starts {1 / cpu_s:.0f}, which is "
        f"{1 / cpu_s / per_s:.1f} replicas."
    )
    print_table("simulated", columns, rows, [note])


if __name__ == "__main__":
    sys.exit(main())
