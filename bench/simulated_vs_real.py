"""How well a simulation fitted to one real run says how long the rollouts of another took.

The other run's rollouts are run again in virtual time: the same architectures on the same queries with the same seeds,
as many at once as then, on one simulated engine from the first to the last. Once with the texts and lengths that the
model wrote then, so that only the engine is simulated; and once with those drawn from the first run's profile.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from bench.command import new_parser, run_command
from bench.result import open_folder, print_table, write_result
from bench.rollout_blocks import Block, blocks
from bench.scatter import draw_scatter
from lamas_local.calibration import load_cost_model
from lamas_local.config import Config, ConfigError
from lamas_local.engine_config import answering
from lamas_local.engines import admit
from lamas_local.executor import Executor
from lamas_local.latency import requests
from lamas_local.operators.roster import load_roster
from lamas_local.run_folder import RunFolder
from lamas_local.simulation.engine import simulated_engine
from lamas_local.simulation.fit import fit_to
from lamas_local.simulation.observation import plan_of, remember_queries
from lamas_local.simulation.profile import Profile, dump_profile
from lamas_local.simulation.remembering_task import RememberingTask
from lamas_local.simulation.skill import SkilledModel
from lamas_local.tasks import load_task
from lamas_local.trace import RequestSpan, RolloutTrace, read_traces
from lamas_local.virtual_time import run_virtually
from serving.simulated_engine import Responder, Response
from serving.types import GenerationRequest

NAME = "simulated_vs_real"
TARGET_ERROR = 0.20
ALL = "all"
"""The group of every rollout."""
Part = Literal["all", "train", "evaluation"]
PARTS: Mapping[Part, Callable[[RolloutTrace], bool]] = {
    "all": lambda trace: True,
    "train": lambda trace: trace.policy == "train",
    "evaluation": lambda trace: trace.policy != "train",
}


@dataclass(frozen=True, slots=True)
class Prediction:
    """Seconds of some rollouts as they were and as simulated."""

    group: str
    """The policy, or `all`."""
    at_once: int
    """Most rollouts that ran together."""
    num_rollouts: int
    real_p50: float
    real_p95: float
    replayed_p50: float
    """With the texts of then."""
    replayed_p95: float
    drawn_p50: float
    """With texts from the profile."""
    drawn_p95: float

    def error(self, what: str) -> float:
        """Of one of the simulated figures, relative to the real one; below 0 where it is too short."""
        predicted, real = getattr(self, what), getattr(self, f"real_{what.split('_')[1]}")
        return float(predicted / real - 1)


class Replay:
    """A `Responder` that says what was said then; what was aborted then would have gone on to the end."""

    def __init__(self, spans: Mapping[str, RequestSpan]) -> None:
        """Know requests by their ids."""
        self._spans = spans

    def respond(self, request: GenerationRequest) -> Response:
        """The recorded response."""
        span = self._spans.get(request.request_id)
        if span is None or span.text is None:
            return Response("", request.max_tokens, is_cut=True)
        return Response(span.text, max(span.num_output_tokens, 1), span.finish_reason == "length")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; returns the exit status."""
    parser = new_parser("python -m bench.simulated_vs_real", "Predicted against real seconds of another run.")
    parser.add_argument("--fit", type=Path, required=True, metavar="RUN", help="folder of the run to fit to")
    parser.add_argument("--fit-part", choices=PARTS, default="all", help="rollouts of it (%(default)s)")
    parser.add_argument("--against", type=Path, required=True, metavar="RUN", help="folder of the run to predict")
    parser.add_argument("--against-part", choices=PARTS, default="all", help="rollouts of it (%(default)s)")
    return run_command(parser, compare, argv)


def compare(args: argparse.Namespace, config: Config) -> int:
    """Fit, simulate twice, write and print; the settings of the command line are not used, but the runs' own."""
    folder = open_folder(args.output, NAME)
    load_before = os.getloadavg()
    fitted_config, fitted_to, model = read_run(args.fit, args.fit_part)
    config, real, _ = read_run(args.against, args.against_part)
    profile = run_virtually(fit_to(fitted_to, fitted_config, model, args.fit.name))
    replayed = run_virtually(simulate(real, config, profile, is_replay=True))
    drawn = run_virtually(simulate(real, config, profile, is_replay=False))
    groups = sorted({trace.policy for trace in real})
    at_once = [block.at_once for block in blocks(real) for _ in block.traces]
    predictions = [predict(group, real, replayed, drawn, at_once) for group in (*groups, ALL)]
    figures = {
        "target_error": TARGET_ERROR,
        "predictions": [asdict(one) | {"errors": errors(one)} for one in predictions],
        "is_target_met": abs(predictions[-1].error("drawn_p50")) <= TARGET_ERROR,
        "profile": profile.model_dump(mode="json"),
    }
    columns = [[seconds(trace) for trace in traces] for traces in (real, replayed, drawn)]
    raw = {"seconds": [list(row) for row in zip(*columns, strict=True)]}
    path = write_result(folder, config, figures, raw, load_before)
    (folder / "profile.yaml").write_text(dump_profile(profile), encoding="utf-8")
    draw_scatter(
        folder / "scatter.png",
        {
            title: list(zip(map(seconds, real), map(seconds, simulated), at_once, strict=True))
            for title, simulated in (("texts of then", replayed), ("texts drawn from the profile", drawn))
        },
    )
    print_predictions(predictions, profile, args)
    print(f"result: {path}, {folder / 'scatter.png'}")
    return 0


