"""What a query costs the trainer's own process, from 1 to 10,000 queries in flight on a simulated engine.

Each level runs in a process of its own, so that its peak of memory is its own. Steps of so many queries are taken by
the unchanged trainer in virtual time, one rollout a query, every request in the engine at once; a first step is not
counted. The encoder is the fake one there, so that no constant flatters the comparison. Then a whole training of 10,000
queries, with the encoder of the configuration, is timed from start to end.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from matplotlib.figure import Figure

from bench.command import new_parser, positive, run_command
from bench.result import open_folder, print_table, show_spread, write_result
from bench.spread import Spread, spread
from lamas_local.config import Config, ConfigError
from lamas_local.engine_config import SimulatedEngineConfig
from lamas_local.run_folder import RunFolder
from lamas_local.session import Session, run
from lamas_local.trainer import Trainer

NAME = "scaling"
LEVELS = (1, 10, 100, 1000, 10_000)
MIN_QUERIES = 300
"""Of a level, over all its steps."""
REFERENCE, LARGEST = 10, 10_000
TARGET_RATIO, TARGET_MIB, TARGET_S = 2.0, 2048.0, 120.0
NUM_QUERIES, QUERIES_PER_STEP = 10_000, 100
"""Of the whole training."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Cost:
    """What some training took."""

    num_queries: int
    cpu_s: float
    """Of this process, its threads included."""
    wall_s: float
    peak_mib: float
    """Most resident memory of the process since it began."""
    simulated_s: float
    """Virtual seconds that passed."""
    score: float
    """Of the last step: that the answers are scored and not failures."""

    @property
    def cpu_ms_per_query(self) -> float:
        """CPU time of one query."""
        return self.cpu_s * 1000 / self.num_queries


