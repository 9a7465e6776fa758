"""How much of vLLM's own throughput the executor keeps, and what its orchestration costs.

Part one: many rollouts through the executor at once, then the very same prompts and sampling parameters through
`LLM.generate`, with the same engine arguments. Each pass has an engine of its own, so that every one starts with the
same prefix cache; the two never run at the same time. Part two: see `bench.orchestration`.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Literal

from bench.case import fixed_architecture
from bench.command import new_parser, positive, run_command
from bench.direct_engine import Direct, Recorded, run_direct
from bench.orchestration import NUM_LAYERS, NUM_OPERATORS, Orchestration, measure_orchestration
from bench.recording_engine import RecordingEngine
from bench.result import open_folder, print_table, show_spread, write_result
from bench.served import Served
from bench.spread import paired_ratio, spread
from lamas_local.cli import RUN_FAILED
from lamas_local.config import Config
from lamas_local.executor import Executor, Plan
from lamas_local.policy import LearnedPolicy
from lamas_local.session import Session

NAME = "engine_utilisation"
TARGET_SHARE = 0.9
"""Executor's output tokens per second over vLLM's own, at least."""
TARGET_MS = 5.0
"""CPU milliseconds of orchestration per query, less than."""
WARM_UP = "fixed:Generate,GenerateCoT,MultiGenerateCoT+SelfRefine,ScEnsemble"
FEW_RUNNING = 16
"""Below so many requests in the batch a CPU's throughput falls fast (VLLM_ON_CPU.md)."""
Side = Literal["executor", "vllm"]


@dataclass(frozen=True, slots=True)
class ExecutorPass:
    """One pass through the executor."""

    served: Served
    recorded: Recorded
    num_failed: int
    """Rollouts."""
    failure: str | None
    return_delay_s: float
    """Median time from a request's last token to its caller: detokenising and the event loop's delay."""


def main(argv: Sequence[str] | None = None) -> int:
    """The command; status 1 when a rollout failed, whether the targets are met or not."""
    parser = new_parser(f"python -m bench.{NAME}", "The executor's throughput against vLLM's own LLM.generate.")
    parser.add_argument("--num-rollouts", type=positive, default=64, help="rollouts sent at once (%(default)s)")
    parser.add_argument("--repeats", type=positive, default=3, help="passes through each of the two (%(default)s)")
    parser.add_argument(
        "--num-orchestrated",
        type=positive,
        default=300,
        help="queries of the orchestration's measurement (%(default)s)",
    )
    return run_command(parser, run, argv)


def run(args: argparse.Namespace, config: Config) -> int:
    """Measure, write, print; returns the exit status."""
    folder = open_folder(args.output, NAME)
    load_before = os.getloadavg()
    orchestration = asyncio.run(measure_orchestration(config, args.num_orchestrated))
    passes, directs = measure_engines(config, args.num_rollouts, args.repeats)
    failures = [one.failure for one in passes if one.failure is not None]
    figures = {
        "target_share": TARGET_SHARE,
        "target_orchestration_ms": TARGET_MS,
        "num_rollouts": args.num_rollouts,
        "num_failed_rollouts": sum(one.num_failed for one in passes),
        "orchestration_cpu_ms": {"median": orchestration.median_ms, "p95": orchestration.p95_ms},
        "orchestration_profile": orchestration.profile,
        "is_orchestration_target_met": orchestration.median_ms < TARGET_MS,
        **({} if failures else compare(passes, directs)),
    }
    raw = {
        "executor": [describe(one.served) | {"return_delay_s": one.return_delay_s} for one in passes],
        "vllm": [
            describe(direct.served) | {name: value for name, value in asdict(direct).items() if name != "served"}
            for direct in directs
        ],
        "orchestration": asdict(orchestration),
    }
    path = write_result(folder, config, figures, raw, load_before)
    if failures:
        print(f"{figures['num_failed_rollouts']} rollouts failed, one with {failures[0]}; see {path}", file=sys.stderr)
        return RUN_FAILED
    print_figures(figures, passes, directs, orchestration)
    print(f"result: {path}")
    return 0


def measure_engines(config: Config, num_rollouts: int, num_repeats: int) -> tuple[list[ExecutorPass], list[Direct]]:
    """Passes in turns: executor, vLLM, vLLM, executor, ... A direct pass sends what the newest executor pass sent.

    Ends early when a rollout failed.
    """
    passes: list[ExecutorPass] = []
    directs: list[Direct] = []
    for side in turns(num_repeats):
        print(f"{side} {1 + len(passes if side == 'executor' else directs)}/{num_repeats} …", file=sys.stderr)
        if side == "vllm":
            directs.append(run_direct(config, passes[-1].recorded))
            continue
        passes.append(asyncio.run(run_executor(config, num_rollouts)))
        if passes[-1].num_failed:
            break
    return passes, directs


