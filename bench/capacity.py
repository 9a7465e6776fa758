"""How many queries a second one process starts and finishes on one core, with an engine that answers at once.

Every query runs the same 4 layers of 8 operators, 64 queries in flight, on the fake engine without a delay. Two ways:
`evaluate` is the evaluation's own code: a draw of the controller, the rollout, its score, its line of traces on the
disk. `serve` is the orchestrator behind the server, without HTTP: the draw in its thread, the rollout, its events, its
view and its metrics. What is drawn is thrown away for what runs, so that all queries are alike. Embeddings are made up;
the encoder is timed alone. A further pass under the profiler says where the time goes, by part.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from prometheus_client import CollectorRegistry

from bench.case import fixed_architecture
from bench.command import new_parser, positive, run_command
from bench.orchestration import ARCHITECTURE
from bench.profile import Share, profiled
from bench.result import open_folder, print_table, show_spread, write_result
from bench.spread import Spread, spread
from lamas_local.config import Config
from lamas_local.controller import Controller, Draw
from lamas_local.embedding import Embedder
from lamas_local.engine_config import FakeEngineConfig
from lamas_local.evaluation import evaluate
from lamas_local.operators import Operator
from lamas_local.orchestrator.forecast import Forecast
from lamas_local.orchestrator.metrics import RolloutMetrics
from lamas_local.orchestrator.orchestrator import NAME as MODEL
from lamas_local.orchestrator.orchestrator import Orchestrator
from lamas_local.orchestrator.request import LamasRequest
from lamas_local.policy import LearnedPolicy
from lamas_local.run_folder import RunFolder
from lamas_local.seeds import derive_seed
from lamas_local.session import Session, find_embedder
from lamas_local.trace import Architecture, RolloutTrace
from serving.http.chat_model import ChatQuery

NAME = "capacity"
IN_FLIGHT = 64
NUM_QUERIES, NUM_WARM_UP = 1000, 100
NUM_TEXTS = 100
"""That the encoder is timed on, one by one."""
TARGET_PER_S = 300.0


@dataclass(frozen=True, slots=True)
class Way:
    """One way to run queries, over its repeats."""

    queries_per_s: Spread
    """By the wall clock: the process has one core, and shares it with whatever else runs there."""
    cpu_ms: Spread
    """CPU time a query, all threads."""
    shares: tuple[Share, ...]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; returns the exit status."""
    parser = new_parser("python -m bench.capacity", __doc__.splitlines()[0])
    parser.add_argument("--repeats", type=positive, default=5, metavar="N", help="(%(default)s)")
    parser.add_argument("--queries", type=positive, default=NUM_QUERIES, metavar="N", help="a repeat (%(default)s)")
    return run_command(parser, measure, argv)


def measure(args: argparse.Namespace, config: Config) -> int:
    """Both ways, then the encoder; write and print."""
    folder, load_before = open_folder(args.output, NAME), os.getloadavg()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    config = config.model_copy(
        update={
            "engine": FakeEngineConfig(),
            "controller": config.controller.model_copy(update={"encoder": "fake", "num_layers": 4}),
            "evaluation": config.evaluation.model_copy(
                update={"num_queries": args.queries, "max_queries_in_flight": IN_FLIGHT}
            ),
        }
    )
    ways, raw = asyncio.run(run_ways(config, args.repeats))
    encoder_ms = time_encoder()
    best = ways["evaluate"].queries_per_s.median
    figures = {"ways": {name: asdict(way) for name, way in ways.items()}, "encoder_ms": encoder_ms}
    path = write_result(folder, config, figures | {"is_target_met": best >= TARGET_PER_S}, raw, load_before)
    print_ways(ways, encoder_ms)
    print(f"result: {path}")
    return 0


async def run_ways(config: Config, num_repeats: int) -> tuple[dict[str, Way], dict[str, list[tuple[float, float]]]]:
    """Every way on one session; and per way the queries a second and the milliseconds of CPU of each repeat."""
    session = await Session.open(config)
    try:
        with tempfile.TemporaryDirectory() as place:
            passes = {"evaluate": evaluation_pass(session, RunFolder(Path(place))), "serve": serving_pass(session)}
            raw = {name: [await timed(one, config) for _ in range(num_repeats + 1)][1:] for name, one in passes.items()}
            return {
                name: Way(
                    spread([per_s for per_s, _ in raw[name]]),
                    spread([cpu_ms for _, cpu_ms in raw[name]]),
                    await profiled(one),
                )
                for name, one in passes.items()
            }, raw
    finally:
        await session.close()


