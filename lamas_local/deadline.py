"""When a query's answer is to be ready, and what becomes of the work that runs then.

Before the deadline nothing changes. At the deadline, if any operator has added a solution, operators that run are
stopped, later ones are not begun, and the vote takes what there is. If none has, every request gives the text it has
so far (the first text it gets, where there is none) as if it had been cut by `max_tokens`, and the first operators
that make a solution of it end the wait for the others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from lamas_local.operators.base import Update
from lamas_local.trace import OperatorSpan
from serving.types import Completion, Engine, EngineError, GenerationRequest, StreamingEngine

GRACE_S = 0.01
"""Operators that give what they have do so within a few turns of the event loop; then all of them vote."""


@dataclass(frozen=True, slots=True)
class Beginning:
    """The text that a request had when it was stopped; not empty."""

    text: str


class Deadline:
    """One rollout's; made in the event loop that runs it."""

    def __init__(self, at: float) -> None:
        """Ring at `at`, `time.monotonic()` seconds, which is the loop's clock."""
        self.at = at
        self._has_solution = False
        self._is_late = asyncio.Event()
        self._is_over = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_at(at, self._ring)

    @property
    def is_over(self) -> bool:
        """Whether the time is up and there is a solution."""
        return self._is_over.is_set()

    def cancel(self) -> None:
        """The rollout has ended: do not ring."""
        self._timer.cancel()

    async def run(
        self, operator: Coroutine[Any, Any, tuple[OperatorSpan, Update]]
    ) -> tuple[OperatorSpan, Update] | None:
        """What an operator's run comes to; None where it was stopped."""
        running, over = asyncio.ensure_future(operator), asyncio.ensure_future(self._is_over.wait())
        await _first_of(running, over)
        if running.cancelled():
            return None
        span, update = running.result()
        if update.added:
            self._has_solution = True
            if self._is_late.is_set():
                self._loop.call_later(GRACE_S, self._is_over.set)
        return span, update

    async def ask(self, engine: Engine, request: GenerationRequest) -> Completion | Beginning:
        """Complete a request, or as much of it as there is when an answer is overdue.

        Raises:
            EngineError: as the engine's `generate`.
        """
        if request.choices or not isinstance(engine, StreamingEngine):
            return await engine.generate(request)
        pieces: list[str] = []
        has_text = asyncio.Event()

        async def read() -> Completion:
            async with aclosing(engine.stream(request)) as stream:
                async for piece in stream:
                    if isinstance(piece, Completion):
                        return piece
                    pieces.append(piece)
                    if piece.strip():
                        has_text.set()
            raise EngineError("the engine's stream ended without a completion")

        async def overdue() -> None:
            await self._is_late.wait()
            await has_text.wait()

        reading = asyncio.ensure_future(read())
        await _first_of(reading, asyncio.ensure_future(overdue()))
        return Beginning("".join(pieces)) if reading.cancelled() else reading.result()

    def _ring(self) -> None:
        self._is_late.set()
        if self._has_solution:
            self._is_over.set()


async def _first_of(work: asyncio.Future[object] | asyncio.Task[object], signal: asyncio.Task[object]) -> None:
    """Wait for either; work that has not ended then is cancelled and waited for."""
    try:
        await asyncio.wait({work, signal}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        signal.cancel()
        if not work.done():
            work.cancel()
        await asyncio.wait({work, signal})
