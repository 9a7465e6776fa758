"""The base model: chats straight to the engine, with OpenAI's sampling fields."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing

from serving.http.chat_model import Answered, ChatQuery, Choice, Event, Text, Usage
from serving.http.errors import invalid
from serving.http.schema import MAX_STOPS, ChatRequest
from serving.types import Completion, EngineError, GenerationRequest, StreamingEngine


class BaseModel:
    """`ChatModel` over an engine."""

    def __init__(self, engine: StreamingEngine) -> None:
        """Serve `engine`; whoever made it closes it."""
        self._engine = engine

    def check(self, request: ChatRequest) -> None:
        """The conversation must leave room for an answer.

        Raises:
            ApiError: it does not, the chat template refuses it, or there are too many stops.
        """
        if len(request.stops) > MAX_STOPS:
            raise invalid(f"stop: {len(request.stops)} texts given, at most {MAX_STOPS} are allowed", "stop")
        num_prompt_tokens = self._count(request)
        room = self._engine.max_model_len - num_prompt_tokens
        wanted = _max_tokens(request) or 1
        if room < wanted:
            raise invalid(
                f"messages: {num_prompt_tokens} tokens and {wanted} for the answer are more than the model's "
                f"{self._engine.max_model_len}; shorten the messages or lower max_tokens",
                "messages",
                "context_length_exceeded",
            )

    async def answer(self, query: ChatQuery) -> AsyncGenerator[Event, None]:
        """All choices at once, or piece by piece as they are made."""
        request = query.request
        requests = [self._request(query, index) for index in range(request.n or 1)]
        completions: list[Completion] = []
        if not query.is_streamed:
            completions = await _together(self._engine, requests)
        elif len(requests) == 1:  # without a queue between the engine and the client
            async with aclosing(self._engine.stream(requests[0])) as pieces:
                async for piece in pieces:
                    if isinstance(piece, Completion):
                        completions.append(piece)
                    else:
                        yield Text(piece)
        else:
            async with aclosing(_merged(self._engine, requests)) as merged:
                async for index, piece in merged:
                    if isinstance(piece, str):
                        yield Text(piece, index)
                    else:
                        completions.append(piece)
        yield Answered(
            tuple(Choice(completion.text, completion.finish_reason) for completion in completions),
            Usage(
                completions[0].num_prompt_tokens,  # OpenAI counts the prompt once
                sum(completion.num_output_tokens for completion in completions),
                completions[0].num_cached_tokens,
            ),
        )

    def _request(self, query: ChatQuery, index: int) -> GenerationRequest:
        request = query.request
        room = self._engine.max_model_len - self._count(request)
        seed = None if request.seed is None else (request.seed + index) % 2**63
        return GenerationRequest(
            request_id=f"{query.request_id}/{index}/{uuid.uuid4().hex}",
            messages=tuple(message.message() for message in request.messages),
            max_tokens=_max_tokens(request) or room,
            temperature=1.0 if request.temperature is None else request.temperature,
            top_p=1.0 if request.top_p is None else request.top_p,
            seed=seed,
            stop=request.stops,
        )

    def _count(self, request: ChatRequest) -> int:
        try:
            return self._engine.count_chat_tokens([message.message() for message in request.messages])
        except EngineError as error:
            raise invalid(str(error), "messages") from error


def _max_tokens(request: ChatRequest) -> int | None:
    return request.max_completion_tokens or request.max_tokens


async def _together(engine: StreamingEngine, requests: list[GenerationRequest]) -> list[Completion]:
    """One fails, all end: nothing is left running."""
    tasks = [asyncio.ensure_future(engine.generate(request)) for request in requests]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _merged(
    engine: StreamingEngine, requests: list[GenerationRequest]
) -> AsyncGenerator[tuple[int, str | Completion], None]:
    """The pieces of several requests as they come; the completions last, in order."""
    queue: asyncio.Queue[tuple[int, str] | None] = asyncio.Queue(maxsize=2 * len(requests))

    async def read(index: int, request: GenerationRequest) -> Completion:
        try:
            async with aclosing(engine.stream(request)) as pieces:
                async for piece in pieces:
                    if isinstance(piece, Completion):
                        return piece
                    await queue.put((index, piece))
            raise EngineError("the engine's stream ended without a completion")
        finally:
            await queue.put(None)

    tasks = [asyncio.ensure_future(read(index, request)) for index, request in enumerate(requests)]
    try:
        num_open = len(tasks)
        while num_open:
            item = await queue.get()
            if item is None:
                num_open -= 1
            else:
                yield item
        for index, task in enumerate(tasks):
            yield index, await task
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