async def timed(one_pass: Callable[[], Awaitable[None]], config: Config) -> tuple[float, float]:
    """Queries a second, and milliseconds of CPU a query."""
    started, cpu = time.perf_counter(), time.process_time()
    await one_pass()
    num_queries = config.evaluation.num_queries
    return (
        num_queries / (time.perf_counter() - started),
        (time.process_time() - cpu) * 1000 / num_queries,
    )


class SettledController(Controller):
    """Draws, and then gives the same architecture every time."""

    def __init__(
        self, config: Config, operators: Sequence[Operator], embedder: Embedder, architecture: Architecture
    ) -> None:
        embeddings = embedder.embed([operator.description for operator in operators])
        super().__init__(config.controller, operators, embeddings, derive_seed(config.seed, "controller"))
        self._architecture = architecture

    def draw(self, query: torch.Tensor, generator: torch.Generator) -> Draw:
        """The work of a draw, and always the same outcome."""
        return Draw(self._architecture, super().draw(query, generator).log_probabilities)


def settled_controller(session: Session) -> SettledController:
    """Of 4 layers with 8 operators in all."""
    architecture = fixed_architecture(session, ARCHITECTURE)
    return SettledController(session.config, session.operators, session.embedder, architecture)


def evaluation_pass(session: Session, folder: RunFolder) -> Callable[[], Awaitable[None]]:
    """All queries through `evaluate`."""
    policy = LearnedPolicy(settled_controller(session), session.embedder, session.config.seed, "layered", 0)

    def on_rollout(trace: RolloutTrace) -> None:
        assert trace.score is not None, trace.failure
        folder.append_traces([trace])

    async def run() -> None:
        stop = asyncio.Event()
        assert await evaluate({"drawn": policy}, session.task, session.executor, session.config, stop, on_rollout)

    return run


def serving_pass(session: Session) -> Callable[[], Awaitable[None]]:
    """All queries through `Orchestrator.answer`."""
    config, executor = session.config, session.executor
    orchestrator = Orchestrator(
        config,
        executor,
        session.engine,
        settled_controller(session),
        session.embedder,
        Forecast(None, executor.operators, config, ()),
        RolloutMetrics(CollectorRegistry()),
    )
    problems = [session.task.example("test", index).query.problem for index in range(config.evaluation.num_queries)]

    async def answer(number: int, problem: str) -> None:
        request = LamasRequest.model_validate({"model": MODEL, "messages": [{"role": "user", "content": problem}]})
        orchestrator.check(request)
        arrived = time.monotonic()
        async for _ in orchestrator.answer(ChatQuery(request, f"query-{number}", arrived, arrived)):
            pass

    async def run() -> None:
        waiting = iter(enumerate(problems))

        async def work() -> None:
            for number, problem in waiting:
                await answer(number, problem)

        await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))

    return run


def time_encoder() -> float:
    """Milliseconds of the sentence encoder for one new text, on the one core."""
    embedder = find_embedder(Config())()
    embedder.embed(["A first one."])
    started = time.process_time()
    for number in range(NUM_TEXTS):
        embedder.embed([f"There are {number} red pens and {number + 2} blue pens. How many pens are there in total?"])
    return (time.process_time() - started) * 1000 / NUM_TEXTS


def print_ways(ways: dict[str, Way], encoder_ms: float) -> None:
    """What is reached, and where the time goes."""
    rows = [(name, show_spread(way.queries_per_s, 0), show_spread(way.cpu_ms)) for name, way in ways.items()]
    notes = [f"The encoder takes {encoder_ms:.1f} ms more for a text that is new to it."]
    print_table(f"{IN_FLIGHT} queries in flight, one core", ("way", "queries a second", "CPU ms a query"), rows, notes)
    for name, way in ways.items():
        parts = [(share.part, f"{share.share:.0%}") for share in way.shares]
        print_table(f"{name}: where it goes", ("part", "share under the profiler"), parts)


if __name__ == "__main__":
    sys.exit(main())
