"""One chat request from its body to its last byte, and what is remembered of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from serving.http.body import read_body
from serving.http.chat_model import Answered, ChatModel, ChatQuery, Event, Note, Text
from serving.http.chunks import DONE, Chunks, error_event
from serving.http.connected import ClientGoneError, StoppedError, TookTooLongError, while_connected
from serving.http.door import Door
from serving.http.errors import ApiError, of_engine, of_validation, unavailable
from serving.http.metrics import QueryMetrics
from serving.http.query_log import QueryLog
from serving.http.schema import ChatRequest
from serving.http.settings import ServerSettings
from serving.http.supervisor import Supervisor
from serving.types import EngineDeadError, EngineError

CLIENT_GONE = 499
"""nginx's number for it, in the log; nobody is there to get it."""
SMALL_BODY_BYTES = 16 * 2**10
"""A larger body is counted in a thread: a megabyte of text takes a tokenizer a second, and others are to be served."""
STREAM_HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",
}


@dataclass(slots=True)
class ChatService:
    """What every chat request shares."""

    settings: ServerSettings
    request_type: type[ChatRequest]
    door: Door
    supervisor: Supervisor
    metrics: QueryMetrics
    log: QueryLog
    running: set[asyncio.Future[Any]] = field(default_factory=set)
    """The work of all queries; those that wait at the door included."""

    async def handle(self, request: Request) -> Response:
        """Read and check; what is returned does the rest when it is called.

        Raises:
            ApiError: the request cannot be.
        """
        arrived = time.monotonic()
        self.supervisor.check_open()
        try:
            body = await read_body(request, self.settings.max_body_bytes, self.settings.body_timeout_s)
        except ClientGoneError:
            return Response(status_code=CLIENT_GONE)
        try:
            chat = self.request_type.model_validate_json(body)
        except ValidationError as error:
            raise of_validation(error) from error
        self.supervisor.check_open()  # a body may take its time
        model = self._model(chat.model)
        if len(body) <= SMALL_BODY_BYTES:
            model.check(chat)
        else:
            await asyncio.to_thread(model.check, chat)
        return ChatResponse(self, chat, request.state.request_id, arrived)

    def _model(self, name: str) -> ChatModel:
        models = self.supervisor.backend.models
        if name not in models:
            known = ", ".join(models)
            raise ApiError(
                404, f"model: {name!r} does not exist; known: {known}", param="model", code="model_not_found"
            )
        return models[name]


