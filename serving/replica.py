"""One of several engines that answer alike, as its caller sees it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol

from serving.types import Completion, GenerationRequest, Tokenizer


@dataclass(frozen=True, slots=True)
class ReplicaFacts:
    """What a replica's engine says of itself once it has started."""

    max_model_len: int
    tokenizer: Tokenizer
    clock_id: str
    """Whose clock its stamps are of, see `serving.clock`."""


class Replica(Protocol):
    """An engine that may be lost, and that is brought back by `start`."""

    @property
    def name(self) -> str:
        """Names it on completions; the same after it was lost."""
        ...

    async def start(self) -> ReplicaFacts:
        """Return when it answers; at once where it does so already.

        Raises:
            EngineStartError: it cannot start with what was asked for.
            EngineError: it was lost meanwhile.
        """
        ...

    async def generate(self, request: GenerationRequest) -> Completion:
        """Complete one request, with stamps of the caller's clock. Cancelling the awaiting task stops its work.

        Raises:
            ReplicaLostError: the replica is gone.
            EngineError: the request failed.
        """
        ...

    def stream(self, request: GenerationRequest) -> AsyncGenerator[str | Completion, None]:
        """The text in pieces, then the completion; errors as `generate`. Closing it stops the work."""
        ...

    async def close(self) -> None:
        """End the engine."""
        ...
