"""OpenAI's chat API as a client sees it: what is sent, the events that come back, and what a refusal says."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterable, Sequence
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any

from pydantic import BaseModel, ValidationError

from serving.endpoint import EndpointError
from serving.types import EngineError, GenerationRequest, Message, RequestRefusedError

MAX_SHOWN = 300
"""Characters kept of what a server says of an error."""
RETRIED = (408, 409, 425, 429)
"""Statuses below 500 that may pass; every one from 500 on may."""
NO_QUOTA = "insufficient_quota"
"""OpenAI's 429 for an account without money, which no waiting changes."""


class Delta(BaseModel):
    """What an event adds."""

    content: str | None = None


class Choice(BaseModel):
    """The one answer."""

    delta: Delta = Delta()
    finish_reason: str | None = None


class PromptDetails(BaseModel):
    """Where the prompt's tokens came from."""

    cached_tokens: int | None = None


class Usage(BaseModel):
    """Token counts of the whole request."""

    prompt_tokens: int
    completion_tokens: int
    prompt_tokens_details: PromptDetails | None = None


class ApiFailure(BaseModel):
    """An error as OpenAI and vLLM describe it."""

    message: str = "no reason given"
    code: int | str | None = None


class Event(BaseModel):
    """One server-sent event of a streamed chat."""

    choices: list[Choice] = []
    usage: Usage | None = None
    error: ApiFailure | None = None


def chat_body(request: GenerationRequest, messages: Sequence[Message], model: str, *, is_vllm: bool) -> dict[str, Any]:
    """A request in OpenAI's words. `messages` are its own, made harmless for the model's template."""
    body: dict[str, Any] = {
        "model": model,
        "messages": [{"role": message.role, "content": message.content} for message in messages],
        "max_tokens": request.max_tokens,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if request.seed is not None:
        body["seed"] = request.seed
    if request.stop:
        body["stop"] = list(request.stop)
    if request.choices:
        body |= _choice_fields(request.choices, is_vllm=is_vllm)
    return body


def _choice_fields(choices: Sequence[str], *, is_vllm: bool) -> dict[str, Any]:
    if is_vllm:
        return {"structured_outputs": {"choice": list(choices)}}
    # A schema's root must be an object, so the choice comes wrapped.
    schema = {
        "type": "object",
        "properties": {"choice": {"type": "string", "enum": list(choices)}},
        "required": ["choice"],
        "additionalProperties": False,
    }
    return {
        "response_format": {"type": "json_schema", "json_schema": {"name": "choice", "strict": True, "schema": schema}}
    }


def chosen(request: GenerationRequest, text: str, *, is_vllm: bool) -> str:
    """The answer's text, which is one of the request's choices where it has any.

    Raises:
        EngineError: it is none of them: the answer was cut, or the server passes over structured output.
    """
    if not request.choices:
        return text
    choice: Any = text
    if not is_vllm:
        try:
            choice = json.loads(text)["choice"]
        except (ValueError, TypeError, KeyError):
            choice = None
    if choice not in request.choices:
        raise EngineError(
            f"the answer {text[:MAX_SHOWN]!r} is none of the choices {request.choices}: "
            f"max_tokens={request.max_tokens} is too few for them, or the endpoint does not know structured output"
        )
    assert isinstance(choice, str)
    return choice


async def events(lines: AsyncIterable[bytes], who: str) -> AsyncGenerator[Event, None]:
    """The events of a streamed chat up to its `[DONE]`. An event is one `data:` line, as everyone sends it.

    Raises:
        EndpointError: an event is not a chat's, or the stream ends before `[DONE]`.
        EngineError: an event tells of an error; as `failure`.
    """
    async for line in lines:
        if not line.startswith(b"data:"):
            continue
        data = line[len(b"data:") :].strip()
        if data == b"[DONE]":
            return
        try:
            event = Event.model_validate_json(data)
        except ValidationError as error:
            raise EndpointError(f"{who} sent an event that is not a chat's: {data[:MAX_SHOWN]!r}") from error
        if event.error is not None:
            code = event.error.code
            raise failure(who, code if isinstance(code, int) and code >= 400 else 500, event.error, None)
        yield event
    raise EndpointError(f"{who} ended its answer unfinished")


def failure(who: str, status: int, said: ApiFailure, retry_after_s: float | None) -> EngineError:
    """The error of an HTTP status: `EndpointError` where it may pass."""
    if status in (401, 403):
        # What servers say here may hold parts of the key.
        return RequestRefusedError(f"{who} answered {status}: the key is missing or wrong, or may not do this")
    message = f"{who} answered {status}: {said.message[:MAX_SHOWN]}"
    if said.code != NO_QUOTA and (status in RETRIED or status >= 500):
        return EndpointError(message, retry_after_s)
    return RequestRefusedError(message)


def read_failure(body: bytes) -> ApiFailure:
    """What an error's body says: OpenAI's form, or its beginning as it is."""
    try:
        error = Event.model_validate_json(body).error
    except ValidationError:
        error = None
    return error or ApiFailure(message=" ".join(body.decode(errors="replace").split()) or "no reason given")


def retry_after_s(header: str | None, date: str | None) -> float | None:
    """Seconds that `Retry-After` asks for, a number or an HTTP date (RFC 9110); None where it says neither.

    Args:
        header: its value.
        date: the response's `Date`, so that a date is read by the server's clock; ours when absent.
    """
    if header is None:
        return None
    if header.strip().isdigit():
        return float(header)
    try:
        sent = datetime.now(timezone.utc) if date is None else parsedate_to_datetime(date)
        return max((parsedate_to_datetime(header) - sent).total_seconds(), 0.0)
    except (ValueError, TypeError):  # no date, or one of the two without a zone
        return None
