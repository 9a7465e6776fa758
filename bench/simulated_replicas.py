"""Several simulated engines as one, each request on the least loaded: the plainest placement there is."""

from __future__ import annotations

from collections.abc import Sequence

from serving.character_tokenizer import CharacterTokenizer
from serving.simulated_engine import SimulatedEngine
from serving.types import Completion, GenerationRequest, Message


class Replicas:
    """An `Engine` over at least one of a kind."""

    def __init__(self, engines: Sequence[SimulatedEngine]) -> None:
        self._engines = engines
        self._num_in_flight = [0] * len(engines)

    @property
    def max_model_len(self) -> int:
        """Longest prompt plus output, in tokens."""
        return self._engines[0].max_model_len

    @property
    def tokenizer(self) -> CharacterTokenizer:
        """Counts characters."""
        return self._engines[0].tokenizer

    def count_chat_tokens(self, messages: Sequence[Message]) -> int:
        """Number of prompt tokens of `messages`, the template's included."""
        return self._engines[0].count_chat_tokens(messages)

    async def generate(self, request: GenerationRequest) -> Completion:
        """On the replica with the fewest requests in flight, the first of equals.

        Raises:
            EngineError: as that engine does.
        """
        place = self._num_in_flight.index(min(self._num_in_flight))
        self._num_in_flight[place] += 1
        try:
            return await self._engines[place].generate(request)
        finally:
            self._num_in_flight[place] -= 1

    async def close(self) -> None:
        """Close all of them."""
        for engine in self._engines:
            await engine.close()
