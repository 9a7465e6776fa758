"""What a served run does when things break, on its real engine and under load: each fault, and what clients saw.

One server meets ten thousand idle connections, a client of one byte a second, a body of 100 MB, the death of its engine
and SIGTERM; a second one, whose log is a full disk, SIGKILL.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import resource
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import psutil

from bench.chat_load import chat_bodies
from bench.command import positive, run_command
from bench.result import open_folder, print_table, write_result
from bench.run_command import check_run, new_run_parser, overrides_of
from bench.served_process import Served, free_port, our_command, served, wait_until_ready
from lamas_local.cli import RUN_FAILED
from lamas_local.config import Config
from lamas_local.orchestrator.backend import base_model_name
from lamas_local.orchestrator.orchestrator import NAME as LAMAS
from lamas_local.tasks import load_task

NAME = "serve_faults"
CHATS = "/v1/chat/completions"
LOAD_S = 10.0
"""How long the clients are watched under a fault that lasts."""
GONE_S = 15.0
BODY_BYTES, CHUNK_BYTES = 100_000_000, 1_000_000


@dataclass(slots=True)
class Load:
    """Clients that ask one query after another, and what they were told."""

    url: str
    bodies: Sequence[dict[str, Any]]
    outcomes: Counter[str] = field(default_factory=Counter)
    """By status code, `unreachable` where there was none, `cut` where a connection ended within an answer."""
    latencies_s: list[float] = field(default_factory=list)

    async def work(self, client: httpx.AsyncClient, first: int) -> None:
        """Until cancelled."""
        index = first
        while True:
            index += 1
            started = time.monotonic()
            try:
                response = await client.post(CHATS, json=self.bodies[index % len(self.bodies)])
            except httpx.ConnectError:
                self.outcomes["unreachable"] += 1
            except httpx.HTTPError:
                self.outcomes["cut"] += 1
            else:
                self.outcomes[str(response.status_code)] += 1
                if response.status_code == 200:
                    self.latencies_s.append(time.monotonic() - started)
                    continue
            await asyncio.sleep(0.5)

    def take(self) -> dict[str, Any]:
        """What was seen since the last call."""
        seen = {
            "outcomes": dict(self.outcomes),
            "latency_p50_s": median(self.latencies_s) if self.latencies_s else None,
        }
        self.outcomes.clear()
        self.latencies_s.clear()
        return seen


@asynccontextmanager
async def loaded(url: str, bodies: Sequence[dict[str, Any]], num_clients: int) -> AsyncIterator[Load]:
    """Clients that work meanwhile."""
    load = Load(url, bodies)
    async with httpx.AsyncClient(base_url=url, timeout=300.0) as client:
        tasks = [asyncio.ensure_future(load.work(client, 100 * index)) for index in range(num_clients)]
        try:
            yield load
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def main(argv: Sequence[str] | None = None) -> int:
    """The command; status 1 when a fault was not survived."""
    parser = new_run_parser(f"python -m bench.{NAME}", "A served run under faults.")
    parser.add_argument("--clients", type=positive, default=8, help="that ask all the time (%(default)s)")
    parser.add_argument("--idle", type=positive, default=10_000, help="idle connections (%(default)s)")
    return run_command(parser, lambda args, config: run(args, config, overrides_of(argv, parser)), argv)


def run(args: argparse.Namespace, config: Config, overrides: Sequence[str]) -> int:
    """Break, watch, write, print; returns the exit status."""
    folder, run_folder = open_folder(args.output, NAME), check_run(args)
    load_before = os.getloadavg()
    task = load_task(config.task, config.seed)
    bodies = [
        chat_bodies(task, config, (LAMAS, base_model_name(config))[index % 2], index, 1)[0] for index in range(256)
    ]
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    figures: dict[str, Any] = {}
    port = free_port()
    with served(our_command(run_folder, port, overrides), port, "/ready", folder / "server.log") as server:
        figures |= asyncio.run(break_it(server, bodies, args.clients, args.idle, folder / "server.log"))
    port = free_port()
    command = our_command(run_folder, port, overrides)
    with served(command, port, "/ready", folder / "killed.log", stdout=Path("/dev/full")) as server:
        figures["killed, log on a full disk"] = asyncio.run(kill_it(server, bodies, args.clients))
    is_met = all(figure["is_met"] for figure in figures.values())
    path = write_result(folder, config, figures | {"is_target_met": is_met}, {}, load_before)
    rows = [
        (
            name,
            ", ".join(f"{count} × {status}" for status, count in figure["outcomes"].items()),
            "" if figure["latency_p50_s"] is None else f"{figure['latency_p50_s']:.2f}",
            figure["said"],
            "yes" if figure["is_met"] else "NO",
        )
        for name, figure in figures.items()
    ]
    print_table(f"{args.clients} clients", ("fault", "clients were told", "p50 s", "what happened", "survived"), rows)
    print(f"result: {path}")
    return 0 if is_met else RUN_FAILED


async def break_it(
    server: Served, bodies: Sequence[dict[str, Any]], num_clients: int, num_idle: int, log: Path
) -> dict[str, Any]:
    """Every fault that a server survives, and SIGTERM at the end."""
    figures: dict[str, Any] = {}
    host, port = "127.0.0.1", int(server.url.rpartition(":")[2])
    async with loaded(server.url, bodies, num_clients) as load:
        await asyncio.sleep(LOAD_S)
        figures["none"] = note(load, "", is_met=True)

        idle = [await asyncio.open_connection(host, port) for _ in range(num_idle)]
        await asyncio.sleep(LOAD_S)
        figures["idle connections"] = note(load, f"{num_idle} opened", is_met=True)
        for _, writer in idle:
            writer.transport.abort()

        said = await asyncio.gather(one_byte_a_second(host, port), large_body(host, port))
        figures["slow client, large body"] = note(load, ", ".join(said), is_met=said[1].startswith("413"))

        core = engine_core(server.process.pid)
        core.kill()
        down = time.monotonic()
        await asyncio.sleep(2)  # the server has noticed by then
        await asyncio.to_thread(wait_until_ready, server.process, f"{server.url}/ready", log)
        said_down = f"ready again after {time.monotonic() - down:.0f} s"
        figures["engine killed"] = note(load, said_down, is_met=load.outcomes["cut"] == 0)
        await asyncio.sleep(LOAD_S)
        figures["after that"] = note(load, "", is_met=set(load.outcomes) == {"200"})

        server.process.send_signal(signal.SIGTERM)
        told = time.monotonic()
        status = await asyncio.to_thread(server.process.wait, 60)
        said_term = f"status {status} after {time.monotonic() - told:.1f} s"
        await asyncio.sleep(1)
        figures["SIGTERM"] = note(load, said_term, is_met=status == 0 and load.outcomes["cut"] == 0)
    for name in ("none", "idle connections", "slow client, large body"):
        figures[name]["is_met"] &= set(figures[name]["outcomes"]) == {"200"}
    return figures


def note(load: Load, said: str, *, is_met: bool) -> dict[str, Any]:
    """A fault's figures."""
    return {**load.take(), "said": said, "is_met": is_met}


