"""What an engine is asked and what it answers: requests, completions, raw stamps, the `Engine` protocol."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

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
    is_client_side: bool = field(default=False, kw_only=True)
    """The engine is elsewhere and tells no times: all six are the caller's own. `queued` and `scheduled` are when the
    request was sent (what failed and was tried again lies before), `first_token` and `last_token` when the first and
    the last text arrived. How much of `first_token - scheduled` was the way there, waiting or prefill is not known."""
    is_shifted: bool = field(default=False, kw_only=True)
    """The engine's four stamps are of another machine's clock, moved as a whole into the middle of the caller's two:
    the times between them are right, those to `submitted` and from there to `returned` are halves of what is left."""

    @property
    def stamps(self) -> tuple[float, float, float, float, float, float]:
        """The six times, in their order."""
        return self.submitted, self.queued, self.scheduled, self.first_token, self.last_token, self.returned


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
    replica: str | None = None
    """Which of several engines made it; None where there is one."""
    num_retries: int = 0
    """How often it was begun again because a replica was lost with it; `timing` is the last attempt's, but for
    `submitted`."""


class EngineError(Exception):
    """A request could not be completed; the message says why, for a person."""


class RequestTimeoutError(EngineError):
    """The request passed its deadline and was aborted in the engine."""


class RequestRefusedError(EngineError):
    """The engine does not take the request: it is too long, or a parameter cannot be."""


class EngineDeadError(EngineError):
    """The engine stopped working: no further request will be answered."""


class ReplicaLostError(EngineError):
    """One of several engines is gone with the request, which another may complete."""


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

    def count_chat(self, messages: Sequence[Message]) -> int:
        """Number of prompt tokens of a chat, its template's included."""
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


@runtime_checkable
class StreamingEngine(Engine, Protocol):
    """An engine that can also give its text while it makes it, and say that it has died."""

    @property
    def is_dead(self) -> bool:
        """Whether no further request can succeed."""
        ...

    @property
    def num_unfinished(self) -> int:
        """Requests that the engine itself has not finished."""
        ...

    def stream(self, request: GenerationRequest) -> AsyncGenerator[str | Completion, None]:
        """The text in pieces as it is made, then the completion, which holds all of it.

        Closing the generator, or cancelling the task that waits for it, stops the request's work in the engine.

        Raises:
            EngineError: as `generate`, when it is iterated.
        """
        ...