def turns(num_repeats: int) -> list[Side]:
    """A B, B A, A B, ...: a drift of the machine hits both alike."""
    pair: tuple[Side, Side] = ("executor", "vllm")
    return [side for repeat in range(num_repeats) for side in (pair if repeat % 2 == 0 else pair[::-1])]


async def run_executor(config: Config, num_rollouts: int) -> ExecutorPass:
    """Start an engine, warm it up, run every rollout at once, end the engine."""
    session = await Session.open(config)
    try:
        untrained = LearnedPolicy(session.new_controller(), session.embedder, config.seed, "layered", 0)
        examples = [session.task.example("test", index) for index in range(num_rollouts)]
        plans = [Plan(example, untrained.architecture(example.query), "layered", NAME) for example in examples]
        warm_up_plan = Plan(
            session.task.example("train", 0), fixed_architecture(session, WARM_UP), "layered", "warm-up"
        )
        warm_up, recording = RecordingEngine(session.engine), RecordingEngine(session.engine)
        await _executor(session, warm_up).run(warm_up_plan)
        executor = _executor(session, recording)
        started = time.monotonic()
        traces = await asyncio.gather(*(executor.run(plan) for plan in plans))
        seconds = time.monotonic() - started
    finally:
        await session.close()
    failures = [trace.failure for trace in traces if trace.failure is not None]
    return ExecutorPass(
        served=recording.served(seconds),
        recorded=Recorded(tuple(warm_up.requests), tuple(recording.requests)),
        num_failed=len(failures),
        failure=f"{failures[0].kind}: {failures[0].message}" if failures else None,
        return_delay_s=median(
            [completion.timing.returned - completion.timing.last_token for completion in recording.completions] or [0.0]
        ),
    )


def _executor(session: Session, engine: RecordingEngine) -> Executor:
    return Executor(engine, session.task, session.operators, session.config.sampling, session.config.seed)


def compare(passes: Sequence[ExecutorPass], directs: Sequence[Direct]) -> dict[str, Any]:
    """The figures of part one."""
    ours = [one.served.tokens_per_s for one in passes]
    theirs = [direct.served.tokens_per_s for direct in directs]
    share = median(ours) / median(theirs)
    return {
        "executor_tokens_per_s": asdict(spread(ours)),
        "vllm_tokens_per_s": asdict(spread(theirs)),
        "share": share,
        "share_by_repeat": asdict(paired_ratio([a / b for a, b in zip(ours, theirs, strict=True)])),
        "is_share_target_met": share >= TARGET_SHARE,
    }


def describe(served: Served) -> dict[str, Any]:
    """One pass for the result."""
    return {
        "seconds": served.seconds,
        "tokens_per_s": served.tokens_per_s,
        "num_requests": served.num_requests,
        "num_prompt_tokens": served.num_prompt_tokens,
        "num_cached_tokens": served.num_cached_tokens,
        "num_output_tokens": served.num_output_tokens,
        "mean_running": served.mean_running,
        f"share_of_time_below_{FEW_RUNNING}_running": served.share_below(FEW_RUNNING),
    }


def print_figures(
    figures: dict[str, Any], passes: Sequence[ExecutorPass], directs: Sequence[Direct], orchestration: Orchestration
) -> None:
    """The table, what is and is not equal about the two, and the verdicts."""
    sides = {"executor": [one.served for one in passes], directs[0].name: [direct.served for direct in directs]}
    rows = [
        (
            name,
            show_spread(spread([one.tokens_per_s for one in served]), 1),
            show_spread(spread([one.seconds for one in served])),
            f"{median(one.num_output_tokens for one in served):.0f}",
            f"{median(one.num_prompt_tokens for one in served):.0f}",
            f"{median(one.mean_running for one in served):.0f}",
            f"{median(one.share_below(FEW_RUNNING) for one in served):.0%}",
        )
        for name, served in sides.items()
    ]
    columns = ("", "output tokens/s", "seconds", "output tok.", "prompt tok.", "mean batch", f"time < {FEW_RUNNING}")
    share = "target met" if figures["is_share_target_met"] else "target missed"
    cpu = "target met" if figures["is_orchestration_target_met"] else "target missed"
    notes = [
        f"The requests of {figures['num_rollouts']} rollouts. The executor has to wait at each layer's end for that "
        f"rollout's slowest operator; {directs[0].name} is given the same prompts all at once, which is to its "
        "advantage.",
        f"{share}: the executor makes {figures['share']:.2f} of vLLM's own output tokens per second; the target is at "
        f"least {TARGET_SHARE}.",
        f"{cpu}: orchestrating a query of {NUM_LAYERS} layers and {NUM_OPERATORS} operators takes "
        f"{orchestration.median_ms:.2f} ms of CPU (p95 {orchestration.p95_ms:.2f}); the target is less than "
        f"{TARGET_MS:g}.",
        *orchestration.profile,
    ]
    print_table(f"median of {len(passes)} passes each (smallest–largest)", columns, rows, notes)


if __name__ == "__main__":
    sys.exit(main())
