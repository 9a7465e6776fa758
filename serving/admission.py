"""What may enter an engine, and when: a rate limit, a bound on requests in flight, a deadline."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace

from asyncio_throttle import Throttler

from serving.types import (
    Completion,
    Engine,
    GenerationRequest,
    Message,
    RequestTimeoutError,
    StreamingEngine,
    Tokenizer,
)


class AdmittedEngine:
    """An engine behind a door. Requests pass it in order of arrival."""

    def __init__(
        self,
        engine: Engine,
        *,
        requests_per_s: float | None = None,
        max_in_flight: int = 256,
        deadline_s: float = 600.0,
    ) -> None:
        """Guard `engine`.

        Args:
            engine: what completes the requests; closing this closes it.
            requests_per_s: most new requests per second, in bursts of at most one second's worth; no limit when absent.
            max_in_flight: most requests in the engine at once; more wait.
            deadline_s: longest time of a request in seconds, admission wait included.
        """
        self._engine = engine
        self._slots = asyncio.Semaphore(max_in_flight)
        self._throttler = new_throttler(requests_per_s) if requests_per_s is not None else None
        # The throttler lets whoever polls first pass; one at a time may poll.
        self._at_the_door = asyncio.Lock()
        self._deadline_s = deadline_s
        self._num_in_flight = 0

    @property
    def max_model_len(self) -> int:
        """Longest prompt plus output, in tokens."""
        return self._engine.max_model_len

    @property
    def tokenizer(self) -> Tokenizer:
        """The engine's own tokenizer."""
        return self._engine.tokenizer

    def count_chat_tokens(self, messages: Sequence[Message]) -> int:
        """Number of prompt tokens the model sees for `messages`, chat template included."""
        return self._engine.count_chat_tokens(messages)

    async def generate(self, request: GenerationRequest) -> Completion:
        """Complete one request; `timing.submitted` is the moment of this call, before any wait.

        Raises:
            RequestTimeoutError: the deadline passed; the request was aborted in the engine.
            EngineError: as the engine's own `generate`.
        """
        submitted = time.monotonic()
        # Not asyncio.wait_for: before Python 3.12 it can swallow a cancellation that comes as the work ends.
        work = asyncio.ensure_future(self._admit(request))
        try:
            await asyncio.wait({work}, timeout=self._deadline_s)
        finally:
            if not work.done():
                work.cancel()
                # Wait for the abort, so that the slot is free and the engine told before the caller goes on.
                await asyncio.wait({work})
        if work.cancelled():
            raise RequestTimeoutError(
                f"request {request.request_id} passed its deadline of {self._deadline_s:g} s and was aborted"
            )
        completion = work.result()
        return replace(completion, timing=replace(completion.timing, submitted=submitted))

    async def close(self) -> None:
        """End the engine and every process it owns."""
        await self._engine.close()

    @property
    def num_in_flight(self) -> int:
        """Requests inside, those that still wait at the door included."""
        return self._num_in_flight

    @property
    def is_dead(self) -> bool:
        """Whether the engine says that no further request can succeed."""
        return isinstance(self._engine, StreamingEngine) and self._engine.is_dead

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[str | Completion, None]:
        """The pieces of one request, then its completion. How long it may take is the caller's to say.

        An engine that cannot stream gives the text in one piece.

        Raises:
            EngineError: as the engine's own `stream`.
        """
        submitted = time.monotonic()
        if not isinstance(self._engine, StreamingEngine):
            completion = await self.generate(request)
            yield completion.text
            yield completion
            return
        async with self._inside(), aclosing(self._engine.stream(request)) as pieces:
            async for piece in pieces:
                if isinstance(piece, str):
                    yield piece
                else:
                    yield replace(piece, timing=replace(piece.timing, submitted=submitted))

    async def _admit(self, request: GenerationRequest) -> Completion:
        async with self._inside():
            return await self._engine.generate(request)

    @asynccontextmanager
    async def _inside(self) -> AsyncIterator[None]:
        """Wait for a place and for the rate; leave again."""
        self._num_in_flight += 1
        try:
            async with self._slots:
                if self._throttler is not None:
                    async with self._at_the_door:
                        await self._throttler.acquire()
                yield
        finally:
            self._num_in_flight -= 1


def new_throttler(requests_per_s: float) -> Throttler:
    """A throttler of that very rate: it counts whole requests, so a fractional rate stretches the period."""
    burst = max(1, math.floor(requests_per_s))
    period_s = burst / requests_per_s
    return Throttler(rate_limit=burst, period=period_s, retry_interval=min(0.01, period_s / 10))
