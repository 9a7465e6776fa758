"""A served run at the edge of its capacity for a long time, with clients that go away in the middle."""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import httpx

from bench.chat_load import chat_bodies
from bench.command import positive, run_command
from bench.result import open_folder, print_table, write_result
from bench.run_command import check_run, new_run_parser, overrides_of
from bench.served_process import free_port, our_command, served
from lamas_local.cli import RUN_FAILED
from lamas_local.config import Config
from lamas_local.orchestrator.backend import base_model_name
from lamas_local.orchestrator.orchestrator import NAME as LAMAS
from lamas_local.tasks import Task, load_task

NAME = "serve_soak"
MOST_GROWTH = 0.05
LEAVING_SHARE = 1 / 3
NUM_BODIES = 512
SAMPLE_S = 5.0
SETTLED_SHARE, LAST_SHARE = 0.2, 0.2
"""Memory is compared between the samples after the first fifth (caches fill until then) and the last fifth."""
QUIET_S = 60.0


@dataclass(slots=True)
class Tally:
    """What became of every query, as its client saw it."""

    outcomes: Counter[str] = field(default_factory=Counter)
    """`answered`, `left` (the client went), `refused` (429 with Retry-After), `failed` (an error in shape), `lost`."""
    latencies_s: list[float] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    memory: list[tuple[float, int]] = field(default_factory=list)
    """Seconds since the start, bytes."""


def main(argv: Sequence[str] | None = None) -> int:
    """The command; status 1 when something leaked or was lost."""
    parser = new_run_parser(f"python -m bench.{NAME}", "A long time at the edge of capacity, with clients that leave.")
    parser.add_argument("--minutes", type=float, default=20.0, help="how long (%(default)s)")
    parser.add_argument("--clients", type=positive, default=64, help="clients (%(default)s)")
    parser.add_argument("--places", type=positive, default=16, help="the server's --max-in-flight (%(default)s)")
    parser.add_argument("--queue", type=positive, default=24, help="the server's --max-queued (%(default)s)")
    return run_command(parser, lambda args, config: run(args, config, overrides_of(argv, parser)), argv)


def run(args: argparse.Namespace, config: Config, overrides: Sequence[str]) -> int:
    """Measure, write, print; returns the exit status."""
    folder, run_folder = open_folder(args.output, NAME), check_run(args)
    load_before = os.getloadavg()
    task, port = load_task(config.task, config.seed), free_port()
    flags = [*overrides, "--max-in-flight", str(args.places), "--max-queued", str(args.queue)]
    with served(our_command(run_folder, port, flags), port, "/ready", folder / "server.log") as server:
        tally = asyncio.run(
            soak(server.url, bodies_of(task, config), args.clients, 60 * args.minutes, config.seed, server.memory_bytes)
        )
        unfinished = asyncio.run(left_behind(server.url))
    figures = summarise(tally, unfinished, args.minutes)
    raw = {"memory": tally.memory, "latencies_s": tally.latencies_s, "lost": tally.lost}
    path = write_result(folder, config, figures, raw, load_before)
    rows = [(name, str(value if not isinstance(value, float) else round(value, 3))) for name, value in figures.items()]
    print_table(f"{args.clients} clients, {args.minutes:g} minutes", ("figure", "value"), rows)
    print(f"result: {path}")
    return 0 if figures["is_target_met"] else RUN_FAILED


def bodies_of(task: Task, config: Config) -> list[dict[str, Any]]:
    """Both models, streamed and not, some with a budget."""
    names = (LAMAS, base_model_name(config))
    bodies: list[dict[str, Any]] = []
    for index in range(NUM_BODIES):
        (body,) = chat_bodies(task, config, names[index % 3 == 0], index, 1, stream=index % 2 == 0)
        if index % 5 == 1:
            body["latency_budget_s"] = 5.0
        bodies.append(body)
    return bodies


