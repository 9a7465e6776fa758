"""Keeps an engine running: starts it, notices its death, starts it again, and says which of these it is at."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Literal

from serving.http.chat_model import Backend
from serving.http.errors import unavailable
from serving.http.metrics import QueryMetrics
from serving.http.query_log import QueryLog

State = Literal["starting", "ready", "restarting", "draining"]
LOOK_EVERY_S = 1.0
"""How often an engine that nobody asks is looked at."""
FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 60.0
"""Between attempts to start an engine again: doubled each time."""


class Supervisor:
    """Owner of the one backend."""

    def __init__(self, open_backend: Callable[[], Awaitable[Backend]], metrics: QueryMetrics, log: QueryLog) -> None:
        """Start nothing yet; `run` does."""
        self._open = open_backend
        self._metrics, self._log = metrics, log
        self._backend: Backend | None = None
        self._died = asyncio.Event()
        self._state: State = "starting"

    @property
    def state(self) -> State:
        """What `/ready` tells."""
        return self._state

    def check_open(self) -> None:
        """Whether new queries are taken.

        Raises:
            ApiError: there is no engine now, or the server ends (503).
        """
        if self._state == "draining":
            raise unavailable("the server is shutting down", "draining")
        _ = self.backend

    @property
    def backend(self) -> Backend:
        """What answers; also while draining, for queries that were accepted before.

        Raises:
            ApiError: there is no engine now (503).
        """
        if self._backend is None:
            raise unavailable(f"the engine is {self._state}; try again", f"engine_{self._state}")
        return self._backend

    def drain(self) -> None:
        """Refuse new queries; those under way go on."""
        self._state = "draining"

    def report_death(self) -> None:
        """A query met a dead engine: do not wait for the next look."""
        self._died.set()

    async def run(self) -> None:
        """Keep an engine running until cancelled, and close it then.

        Raises:
            Exception: what the first start failed with; what a later one fails with is logged and tried again.
        """
        backend = await self._open()
        try:
            while True:
                self._set_ready(backend)
                await self._death(backend)
                self._set_down()
                # Kept until closed: a cancellation meanwhile must close it once more, which is harmless.
                await backend.close()
                backend = await self._reopen()
        finally:
            self._backend = None
            await backend.close()

    def _set_ready(self, backend: Backend) -> None:
        self._backend = backend
        self._died.clear()
        self._metrics.is_ready.set(1)
        if self._state != "draining":
            self._state = "ready"
        self._log.write("ready", {"models": list(backend.models)})

    def _set_down(self) -> None:
        self._backend = None
        self._metrics.is_ready.set(0)
        if self._state != "draining":
            self._state = "restarting"
        self._log.write("engine_died", {})

    async def _death(self, backend: Backend) -> None:
        while not backend.is_dead:
            try:
                await asyncio.wait_for(self._died.wait(), LOOK_EVERY_S)
            except (asyncio.TimeoutError, TimeoutError):
                continue
            return

    async def _reopen(self) -> Backend:
        wait_s = FIRST_WAIT_S
        while True:
            await asyncio.sleep(wait_s)
            try:
                backend = await self._open()
            except Exception as error:  # whatever it is, the only way on is to try again
                self._log.write("engine_start_failed", {"error": str(error), "next_try_s": wait_s})
                wait_s = min(2 * wait_s, LONGEST_WAIT_S)
            else:
                self._metrics.engine_restarts.inc()
                return backend
