"""What may enter an engine, and when: a rate limit, a bound on requests in flight, a deadline."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import replace

from asyncio_throttle import Throttler

from serving.clock import now
from serving.types import Completion, Engine, GenerationRequest, Message, RequestTimeoutError, Tokenizer


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
        self._throttler = _throttler(requests_per_s) if requests_per_s is not None else None
        # The throttler lets whoever polls first pass; one at a time may poll.
        self._at_the_door = asyncio.Lock()
        self._deadline_s = deadline_s

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
        submitted = now()
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

    async def _admit(self, request: GenerationRequest) -> Completion:
        async with self._slots:
            if self._throttler is not None:
                async with self._at_the_door:
                    await self._throttler.acquire()
            return await self._engine.generate(request)


class _LoopThrottler(Throttler):  # type: ignore[misc]  # the library has no types
    """Counts in seconds of the running loop; the library reads `time.monotonic`, which stands still in a simulation."""

    def flush(self) -> None:
        """Forget what passed more than a period ago."""
        while self._task_logs and now() - self._task_logs[0] > self.period:
            self._task_logs.popleft()

    async def acquire(self) -> None:
        """Wait until one more may pass."""
        await super().acquire()
        self._task_logs[-1] = now()


def _throttler(requests_per_s: float) -> Throttler:
    """A throttler of that very rate: it counts whole requests, so a fractional rate stretches the period."""
    burst = max(1, math.floor(requests_per_s))
    period_s = burst / requests_per_s
    return _LoopThrottler(rate_limit=burst, period=period_s, retry_interval=min(0.01, period_s / 10))
