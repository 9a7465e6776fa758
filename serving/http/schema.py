"""What a chat request may hold. Fields that are not here are ignored, as OpenAI does; wrong types are refused."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from serving.types import Message, Role

MAX_STOPS = 4
MAX_CHOICES = 8


class Schema(BaseModel):
    """Strict about types, silent about what it does not know."""

    model_config = ConfigDict(strict=True, extra="ignore", use_attribute_docstrings=True, allow_inf_nan=False)


class TextPart(Schema):
    """A piece of a message; only text is served."""

    type: Literal["text"]
    text: str


class ChatMessage(Schema):
    """One turn."""

    role: Literal["system", "developer", "user", "assistant"]
    """`developer` is taken as `system`."""
    content: str | list[TextPart] | None = None
    """Text, or parts of it, which are joined."""

    def message(self) -> Message:
        """As the engine takes it."""
        role: Role = "system" if self.role == "developer" else self.role
        parts = self.content or ""
        return Message(role, parts if isinstance(parts, str) else "".join(part.text for part in parts))


class StreamOptions(Schema):
    """How a streamed answer looks."""

    include_usage: bool | None = None
    """Whether a last chunk tells the tokens."""


class ChatRequest(Schema):
    """The body of `POST /v1/chat/completions`."""

    model: str
    """`lamas`, or the base model's name."""
    messages: list[ChatMessage] = Field(min_length=1)
    """The conversation, oldest turn first."""
    stream: bool | None = None
    """Whether the answer comes as server-sent events."""
    stream_options: StreamOptions | None = None
    """Only with `stream`."""
    n: Annotated[int, Field(ge=1, le=MAX_CHOICES)] | None = None
    """Number of answers; base model only."""
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    """Longest answer in tokens; base model only. What the context leaves, when absent."""
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    """OpenAI's newer name of `max_tokens`; wins over it."""
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    """1 when absent; base model only: the orchestrator samples as it was trained."""
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    """Nucleus sampling mass; base model only."""
    stop: Annotated[str, Field(min_length=1)] | list[Annotated[str, Field(min_length=1)]] | None = None
    """Up to four texts before which generation ends; base model only."""
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    """Equal requests with equal seeds get equal answers, as far as the engine does."""

    @property
    def wants_usage(self) -> bool:
        """Whether a streamed answer ends with its tokens."""
        return bool(self.stream_options and self.stream_options.include_usage)

    @property
    def stops(self) -> tuple[str, ...]:
        """`stop` as a tuple."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())
