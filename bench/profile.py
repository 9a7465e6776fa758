"""Where the time of a piece of work goes, by part of the program."""

from __future__ import annotations

import cProfile
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

Function = tuple[str, int, str]
"""File, line, name; built-in functions have the file `~`, generated ones `<string>`."""
Figures = tuple[int, int, float, float]
"""Calls, calls that were not recursive, own seconds, seconds with what it called."""
Calls = Mapping[Function, tuple[int, int, float, float, Mapping[Function, Figures]]]
"""As the profiler has it: a function's figures, and of them what each caller has."""
PARTS: Mapping[str, tuple[str, ...]] = {
    "event loop and threads": (
        "/asyncio/",
        "/contextlib.py",
        "/selectors.py",
        "/_weakrefset.py",
        "/threading.py",
        "/concurrent/",
        "/clock.py",
    ),
    "controller and its draw": (
        "/torch/",
        "/controller.py",
        "/sampling.py",
        "/embedding.py",
        "/policy.py",
        "/choice.py",
    ),
    "executor": ("/executor.py", "/dataflow.py", "/scheduler.py", "/seeds.py"),
    "operators and their calls": ("/operator_call.py", "/lamas_local/operators/"),
    "prompts": ("/prompt.py",),
    "admission": ("/admission.py", "/asyncio_throttle/"),
    "fake engine": ("/fake_engine.py",),
    "traces on disk": ("/trace.py", "/json_lines.py", "/run_folder.py", "/pathlib.py"),
    "vote, answers and score": ("/finaliser.py", "/tasks/", "/evaluation.py"),
    "view, events and metrics": (
        "/orchestrator/",
        "/critical_path.py",
        "/latency.py",
        "/prometheus_client/",
        "/pydantic/",
    ),
}
"""Part -> pieces of its files' paths; the first that fits counts."""
OTHER = "other"


@dataclass(frozen=True, slots=True)
class Share:
    """One part's share of the time."""

    part: str
    share: float


async def profiled(work: Callable[[], Awaitable[None]]) -> tuple[Share, ...]:
    """Do the work under the profiler, this thread's alone, which slows small functions most; largest share first."""
    profiler = cProfile.Profile()
    profiler.enable()
    try:
        await work()
    finally:
        profiler.disable()
    profiler.create_stats()
    return shares(profiler.stats)


def shares(calls: Calls) -> tuple[Share, ...]:
    """Each function's own time goes to its part; that of built-in and generated functions to whoever called them."""
    own: defaultdict[str, float] = defaultdict(float)
    for function, (_, _, own_s, _, callers) in calls.items():
        if is_ours(function):
            own[part_of(function)] += own_s
        else:
            for caller, (_, _, called_s, _) in callers.items():
                own[part_of(caller)] += called_s
    whole = sum(own.values())
    return tuple(Share(part, seconds / whole) for part, seconds in sorted(own.items(), key=lambda item: -item[1]))


def is_ours(function: Function) -> bool:
    """Whether it has a file of its own."""
    return function[0] not in ("~", "<string>")


def part_of(function: Function) -> str:
    """Whose time it is."""
    for part, pieces in PARTS.items():
        if any(piece in function[0] for piece in pieces):
            return part
    return OTHER
