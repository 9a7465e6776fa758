"""What runs in a Ray worker: one engine, made there, and nothing of Ray's."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import NoReturn

from serving.clock import clock_id
from serving.replica import ReplicaFacts
from serving.types import Completion, Engine, EngineDeadError, GenerationRequest, ReplicaLostError, StreamingEngine

OpenEngine = Callable[[], Awaitable[Engine]]
"""Starts an engine in the process that calls it; pickled on the way there."""
ENGINE_DIED = 1
"""Exit status."""


class EngineActor:
    """An engine whose death is its process's: Ray then starts another one, with a new engine."""

    def __init__(self, open_engine: OpenEngine) -> None:
        """Start nothing yet: `start` does, after every restart again."""
        self._open_engine = open_engine
        self._engine: Engine | None = None
        self._one_start = asyncio.Lock()

    async def start(self) -> ReplicaFacts:
        """Start the engine where that has not been done in this process."""
        async with self._one_start:
            if self._engine is None:
                self._engine = await self._open_engine()
        return ReplicaFacts(self._engine.max_model_len, self._engine.tokenizer, clock_id())

    async def generate(self, request: GenerationRequest) -> Completion:
        """As the engine does, with this process's stamps."""
        try:
            return await self._started.generate(request)
        except EngineDeadError:
            _die()

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[str | Completion, None]:
        """As the engine does; one that cannot stream gives the text in one piece."""
        engine = self._started
        try:
            if not isinstance(engine, StreamingEngine):
                completion = await engine.generate(request)
                yield completion.text
                yield completion
                return
            async with aclosing(engine.stream(request)) as pieces:
                async for piece in pieces:
                    yield piece
        except EngineDeadError:
            _die()

    async def close(self) -> None:
        """End the engine."""
        if self._engine is not None:
            await self._engine.close()

    @property
    def _started(self) -> Engine:
        if self._engine is None:
            raise ReplicaLostError("its process was started again, and its engine not yet")
        return self._engine


def _die() -> NoReturn:
    """At once: what the engine leaves behind is its watchdog's to end."""
    os._exit(ENGINE_DIED)