def read_run(folder: Path, part: Part) -> tuple[Config, list[RolloutTrace], Any]:
    """Settings, rollouts in order of their start and cost model (if any) of a run's folder or of a benchmark's.

    Raises:
        ConfigError: it is neither, or no rollout of that part ended well.
    """
    run = RunFolder(folder)
    result = folder / "result.json"
    if not run.holds_run and result.is_file():
        config = Config.model_validate(json.loads(result.read_text(encoding="utf-8"))["config"])
    else:
        config = run.load_config()
    traces = read_traces(run.traces) if run.traces.is_file() else []
    kept = [trace for trace in traces if PARTS[part](trace) and trace.failure is None]
    if not kept:
        raise ConfigError(f"{folder}: no rollout of the part {part!r} that ended well")
    # The run's own model was fitted to its training rollouts.
    model = load_cost_model(run.calibration) if part != "evaluation" else None
    return config, sorted(kept, key=lambda trace: trace.started), model


async def simulate(
    real: Sequence[RolloutTrace], config: Config, profile: Profile, *, is_replay: bool
) -> list[RolloutTrace]:
    """The same rollouts on an engine of that profile, in the same order."""
    task = RememberingTask(load_task(config.task, config.seed))
    remember_queries(task, {trace.query_id for trace in real})
    responder: Responder = SkilledModel(task, profile.skill, profile.tokens)
    if is_replay:
        responder = Replay({span.request_id: span for trace in real for span in requests(trace) if span.timing})
    engine = simulated_engine(profile, responder, answering(config.engine).max_model_len or 2**31)
    executor = Executor.of(config, admit(engine, config.admission), task, load_roster(config))
    try:
        simulated: list[RolloutTrace] = []
        for block in blocks(real):
            simulated += await run_block(block, executor, task)
        return simulated
    finally:
        await engine.close()
        await task.close()


async def run_block(block: Block, executor: Executor, task: RememberingTask) -> list[RolloutTrace]:
    """As many at once as then; the next begins as soon as one ends."""
    waiting = iter(enumerate(block.traces))
    done: dict[int, RolloutTrace] = {}

    async def work() -> None:
        while (item := next(waiting, None)) is not None:
            index, trace = item
            done[index] = await executor.run(plan_of(trace, task))

    await asyncio.gather(*(work() for _ in range(block.at_once)))
    return [done[index] for index in range(len(block.traces))]


def predict(
    group: str,
    real: Sequence[RolloutTrace],
    replayed: Sequence[RolloutTrace],
    drawn: Sequence[RolloutTrace],
    at_once: Sequence[int],
) -> Prediction:
    """Medians and 95th percentiles of one policy's rollouts, or of all; `at_once` of each as it was."""
    kept = [i for i, trace in enumerate(real) if group in (trace.policy, ALL)]
    columns = [[seconds(them[i]) for i in kept] for them in (real, replayed, drawn)]
    p50, p95 = (np.percentile(columns, share, axis=1) for share in (50, 95))
    return Prediction(
        group=group,
        at_once=max(at_once[i] for i in kept),
        num_rollouts=len(kept),
        real_p50=float(p50[0]),
        real_p95=float(p95[0]),
        replayed_p50=float(p50[1]),
        replayed_p95=float(p95[1]),
        drawn_p50=float(p50[2]),
        drawn_p95=float(p95[2]),
    )


def seconds(trace: RolloutTrace) -> float:
    """How long a rollout took."""
    return trace.ended - trace.started


def errors(prediction: Prediction) -> dict[str, float]:
    """The error of every simulated figure."""
    return {name: prediction.error(name) for name in ("replayed_p50", "replayed_p95", "drawn_p50", "drawn_p95")}


def print_predictions(predictions: Sequence[Prediction], profile: Profile, args: argparse.Namespace) -> None:
    """The table and the verdict."""

    def show(one: Prediction, what: str) -> str:
        return f"{getattr(one, what):.2f} ({one.error(what):+.0%})"

    rows = [
        (
            one.group,
            str(one.num_rollouts),
            str(one.at_once),
            f"{one.real_p50:.2f}",
            show(one, "replayed_p50"),
            show(one, "drawn_p50"),
            f"{one.real_p95:.2f}",
            show(one, "replayed_p95"),
            show(one, "drawn_p95"),
        )
        for one in predictions
    ]
    columns = ("rollouts", "n", "at once", "p50 s", "replayed", "drawn", "p95 s", "replayed", "drawn")
    is_met = abs(predictions[-1].error("drawn_p50")) <= TARGET_ERROR
    notes = [
        f"{profile.source} ({args.fit_part}); against {args.against} ({args.against_part}). replayed: with the texts "
        "and lengths of then; drawn: from the profile.",
        f"The median of all within {TARGET_ERROR:.0%}: target {'met' if is_met else 'missed'}.",
    ]
    print_table("simulated against real seconds", columns, rows, notes)


if __name__ == "__main__":
    sys.exit(main())
