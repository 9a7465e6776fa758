"""What an engine is asked and what it answers: requests, completions, raw stamps, the `Engine` protocol."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a chat."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One sample of one prompt.

    Several samples of a prompt are several requests: with n > 1 vLLM's stamps describe only the sample
    that finished last.
    """

    request_id: str
    messages: tuple[Message, ...]
    max_tokens: int
    temperature: float
    top_p: float = 1.0
    seed: int | None = None
    choices: tuple[str, ...] | None = None
    """Structured output: the text is exactly one of these."""
    stop: tuple[str, ...] = ()
    """Generation ends before the first of these; they are not part of the text."""


@dataclass(frozen=True, slots=True)
class RequestTiming:
    """Raw event times of one request, in seconds of the loop's clock (`serving.clock`), which is `time.monotonic()`
    unless it is simulated; each is at most the next."""

    submitted: float
    """The caller handed the request over, before any admission wait."""
    queued: float
    """The engine core noticed it. A request that arrives while the engine is in a step is noticed only when
    that step ends, so `scheduled - queued` is not its waiting time; `scheduled - submitted` is."""
    scheduled: float
    """The scheduler first gave it a place in a step."""
    first_token: float
    """The step that made its first output token ended."""
    last_token: float
    """The step that made its last output token ended."""
    returned: float
    """The caller's coroutine had the completion: includes detokenising and the event loop's own delay."""


@dataclass(frozen=True, slots=True)
class Completion:
    """One finished request: its text, its token counts, its stamps."""

    text: str
    num_prompt_tokens: int
    num_cached_tokens: int
    """Prompt tokens whose keys and values came from the prefix cache."""
    num_output_tokens: int
    finish_reason: Literal["stop", "length"]
    timing: RequestTiming


class EngineError(Exception):
    """A request could not be completed; the message says why, for a person."""


class RequestTimeoutError(EngineError):
    """The request passed its deadline and was aborted in the engine."""


class EngineDeadError(EngineError):
    """The engine stopped working: no further request will be answered."""


class EngineStartError(ValueError):
    """The engine cannot start with what the user asked for; the message names the value and the fix."""


class Tokenizer(Protocol):
    """Counts and cuts text in the model's own tokens."""

    def count(self, text: str) -> int:
        """Number of tokens of `text`, without special tokens."""
        ...

    def keep_start(self, text: str, num_tokens: int) -> str:
        """The longest beginning of `text` of at most `num_tokens` tokens."""
        ...

    def keep_end(self, text: str, num_tokens: int) -> str:
        """The longest end of `text` of at most `num_tokens` tokens."""
        ...


class Engine(Protocol):
    """Anything that completes chats and stamps what it did."""

    @property
    def max_model_len(self) -> int:
        """Longest prompt plus output, in tokens."""
        ...

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's own."""
        ...

    def count_chat_tokens(self, messages: Sequence[Message]) -> int:
        """Number of prompt tokens the model sees for `messages`, chat template included."""
        ...

    async def generate(self, request: GenerationRequest) -> Completion:
        """Complete one request. Cancelling the awaiting task stops its work in the engine.

        Raises:
            EngineError: the request failed; `EngineDeadError` when no further request can succeed.
        """
        ...

    async def close(self) -> None:
        """End the engine and every process it owns."""
        ...
