"""What a chat request may ask of the orchestrator besides OpenAI's fields."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from lamas_local.tasks.base import Query
from lamas_local.trace import ExecutionMode
from serving.http.errors import invalid
from serving.http.schema import ChatRequest
from serving.types import Engine, Message

CONTEXT_SHARE = 0.5
"""Most of a prompt that earlier turns may take."""


class LamasRequest(ChatRequest):
    """The body of `POST /v1/chat/completions`; the base model ignores the further fields."""

    latency_budget_s: Annotated[float, Field(gt=0, le=86_400)] | None = None
    """Seconds from the request's arrival in which the answer is to be ready."""
    execution_mode: ExecutionMode | None = None
    """How the architecture runs; as the run was configured when absent."""


def split_conversation(request: ChatRequest) -> tuple[str, tuple[Message, ...]]:
    """The query, which is the last turn, and the turns before it; system turns may stand anywhere.

    Raises:
        ApiError: the last turn is not the user's, or it is empty.
    """
    messages = [message.message() for message in request.messages]
    turns = [message for message in messages if message.role != "system"]
    if not turns or turns[-1].role != "user":
        raise invalid("messages: the last one must be the user's: it is the query", "messages")
    if not turns[-1].content.strip():
        raise invalid("messages: the query, which is the last user message, is empty", "messages")
    query = turns[-1]
    return query.content, tuple(message for message in messages if message is not query)


def recent_turns(context: tuple[Message, ...], engine: Engine, max_prompt_tokens: int) -> tuple[Message, ...]:
    """The system turns and the newest of the others that fit `CONTEXT_SHARE` of a prompt: the oldest are forgotten.

    System turns are counted first, the newest first.
    """
    room = int(CONTEXT_SHARE * max_prompt_tokens)
    kept: set[int] = set()
    by_weight = sorted(range(len(context)), key=lambda i: (context[i].role != "system", -i))
    is_full = False
    for i in by_weight:
        if is_full:
            break
        room -= engine.tokenizer.count(context[i].content)
        is_full = room < 0
        if not is_full:
            kept.add(i)
    return tuple(message for i, message in enumerate(context) if i in kept)


def check_length(query: Query, engine: Engine, max_prompt_tokens: int) -> None:
    """The query itself must fit half a prompt: it is never cut, and solutions must have room beside it.

    Raises:
        ApiError: it does not.
    """
    num_tokens, allowed = engine.tokenizer.count(query.problem), max_prompt_tokens // 2
    if num_tokens > allowed:
        raise invalid(
            f"messages: the query has {num_tokens} tokens, more than the {allowed} allowed here",
            "messages",
            "context_length_exceeded",
        )