@dataclass(frozen=True, slots=True)
class Level:
    """One number of queries in flight, over its repeats."""

    in_flight: int
    cpu_ms_per_query: Spread
    peak_mib: Spread


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; returns the exit status."""
    parser = new_parser("python -m bench.scaling", "CPU time and memory of a query, by queries in flight.")
    parser.add_argument("--repeats", type=positive, default=3, metavar="N", help="processes a level (%(default)s)")
    parser.add_argument("--levels", type=positive, nargs="+", default=LEVELS, metavar="N", help="queries in flight")
    parser.add_argument("--num-queries", type=positive, default=NUM_QUERIES, metavar="N", help="of the whole training")
    return run_command(parser, measure, argv)


def measure(args: argparse.Namespace, config: Config) -> int:
    """Every level in processes of its own, then the whole training; write and print."""
    if not isinstance(config.engine, SimulatedEngineConfig):
        raise ConfigError(
            f"engine.kind is {config.engine.kind!r}, but this benchmark measures what a query costs beside a simulated "
            "engine: take --config configs/simulated.yaml"
        )
    folder = open_folder(args.output, NAME)
    load_before = os.getloadavg()
    raw: dict[int, list[Cost]] = {}
    for level in args.levels:
        raw[level] = [in_a_process(train_level, config, level) for _ in range(args.repeats)]
    whole = in_a_process(train_whole, config, args.num_queries)
    levels = [
        Level(level, spread([one.cpu_ms_per_query for one in costs]), spread([one.peak_mib for one in costs]))
        for level, costs in raw.items()
    ]
    figures = {"levels": [asdict(level) for level in levels], "whole": asdict(whole), **judge(levels, whole)}
    every = {str(level): [asdict(one) for one in costs] for level, costs in raw.items()}
    path = write_result(folder, config, figures, every, load_before)
    draw_levels(folder / "scaling.png", levels)
    print_levels(levels, whole)
    print(f"result: {path}, {folder / 'scaling.png'}")
    return 0


def in_a_process(function: Callable[[Config, int], T], config: Config, number: int) -> T:
    """What a function returns in a new process."""
    with ProcessPoolExecutor(max_workers=1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, config, number).result()


def train_level(config: Config, in_flight: int) -> Cost:
    """Steps of `in_flight` queries, at least `MIN_QUERIES` in all, after one that is not counted."""
    fake = config.controller.model_copy(update={"encoder": "fake"})
    return _train(config.model_copy(update={"controller": fake}), in_flight, -(-MIN_QUERIES // in_flight), warm_up=True)


def train_whole(config: Config, num_queries: int) -> Cost:
    """A training of so many queries, opening and the encoder's loading included."""
    return _train(config, min(QUERIES_PER_STEP, num_queries), -(-num_queries // QUERIES_PER_STEP), warm_up=False)


def _train(config: Config, queries_per_step: int, num_steps: int, *, warm_up: bool) -> Cost:
    trainer = config.trainer.model_copy(
        update={
            "queries_per_step": queries_per_step,
            "rollouts_per_query": 1,
            "num_steps": num_steps + warm_up,
            "baseline": "ema",
        }
    )
    # All requests in the engine at once, and however long they wait there.
    admission = config.admission.model_copy(
        update={"max_in_flight": 100 * queries_per_step, "deadline_s": 1e9, "requests_per_s": None}
    )
    with tempfile.TemporaryDirectory(prefix="scaling-") as folder:
        changes: dict[str, Any] = {"trainer": trainer, "admission": admission, "run_dir": Path(folder) / "run"}
        config = config.model_copy(update=changes)
        return run(config, _train_in_virtual_time(config, warm_up=warm_up))


async def _train_in_virtual_time(config: Config, *, warm_up: bool) -> Cost:
    cpu_s, wall_s, scores = time.process_time(), time.monotonic(), []
    session = await Session.open(config)
    try:
        folder = RunFolder(config.run_dir)
        folder.create(config, resume=False, restart=False)
        trainer = Trainer(config, session.task, session.new_controller(), session.embedder, session.executor, folder)
        if warm_up:
            await trainer.train_step()
            cpu_s, wall_s = time.process_time(), time.monotonic()
        await trainer.train(asyncio.Event(), lambda metrics: scores.append(metrics["score"]))
    finally:
        await session.close()
    return Cost(
        num_queries=(config.trainer.num_steps - warm_up) * config.trainer.queries_per_step,
        cpu_s=time.process_time() - cpu_s,
        wall_s=time.monotonic() - wall_s,
        peak_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        simulated_s=asyncio.get_running_loop().time(),
        score=scores[-1],
    )


def judge(levels: Sequence[Level], whole: Cost) -> dict[str, Any]:
    """The targets, None where a level is missing or the training had fewer queries."""
    by_level = {level.in_flight: level for level in levels}
    reference, largest = by_level.get(REFERENCE), by_level.get(LARGEST)
    ratio = None
    if reference and largest:
        ratio = largest.cpu_ms_per_query.median / reference.cpu_ms_per_query.median
    return {
        "cpu_ratio": ratio,
        "is_ratio_target_met": None if ratio is None else ratio <= TARGET_RATIO,
        "is_memory_target_met": None if largest is None else largest.peak_mib.max < TARGET_MIB,
        "is_time_target_met": whole.wall_s < TARGET_S if whole.num_queries >= NUM_QUERIES else None,
    }


def draw_levels(path: Path, levels: Sequence[Level]) -> None:
    """A PNG: CPU time and memory by queries in flight, with the range of the repeats."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    numbers = [level.in_flight for level in levels]
    for ax, title, values in zip(
        figure.subplots(1, 2),
        ("CPU ms a query", "peak memory, MiB"),
        ([level.cpu_ms_per_query for level in levels], [level.peak_mib for level in levels]),
        strict=True,
    ):
        ax.fill_between(numbers, [one.min for one in values], [one.max for one in values], alpha=0.25)
        ax.plot(numbers, [one.median for one in values], marker="o")
        ax.set(xscale="log", xlabel="queries in flight", title=title, ylim=(0, None))
    figure.savefig(path, dpi=120, metadata={"Software": None})


def print_levels(levels: Sequence[Level], whole: Cost) -> None:
    """The table and the verdicts."""
    rows = [
        (str(level.in_flight), show_spread(level.cpu_ms_per_query), show_spread(level.peak_mib, 0)) for level in levels
    ]
    judged = judge(levels, whole)
    verdicts = {True: "met", False: "missed", None: "unknown"}
    notes = [
        f"CPU at {LARGEST} in flight at most {TARGET_RATIO:g} times that at {REFERENCE}: target "
        f"{verdicts[judged['is_ratio_target_met']]}; memory under {TARGET_MIB:g} MiB there: target "
        f"{verdicts[judged['is_memory_target_met']]}.",
        f"A training of {whole.num_queries} queries, {QUERIES_PER_STEP} a step, a rollout each, everything included: "
        f"{whole.wall_s:.1f} s ({whole.cpu_s:.1f} s of CPU, {whole.peak_mib:.0f} MiB) for {whole.simulated_s:.0f} "
        f"simulated seconds; under {TARGET_S:g} s: target {verdicts[judged['is_time_target_met']]}.",
    ]
    print_table("training on a simulated engine", ("in flight", "CPU ms a query", "peak MiB"), rows, notes)


if __name__ == "__main__":
    sys.exit(main())
