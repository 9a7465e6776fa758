"""Whether it pays to send the requests of one query to one replica: training with and without, in virtual time.

Several simulated engines in this process, each with a prefix cache of its own, behind the placement that Ray's replicas
have. The unchanged trainer draws and runs its steps; the encoder is the fake one. Both ways run the same queries with
the same seeds, until their policies part.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from bench.command import new_parser, positive, run_command
from bench.local_replica import LocalReplica
from bench.result import open_folder, print_table, show_ratio, show_spread, write_result
from bench.spread import paired_ratio, spread
from lamas_local.config import Config, ConfigError
from lamas_local.embedding import FakeEmbedder
from lamas_local.engine_config import SimulatedEngineConfig
from lamas_local.engines import admit
from lamas_local.executor import Executor
from lamas_local.operators.roster import load_roster
from lamas_local.run_folder import RunFolder
from lamas_local.session import new_controller
from lamas_local.simulation.engine import open_simulated_engine
from lamas_local.simulation.remembering_task import RememberingTask
from lamas_local.tasks import load_task
from lamas_local.trainer import Metrics, Trainer
from lamas_local.virtual_time import run_virtually
from serving.replicated_engine import ReplicatedEngine

NAME = "replica_affinity"


@dataclass(frozen=True, slots=True)
class Training:
    """What some steps took, in simulated seconds."""

    seconds: float
    """Of all steps, one after another."""
    rollout_s: float
    """Of a rollout, on average."""
    cached_share: float
    """Of the prompt tokens."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; returns the exit status."""
    parser = new_parser(f"python -m bench.{NAME}", "Training with and without sending a query to one replica.")
    parser.add_argument("--replicas", type=positive, default=2, metavar="N", help="engines (%(default)s)")
    parser.add_argument("--seeds", type=positive, default=5, metavar="N", help="trainings of either (%(default)s)")
    return run_command(parser, measure, argv)


def measure(args: argparse.Namespace, config: Config) -> int:
    """Every seed, with and without; write and print."""
    if not isinstance(config.engine, SimulatedEngineConfig):
        raise ConfigError(
            f"engine.kind is {config.engine.kind!r}, but this benchmark measures simulated engines: take "
            "--config configs/simulated.yaml"
        )
    folder = open_folder(args.output, NAME)
    load_before = os.getloadavg()
    raw: dict[bool, list[Training]] = {
        by_query: [train(config, config.seed + seed, args.replicas, by_query) for seed in range(args.seeds)]
        for by_query in (False, True)
    }
    ratios = {
        name: paired_ratio([getattr(b, name) / getattr(a, name) for a, b in zip(raw[False], raw[True], strict=True)])
        for name in ("seconds", "rollout_s")
    }
    figures: dict[str, Any] = {
        "with": _spreads(raw[True]),
        "without": _spreads(raw[False]),
        "ratios": {name: asdict(ratio) for name, ratio in ratios.items()},
    }
    every = {name: [asdict(one) for one in raw[way]] for name, way in (("with", True), ("without", False))}
    path = write_result(folder, config, figures, every, load_before)
    rows = [
        (
            name,
            *(show_spread(spread([getattr(one, field) for one in raw[way]])) for field in ("seconds", "rollout_s")),
            show_spread(spread([one.cached_share for one in raw[way]]), 3),
        )
        for name, way in (("least loaded", False), ("by query", True))
    ]
    notes = [
        f"By query to least loaded: seconds {show_ratio(ratios['seconds'])}, rollout {show_ratio(ratios['rollout_s'])}."
        f" {args.replicas} replicas, {args.seeds} seeds, simulated."
    ]
    columns = ("placement", "seconds of training", "seconds of a rollout", "cached share of prompts")
    print_table("which replica a query's requests go to", columns, rows, notes)
    print(f"result: {path}")
    return 0


def _spreads(trainings: Sequence[Training]) -> dict[str, Any]:
    names = ("seconds", "rollout_s", "cached_share")
    return {name: asdict(spread([getattr(one, name) for one in trainings])) for name in names}


def train(config: Config, seed: int, num_replicas: int, by_query: bool) -> Training:
    """A whole training in virtual time."""
    with tempfile.TemporaryDirectory(prefix=f"{NAME}-") as folder:
        changes = {"seed": seed, "run_dir": Path(folder) / "run"}
        return run_virtually(_train(config.model_copy(update=changes), num_replicas, by_query))


async def _train(config: Config, num_replicas: int, by_query: bool) -> Training:
    assert isinstance(config.engine, SimulatedEngineConfig)
    task, roster, embedder = RememberingTask(load_task(config.task, config.seed)), load_roster(config), FakeEmbedder()
    engines = [await open_simulated_engine(config.engine, task, config.seed) for _ in range(num_replicas)]
    replicas = [LocalReplica(f"replica-{index}", engine) for index, engine in enumerate(engines)]
    engine = await ReplicatedEngine.start(replicas, by_group=by_query)
    executor = Executor.of(config, admit(engine, config.admission), task, roster)
    folder = RunFolder(config.run_dir)
    folder.create(config, resume=False, restart=False)
    trainer = Trainer(config, task, new_controller(config, roster.drawn, embedder), embedder, executor, folder)
    steps: list[Metrics] = []
    await trainer.train(asyncio.Event(), steps.append)
    await engine.close()
    return Training(
        seconds=asyncio.get_running_loop().time(),
        rollout_s=fmean(step["wall_latency_s"] for step in steps),
        cached_share=sum(step["engine_cached_tokens"] for step in steps)
        / sum(step["engine_prompt_tokens"] for step in steps),
    )


if __name__ == "__main__":
    sys.exit(main())