async def soak(
    url: str,
    bodies: Sequence[dict[str, Any]],
    num_clients: int,
    seconds: float,
    seed: int,
    memory_bytes: Callable[[], int],
) -> Tally:
    """Clients ask one query after another; a third of the queries are left at a random moment."""
    tally, rng, started = Tally(), random.Random(seed), time.monotonic()
    limits = httpx.Limits(max_connections=None)

    async def work(client: httpx.AsyncClient) -> None:
        while time.monotonic() - started < seconds:
            body = rng.choice(bodies)
            typical_s = median(tally.latencies_s[-50:]) if tally.latencies_s else 1.0
            leaves_after_s = rng.uniform(0, typical_s) if rng.random() < LEAVING_SHARE else None
            await one_query(client, body, leaves_after_s, tally)

    async def watch() -> None:
        while True:
            tally.memory.append((time.monotonic() - started, await asyncio.to_thread(memory_bytes)))
            await asyncio.sleep(SAMPLE_S)

    watching = asyncio.ensure_future(watch())
    try:
        async with httpx.AsyncClient(base_url=url, timeout=700.0, limits=limits) as client:
            await asyncio.gather(*(work(client) for _ in range(num_clients)))
    finally:
        watching.cancel()
    return tally


async def one_query(
    client: httpx.AsyncClient, body: dict[str, Any], leaves_after_s: float | None, tally: Tally
) -> None:
    """Ask, and note what became of it; a client that is refused waits as it is told, at most a few seconds."""
    started = time.monotonic()
    try:
        outcome = await asyncio.wait_for(ask(client, body), leaves_after_s)
    except (asyncio.TimeoutError, TimeoutError):
        outcome = "left"
    except httpx.HTTPError as error:
        outcome = "lost"
        tally.lost.append(repr(error))
    tally.outcomes[outcome.partition(":")[0]] += 1
    if outcome == "answered":
        tally.latencies_s.append(time.monotonic() - started)
    elif outcome.startswith("lost:"):
        tally.lost.append(outcome)
    elif outcome.startswith("refused"):
        await asyncio.sleep(min(float(outcome.partition(":")[2]), 3.0))


async def ask(client: httpx.AsyncClient, body: dict[str, Any]) -> str:
    """What became of it, for the tally."""
    async with client.stream("POST", "/v1/chat/completions", json=body) as response:
        content = (await response.aread()).decode()
    if response.status_code == 429:
        wait = response.headers.get("Retry-After", "")
        return f"refused:{wait}" if wait.isdigit() else "lost: 429 without Retry-After"
    if response.status_code >= 400:
        return "failed" if '"error"' in content else f"lost: {response.status_code} without an error"
    if not body.get("stream"):
        return "answered" if '"choices"' in content else "lost: no choices"
    if '"error"' in content:
        return "failed"
    return "answered" if content.endswith("data: [DONE]\n\n") else "lost: the stream was cut"


async def left_behind(url: str) -> dict[str, float]:
    """What the server says is still running, some time after the last client went."""
    names = ("lamas_num_requests_running", "lamas_num_requests_waiting", "lamas_num_engine_requests_unfinished")
    found: dict[str, float] = {}
    async with httpx.AsyncClient(base_url=url, timeout=30.0) as client:
        ends = time.monotonic() + QUIET_S
        while time.monotonic() < ends:
            lines = (await client.get("/metrics")).text.splitlines()
            found = {name: float(line.split()[1]) for line in lines for name in names if line.startswith(f"{name} ")}
            if not any(found.values()):
                break
            await asyncio.sleep(0.5)
    return found


def summarise(tally: Tally, unfinished: dict[str, float], minutes: float) -> dict[str, Any]:
    """What the benchmark is about."""
    growth = memory_growth(tally.memory)
    return {
        **{name: tally.outcomes[name] for name in ("answered", "left", "refused", "failed", "lost")},
        "queries_per_minute": tally.outcomes["answered"] / minutes,
        "latency_p50_s": median(tally.latencies_s) if tally.latencies_s else None,
        "memory_growth": growth,
        "memory_mib": tally.memory[-1][1] / 2**20,
        **unfinished,
        "is_target_met": tally.outcomes["lost"] == 0
        and tally.outcomes["answered"] > 0
        and len(unfinished) == 3
        and not any(unfinished.values())
        and growth < MOST_GROWTH,
    }


def memory_growth(samples: Sequence[tuple[float, int]]) -> float:
    """Median of the last samples over that of the first settled ones, less 1."""
    settled = samples[int(SETTLED_SHARE * len(samples)) :]
    size = max(int(LAST_SHARE * len(samples)), 1)
    return median(used for _, used in settled[-size:]) / median(used for _, used in settled[:size]) - 1


if __name__ == "__main__":
    sys.exit(main())
