"""The owner of a `math_worker`: asks it, in order, and starts another when one had to die."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process

_JOB_CPU_S = 10.0


class MathVerifier:
    """Compares answers without ever blocking the event loop. One worker process, started when first needed."""

    def __init__(self, job_cpu_s: float = _JOB_CPU_S) -> None:
        """`job_cpu_s`: CPU seconds one comparison may take; it then counts as not equal."""
        self._job_cpu_s = job_cpu_s
        self._worker: Process | None = None
        self._turn = asyncio.Lock()
        self._is_closed = False

    async def is_equal(self, gold: str, answer: str) -> bool:
        """Whether `answer` says what `gold` says (see `math_equality`); callers are served in order.

        Raises:
            RuntimeError: the worker cannot start, or this is closed.
        """
        await self._turn.acquire()
        # A caller that is cancelled must not leave its result to the next: the exchange goes on without it.
        return await asyncio.shield(asyncio.ensure_future(self._exchange(gold, answer)))

    async def close(self) -> None:
        """End the worker; callers that still wait get a RuntimeError."""
        self._is_closed = True
        if self._worker is not None:
            await _end(self._worker)

    async def _exchange(self, gold: str, answer: str) -> bool:
        """One job, tried once more where the worker died of something else than the job's own time limit."""
        try:
            for _ in range(2):
                worker = await self._running_worker()
                said = await _ask(worker, json.dumps([gold, answer]))
                if said:
                    return said == b"true\n"
                if await worker.wait() == -signal.SIGPROF:
                    break
            return False
        finally:
            self._turn.release()

    async def _running_worker(self) -> Process:
        if self._worker is not None and self._worker.returncode is None:
            return self._worker
        if self._is_closed:
            raise RuntimeError("the math verifier is closed")
        worker = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "lamas_local.tasks.math_worker", str(self._job_cpu_s),
            stdin=PIPE, stdout=PIPE, env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )  # fmt: skip
        self._worker = worker
        assert worker.stdout is not None
        if await worker.stdout.readline() != b"ready\n":
            status = await worker.wait()
            raise RuntimeError(f"lamas_local.tasks.math_worker ended with status {status} before it was ready")
        return worker


async def _ask(worker: Process, job: str) -> bytes:
    """The worker's line; empty where it died."""
    assert worker.stdin is not None
    assert worker.stdout is not None
    try:
        worker.stdin.write(job.encode() + b"\n")
        await worker.stdin.drain()
    except ConnectionError:
        return b""
    return await worker.stdout.readline()


async def _end(worker: Process) -> None:
    if worker.returncode is None:
        worker.kill()
    if worker.stdin is not None:
        worker.stdin.close()
    await worker.wait()
