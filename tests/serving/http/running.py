"""A server on a real socket, in a thread of its own, over engines that answer as told."""

from __future__ import annotations

import asyncio
import io
import json
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any, TextIO

import httpx
from prometheus_client import CollectorRegistry

from serving.fake_engine import FakeEngine
from serving.http.app import guarded, new_app, new_service
from serving.http.base_model import BaseModel
from serving.http.chat import ChatService
from serving.http.chat_model import Backend, ChatModel
from serving.http.schema import ChatRequest
from serving.http.server import Server, listen, new_server, serve
from serving.http.settings import ServerSettings
from serving.types import Completion, EngineDeadError, GenerationRequest

QUESTION: dict[str, Any] = {"model": "base", "messages": [{"role": "user", "content": "What is 3 plus 4?"}]}
STREAMED = QUESTION | {"stream": True}
CHAT = "/v1/chat/completions"
PATIENCE_S = 20.0


class CountingEngine(FakeEngine):
    """Knows what is unfinished in it, and can die."""

    def __init__(self, *, delay_s: float = 0.0, token_s: float = 0.0, max_model_len: int = 2048) -> None:
        super().__init__(delay_s=delay_s, token_s=token_s, max_model_len=max_model_len)
        self.num_unfinished = 0
        self.requests: list[GenerationRequest] = []
        self.has_died = False

    @property
    def is_dead(self) -> bool:
        return self.has_died

    async def generate(self, request: GenerationRequest) -> Completion:
        self._begin(request)
        try:
            return await super().generate(request)
        finally:
            self.num_unfinished -= 1

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[str | Completion, None]:
        self._begin(request)
        try:
            async for piece in super().stream(request):
                yield piece
        finally:
            self.num_unfinished -= 1

    def _begin(self, request: GenerationRequest) -> None:
        if self.has_died:
            raise EngineDeadError("the engine has died")
        self.requests.append(request)
        self.num_unfinished += 1


class EngineBackend:
    """The base model alone."""

    def __init__(self, engine: CountingEngine) -> None:
        self.engine = engine
        self.models: Mapping[str, ChatModel] = {"base": BaseModel(engine)}
        self.is_closed = False

    @property
    def is_dead(self) -> bool:
        return self.engine.is_dead

    async def close(self) -> None:
        self.is_closed = True


class Running:
    """A server that runs, and how to reach it."""

    def __init__(self) -> None:
        self.log: TextIO = io.StringIO()
        self.loop: asyncio.AbstractEventLoop
        self.server: Server
        self.service: ChatService
        self.url = ""
        self.error: BaseException | None = None
        self.thread: threading.Thread

    def lines(self, event: str) -> list[dict[str, Any]]:
        """Log lines of a kind."""
        assert isinstance(self.log, io.StringIO)
        found = [json.loads(line) for line in self.log.getvalue().splitlines()]
        return [line for line in found if line["event"] == event]

    def client(self, **settings: Any) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=PATIENCE_S, **settings)

    def post(self, body: Mapping[str, Any], **settings: Any) -> httpx.Response:
        return httpx.post(self.url + CHAT, json=body, timeout=PATIENCE_S, **settings)

    def get(self, path: str, **settings: Any) -> httpx.Response:
        return httpx.get(self.url + path, timeout=PATIENCE_S, **settings)

    def stop(self) -> None:
        """As SIGTERM does."""
        self.loop.call_soon_threadsafe(self.server.stop)


def wait_until(is_so: Callable[[], bool], seconds: float = PATIENCE_S) -> None:
    """Raises AssertionError when it does not come true."""
    ends = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < ends, "it did not come true"
        time.sleep(0.005)


@contextmanager
def running(
    open_backend: Callable[[], Any] | Backend,
    request_type: type[ChatRequest] = ChatRequest,
    *,
    log: TextIO | None = None,
    is_ready: bool = True,
    **settings: Any,
) -> Iterator[Running]:
    """Serve a backend, or what a coroutine function opens; stopped at the end."""
    one = Running()
    one.log = log or one.log

    async def open_it() -> Backend:
        if callable(open_backend):
            opened: Backend = await open_backend()
            return opened
        return open_backend

    async def main() -> None:
        one.loop = asyncio.get_running_loop()
        registry = CollectorRegistry()
        limits = replace(ServerSettings(port=0), **settings)
        one.service = new_service(limits, open_it, registry, request_type, one.log)
        app = guarded(new_app(one.service, registry), limits)
        listener = listen(limits)
        one.server = new_server(app, one.service)
        one.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        await serve(one.server, listener)

    def work() -> None:
        try:
            asyncio.run(main())
        except BaseException as error:
            one.error = error

    one.thread = threading.Thread(target=work, daemon=True)
    one.thread.start()
    wait_until(lambda: bool(one.url) or one.error is not None)
    if is_ready:
        wait_until(lambda: one.error is not None or one.service.supervisor.state == "ready")
    assert one.error is None, one.error
    try:
        yield one
    finally:
        for _ in range(2):  # the second signal ends what still runs
            if one.thread.is_alive():
                with suppress(RuntimeError):  # it may end meanwhile
                    one.stop()
                one.thread.join(0.2)
        one.thread.join(PATIENCE_S)
        assert not one.thread.is_alive()
