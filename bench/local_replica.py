"""A replica in this very process: for simulations in virtual time, which have no other processes."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from serving.clock import clock_id
from serving.replica import ReplicaFacts
from serving.types import Completion, Engine, GenerationRequest


class LocalReplica:
    """`serving.replica.Replica` around an engine; it is never lost."""

    def __init__(self, name: str, engine: Engine) -> None:
        self._name = name
        self._engine = engine

    @property
    def name(self) -> str:
        """As given."""
        return self._name

    async def start(self) -> ReplicaFacts:
        """It has started."""
        return ReplicaFacts(self._engine.max_model_len, self._engine.tokenizer, clock_id())

    async def generate(self, request: GenerationRequest) -> Completion:
        """As the engine does."""
        return await self._engine.generate(request)

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[str | Completion, None]:
        """In one piece."""
        completion = await self._engine.generate(request)
        yield completion.text
        yield completion

    async def close(self) -> None:
        """End the engine."""
        await self._engine.close()
