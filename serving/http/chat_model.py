"""What the server serves: any object that answers chats by a stream of events."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from serving.http.schema import ChatRequest

FinishReason = Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class ChatQuery:
    """One chat request on its way; times are `time.monotonic()` seconds."""

    request: ChatRequest
    request_id: str
    """As in `X-Request-Id`. A client may send the same one twice."""
    arrived: float
    """Its headers had been read."""
    admitted: float
    """It left the queue."""

    @property
    def is_streamed(self) -> bool:
        """Whether pieces are wanted as they come."""
        return bool(self.request.stream)


@dataclass(frozen=True, slots=True)
class Text:
    """More of one answer; only where the query is streamed."""

    text: str
    index: int = 0


@dataclass(frozen=True, slots=True)
class Note:
    """Fields that go beside the choices, which OpenAI clients ignore; only where the query is streamed."""

    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Choice:
    """One whole answer."""

    text: str
    finish_reason: FinishReason


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of everything that was done for the query."""

    num_prompt_tokens: int
    num_output_tokens: int
    num_cached_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Answered:
    """The last event."""

    choices: tuple[Choice, ...]
    usage: Usage
    fields: Mapping[str, Any] = field(default_factory=dict)
    """Go beside the choices, in a stream into the chunk with the finish reason."""
    log: Mapping[str, Any] = field(default_factory=dict)
    """Go into the query's log line."""


Event = Text | Note | Answered


class ChatModel(Protocol):
    """Answers chats."""

    def check(self, request: ChatRequest) -> None:
        """Refuse what cannot be answered, before the query takes anybody's place.

        Raises:
            ApiError: what is wrong with it.
        """
        ...

    def answer(self, query: ChatQuery) -> AsyncGenerator[Event, None]:
        """Answer; the last event is `Answered`. Closing the generator, or cancelling who waits for it, stops all of its
        work in the engine. After the last event it is closed when the response has been handed over.

        Raises:
            EngineError: as the engine does.
            ApiError: there is no answer.
        """
        ...


class Backend(Protocol):
    """An engine with the models on it; one of them at a time."""

    @property
    def models(self) -> Mapping[str, ChatModel]:
        """By the name that requests give."""
        ...

    @property
    def is_dead(self) -> bool:
        """Whether no further request can succeed."""
        ...

    @property
    def num_unfinished(self) -> int:
        """Requests that the engine itself has not finished."""
        ...

    async def close(self) -> None:
        """End it and every process it owns."""
        ...