async def one_byte_a_second(host: str, port: int) -> str:
    """How a connection ends whose headers come a byte a second."""
    reader, writer = await asyncio.open_connection(host, port)
    started = time.monotonic()
    with contextlib.suppress(ConnectionError):
        for byte in f"POST {CHATS} HTTP/1.1\r\nHost: x\r\n".encode():
            writer.write(bytes([byte]))
            await writer.drain()
            with contextlib.suppress(asyncio.TimeoutError, TimeoutError):
                await asyncio.wait_for(reader.read(1), 1)
                break  # an answer, or the end
    writer.close()
    return f"slow one closed after {time.monotonic() - started:.0f} s"


async def large_body(host: str, port: int) -> str:
    """The status of a request with a body of 100 MB, and how much of it was taken."""
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(f"POST {CHATS} HTTP/1.1\r\nHost: x\r\nContent-Length: {BODY_BYTES}\r\n\r\n".encode())
    sent = 0
    with contextlib.suppress(ConnectionError):
        while sent < BODY_BYTES and not reader.at_eof():
            writer.write(bytes(CHUNK_BYTES))
            await writer.drain()
            sent += CHUNK_BYTES
    status = b""
    with contextlib.suppress(ConnectionError):
        status = await reader.readline()
    writer.close()
    return f"{(status.split() or [b'no', b'no answer'])[1].decode()} to 100 MB after {sent / 1e6:.0f} MB"


def engine_core(pid: int) -> psutil.Process:
    """The process that holds the model: the child with most memory."""
    children = psutil.Process(pid).children(recursive=True)
    return max(children, key=lambda child: int(child.memory_info().rss))


async def kill_it(server: Served, bodies: Sequence[dict[str, Any]], num_clients: int) -> dict[str, Any]:
    """SIGKILL under load of a server that cannot write its log; what of its processes is left."""
    async with loaded(server.url, bodies, num_clients) as load:
        await asyncio.sleep(LOAD_S)
        seen = load.take()
        family = psutil.Process(server.process.pid).children(recursive=True)
        server.process.kill()
        killed = time.monotonic()
        _, left = await asyncio.to_thread(psutil.wait_procs, family, GONE_S)
        gone_s = time.monotonic() - killed
    return {
        **seen,
        "said": f"{len(left)} of {len(family)} children left after {gone_s:.1f} s",
        "is_met": set(seen["outcomes"]) == {"200"} and not left,
    }


if __name__ == "__main__":
    sys.exit(main())