class ChatResponse(Response):
    """Answers when it is called: waits at the door, runs the query, writes what it gives."""

    def __init__(self, service: ChatService, request: ChatRequest, request_id: str, arrived: float) -> None:
        """Do nothing yet."""
        super().__init__()
        self._service, self._request, self._request_id = service, request, request_id
        self._arrived = arrived
        self._admitted: float | None = None
        self._first_text: float | None = None
        self._answered: Answered | None = None
        self._has_begun = False
        self._chunks = Chunks(
            request_id, request.model, int(time.time()), wants_usage=bool(request.stream and request.wants_usage)
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the query; whatever happens, it is counted and logged once."""
        service = self._service
        status, reason, error = 200, "error", None
        try:
            await while_connected(receive, self._run(send), service.settings.query_timeout_s, service.running)
            reason = self._answered.choices[0].finish_reason if self._answered else "error"
        except ClientGoneError:
            status, reason = CLIENT_GONE, "abort"
        except TookTooLongError:
            reason = "timeout"
            limit = f"the query took longer than {service.settings.query_timeout_s:g} s and was stopped"
            error = ApiError(504, limit, type="server_error", code="timeout")
        except StoppedError:
            reason, error = "unavailable", unavailable("the server is shutting down", "draining")
        except ApiError as raised:
            error = raised
            reason = {429: "rejected", 503: "unavailable"}.get(raised.status, "error")
        except EngineError as raised:
            error = of_engine(raised)
            reason = "unavailable" if error.status == 503 else "timeout" if error.status == 504 else "error"
            if isinstance(raised, EngineDeadError):
                service.supervisor.report_death()
        finally:
            status = error.status if error else status
            self._remember(status, reason, error)
        if error is not None:
            await self._send_error(error, scope, receive, send)

    async def _run(self, send: Send) -> None:
        service = self._service
        async with service.door.entered() as self._admitted:
            model = service.supervisor.backend.models[self._request.model]
            query = ChatQuery(self._request, self._request_id, self._arrived, self._admitted)
            async with aclosing(model.answer(query)) as events:
                if self._request.stream:
                    await self._stream(events, send)
                else:
                    await self._collect(events, send)

    async def _collect(self, events: AsyncGenerator[Event, None], send: Send) -> None:
        async for event in events:
            if isinstance(event, Answered):
                self._answered = event
                break
        assert self._answered is not None  # `ChatModel.answer` ends with it
        body = self._chunks.completion(self._answered)
        await self._begin(send, {"Content-Type": "application/json", "Content-Length": str(len(body))})
        await self._write(send, body, is_last=True)

    async def _stream(self, events: AsyncGenerator[Event, None], send: Send) -> None:
        num_choices = self._request.n or 1
        async for event in events:  # what fails before the first of them has a status of its own
            if not self._has_begun:
                await self._begin(send, STREAM_HEADERS)
                await self._write(send, b"".join(self._chunks.role(index) for index in range(num_choices)))
            if isinstance(event, Text):
                self._first_text = self._first_text or time.monotonic()
                await self._write(send, self._chunks.text(event.text, event.index))
            elif isinstance(event, Note):
                await self._write(send, self._chunks.note(event.fields))
            else:
                self._answered = event
                break
        assert self._answered is not None
        last = len(self._answered.choices) - 1
        ending = [
            self._chunks.finish(choice, index, self._answered.fields if index == last else {})
            for index, choice in enumerate(self._answered.choices)
        ]
        if self._chunks.wants_usage:
            ending.append(self._chunks.usage(self._answered.usage))
        await self._write(send, b"".join([*ending, DONE]), is_last=True)

    async def _begin(self, send: Send, headers: dict[str, str]) -> None:
        self._has_begun = True
        raw = [(name.lower().encode("ascii"), value.encode("ascii")) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": 200, "headers": raw})

    async def _write(self, send: Send, body: bytes, *, is_last: bool = False) -> None:
        """A client that does not read is like one that is gone."""
        writing = send({"type": "http.response.body", "body": body, "more_body": not is_last})
        try:
            await asyncio.wait_for(writing, self._service.settings.write_timeout_s)
        except (asyncio.TimeoutError, TimeoutError) as error:
            raise ClientGoneError from error

    async def _send_error(self, error: ApiError, scope: Scope, receive: Receive, send: Send) -> None:
        if self._has_begun:
            await send({"type": "http.response.body", "body": error_event(error.body()) + DONE, "more_body": False})
        else:
            response = Response(error.json(), error.status, error.headers, "application/json")
            await response(scope, receive, send)

    def _remember(self, status: int, reason: str, error: ApiError | None) -> None:
        ended, name, metrics = time.monotonic(), self._request.model, self._service.metrics
        if reason == "rejected":
            metrics.rejected.labels(name).inc()
        else:
            metrics.finished.labels(name, reason).inc()
        if self._admitted is not None:
            metrics.queue_s.labels(name).observe(self._admitted - self._arrived)
        facts: dict[str, Any] = {
            "request_id": self._request_id,
            "model": name,
            "status": status,
            "finish_reason": reason,
            "stream": bool(self._request.stream),
            "queue_s": None if self._admitted is None else round(self._admitted - self._arrived, 6),
            "e2e_s": round(ended - self._arrived, 6),
        }
        if (answered := self._answered) is not None:
            metrics.e2e_s.labels(name).observe(ended - self._arrived)
            metrics.first_token_s.labels(name).observe((self._first_text or ended) - self._arrived)
            metrics.prompt_tokens.labels(name).inc(answered.usage.num_prompt_tokens)
            metrics.output_tokens.labels(name).inc(answered.usage.num_output_tokens)
            facts["prompt_tokens"] = answered.usage.num_prompt_tokens
            facts["output_tokens"] = answered.usage.num_output_tokens
            facts |= answered.log
        if error is not None:
            facts["error"] = error.message
        if self._service.settings.log_content:
            facts["messages"] = [message.model_dump() for message in self._request.messages]
            facts["answers"] = [choice.text for choice in answered.choices] if answered else None
        self._service.log.write("query", facts)
