"""Which queries may enter: a bound on those in flight, a bound on those that wait, a rate."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from serving.admission import new_throttler
from serving.http.errors import ApiError

MEMORY = 0.9
"""Share that the mean of a query's seconds keeps of itself with each query."""


class Door:
    """Queries pass it in order of arrival; a query is one place, however many requests it makes of the engine."""

    def __init__(self, max_in_flight: int, max_queued: int, queries_per_s: float | None) -> None:
        """Set the bounds.

        Args:
            max_in_flight: most queries being answered at once.
            max_queued: most queries that wait; the next one is refused.
            queries_per_s: most that enter in a second, in bursts of one second's worth; no limit when absent.
        """
        self.max_in_flight, self.max_queued = max_in_flight, max_queued
        self.queries_per_s = queries_per_s
        self.num_in_flight = self.num_queued = 0
        self._slots = asyncio.Semaphore(max_in_flight)
        self._throttler = new_throttler(queries_per_s) if queries_per_s is not None else None
        self._next = asyncio.Lock()
        self._mean_s = 1.0

    @asynccontextmanager
    async def entered(self) -> AsyncIterator[float]:
        """Wait for a place, hold it, give it back; yields the moment of entry.

        Raises:
            ApiError: too many wait already (429); `Retry-After` says when a place in the queue should be free.
        """
        must_wait = self._slots.locked() or self.num_queued > 0
        if must_wait and self.num_queued >= self.max_queued:
            raise self._full()
        self.num_queued += 1
        try:
            await self._slots.acquire()
            try:
                if self._throttler is not None:
                    async with self._next:
                        await self._throttler.acquire()
            except BaseException:
                self._slots.release()
                raise
        finally:
            self.num_queued -= 1
        self.num_in_flight += 1
        entered = time.monotonic()
        try:
            yield entered
        finally:
            self.num_in_flight -= 1
            self._slots.release()
            self._mean_s = MEMORY * self._mean_s + (1 - MEMORY) * (time.monotonic() - entered)

    def _full(self) -> ApiError:
        per_s = self.max_in_flight / max(self._mean_s, 1e-3)
        if self.queries_per_s is not None:
            per_s = min(per_s, self.queries_per_s)
        retry_after_s = min(max(math.ceil(self.max_queued / per_s), 1), 60)
        return ApiError(
            429,
            f"{self.num_in_flight} queries run and {self.num_queued} wait; try again later",
            type="rate_limit_error",
            code="rate_limit_exceeded",
            headers={"Retry-After": str(retry_after_s)},
        )
