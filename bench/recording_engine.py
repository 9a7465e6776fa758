"""An engine that remembers what it was asked and what it answered."""

from __future__ import annotations

from collections.abc import Sequence

from bench.served import Served
from serving.types import Completion, Engine, GenerationRequest, Message, Tokenizer


class RecordingEngine:
    """Wraps an engine; adds two appends to a request. Requests that fail are not kept."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.requests: list[GenerationRequest] = []
        """In the order in which their answers came, as `completions`."""
        self.completions: list[Completion] = []

    @property
    def max_model_len(self) -> int:
        """The wrapped engine's."""
        return self._engine.max_model_len

    @property
    def tokenizer(self) -> Tokenizer:
        """The wrapped engine's."""
        return self._engine.tokenizer

    def count_chat_tokens(self, messages: Sequence[Message]) -> int:
        """As the wrapped engine counts."""
        return self._engine.count_chat_tokens(messages)

    async def generate(self, request: GenerationRequest) -> Completion:
        """Complete a request and remember both.

        Raises:
            EngineError: as the wrapped engine's `generate`.
        """
        completion = await self._engine.generate(request)
        self.requests.append(request)
        self.completions.append(completion)
        return completion

    async def close(self) -> None:
        """End the wrapped engine."""
        await self._engine.close()

    def served(self, seconds: float) -> Served:
        """Everything recorded, as one pass that took `seconds`."""
        return Served(
            seconds=seconds,
            num_requests=len(self.completions),
            num_prompt_tokens=sum(completion.num_prompt_tokens for completion in self.completions),
            num_cached_tokens=sum(completion.num_cached_tokens for completion in self.completions),
            num_output_tokens=sum(completion.num_output_tokens for completion in self.completions),
            running=tuple((c.timing.scheduled, c.timing.last_token) for c in self.completions),
        )
