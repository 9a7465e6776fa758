"""Engines for Ray's tests, opened in its workers; and a process that owns replicas of one, to be killed.

`python -m tests.serving.ray_engines [ADDRESS]` prints the cluster's address once two replicas have started, then obeys
lines on its standard input: `answer` prints which replicas answered, `close` ends them. Ctrl-C prints `interrupted`.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest

from serving.fake_engine import FakeEngine
from serving.ray_engine import start_ray_engine
from serving.replicated_engine import ReplicatedEngine
from serving.types import Completion, EngineDeadError, EngineError, EngineStartError, GenerationRequest, Message
from serving.watchdog import MARKER_VARIABLE

NEEDS_RAY = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: the extra [ray]")
TOKEN_S = 0.02
ACTOR = "ray::EngineActor"
"""What Ray calls a replica's process; behind it may stand what it is at."""


class WatchedEngine(FakeEngine):
    """A fake engine that leaves word of a cancelled request in a folder, and dies once of the word `die`."""

    def __init__(self, folder: Path) -> None:
        super().__init__(token_s=TOKEN_S, fail=self._die_once)
        self._folder = folder

    async def generate(self, request: GenerationRequest) -> Completion:
        try:
            return await super().generate(request)
        except asyncio.CancelledError:
            (self._folder / f"cancelled-{request.request_id}").touch()
            raise

    def _die_once(self, request: GenerationRequest) -> EngineError | None:
        died = self._folder / "died"
        if request.messages[0].content != "die" or died.exists():
            return None
        died.touch()
        return EngineDeadError("told to die")


async def open_watched(folder: Path) -> FakeEngine:
    return WatchedEngine(folder)


async def open_fake() -> FakeEngine:
    return FakeEngine(token_s=TOKEN_S)


async def open_nothing() -> FakeEngine:
    raise EngineStartError("no such model")


async def start_fakes(address: str = "local") -> ReplicatedEngine:
    return await start_ray_engine(open_fake, num_replicas=2, address=address, cpus_per_replica=0, gpus_per_replica=0)


def marked(owner: psutil.Process) -> list[psutil.Process]:
    """The processes that a process's watchdog would end."""
    found = []
    for child in owner.children(recursive=True):
        with suppress(psutil.Error):
            if MARKER_VARIABLE in child.environ():
                found.append(child)
    return found


def still_running(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that have not ended, whether or not somebody has taken note of their end."""
    found = []
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            if process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def actors(owner: int | None = None) -> list[psutil.Process]:
    """The replicas' processes in the cluster that a process (this one) started, the longest running first."""
    found = []
    for child in psutil.Process(owner).children(recursive=True):
        with suppress(psutil.Error):
            if child.name().startswith(ACTOR) and child.status() != psutil.STATUS_ZOMBIE:
                found.append((child.create_time(), child))
    return [child for _, child in sorted(found, key=lambda pair: pair[0])]


def ask(name: str, content: str = "Count.", max_tokens: int = 40) -> GenerationRequest:
    return GenerationRequest(name, (Message("user", content),), max_tokens, 1.0, seed=len(name))


async def main() -> None:
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, lambda: print("interrupted", flush=True))
    engine = await start_fakes(*sys.argv[1:])
    import ray  # not earlier: it reads its environment

    print(ray.get_runtime_context().gcs_address, flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        if line == "answer\n":
            completions = await asyncio.gather(*(engine.generate(ask(f"asked-{number}")) for number in range(2)))
            print(*sorted(f"{one.replica}" for one in completions), flush=True)
        else:
            await engine.close()
            print("closed", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
