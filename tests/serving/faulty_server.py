"""An OpenAI-compatible server on a real socket that answers as a script says, well or badly."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

Reply = Callable[[asyncio.StreamWriter], Awaitable[None]]
MODEL = "model"
USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 2}}
PIECES = ("Four", " and", " more")
ANSWER = "".join(PIECES)


def head(status: int, content_type: str, headers: Mapping[str, str] | None = None) -> bytes:
    lines = [f"HTTP/1.1 {status} As told", f"Content-Type: {content_type}"]
    return "\r\n".join([*lines, *(f"{name}: {value}" for name, value in (headers or {}).items()), "\r\n"]).encode()


def chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def event(content: Any) -> bytes:
    return b"data: " + (content if isinstance(content, bytes) else json.dumps(content).encode()) + b"\n\n"


def delta(piece: str | None, finish_reason: str | None = None) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": piece}, "finish_reason": finish_reason}]}


STREAM = head(200, "text/event-stream; charset=utf-8", {"Transfer-Encoding": "chunked"})
FINISH: tuple[Any, ...] = (delta("", "stop"), {"choices": [], "usage": USAGE}, b"[DONE]")


def streamed(*events: Any, is_complete: bool = True, pause_s: float = 0.0) -> Reply:
    """Those events; without the end of the body where it is to look cut."""

    async def reply(writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM)
        for one in events:
            writer.write(chunk(event(one)))
            await writer.drain()
            await asyncio.sleep(pause_s)
        if is_complete:
            writer.write(b"0\r\n\r\n")

    return reply


def answers(*pieces: str, pause_s: float = 0.0) -> Reply:
    return streamed(delta(""), *(delta(piece) for piece in pieces or PIECES), *FINISH, pause_s=pause_s)


def status(code: int, body: Any = b"out of order", **headers: str) -> Reply:
    """A status with a body; headers by name, `_` for `-`."""

    async def reply(writer: asyncio.StreamWriter) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        writer.write(head(code, "application/json", {"Content-Length": str(len(data)), **named}) + data)

    return reply


def raw(*parts: bytes) -> Reply:
    """Those bytes, and then the connection is closed."""

    async def reply(writer: asyncio.StreamWriter) -> None:
        writer.writelines(parts)
        await writer.drain()
        writer.close()

    return reply


async def hangs(writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(3600)


async def drips(writer: asyncio.StreamWriter) -> None:
    """A byte now and then, never a line."""
    writer.write(STREAM)
    while True:
        writer.write(chunk(b"x"))
        await writer.drain()
        await asyncio.sleep(0.02)


class FaultyServer:
    """Replies to chats in the order of `script`, then well."""

    def __init__(self) -> None:
        self.script: deque[Reply] = deque()
        self.card: dict[str, Any] = {"id": MODEL, "owned_by": "somebody", "max_model_len": 512}
        self.models: Reply | None = None
        self.default: Reply = answers()
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.asked_at: list[float] = []
        self.num_connections = 0
        self.num_open = 0
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.num_connections += 1
        self.num_open += 1
        replying: asyncio.Future[None] | None = None
        try:
            while True:
                request, _, headers = (await reader.readuntil(b"\r\n\r\n")).decode().partition("\r\n")
                found = dict(line.split(": ", 1) for line in headers.strip().splitlines())
                named = {name.lower(): value for name, value in found.items()}
                body = await reader.readexactly(int(named.get("content-length", 0)))
                replying = asyncio.ensure_future(self._reply(request, named, body)(writer))
                gone = asyncio.ensure_future(reader.read(1))  # a client that waits for an answer says nothing
                await asyncio.wait({replying, gone}, return_when=asyncio.FIRST_COMPLETED)
                if not replying.done():
                    return
                gone.cancel()
                await asyncio.wait({gone})
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.num_open -= 1
            if replying is not None:
                replying.cancel()
            writer.close()

    def _reply(self, request: str, headers: dict[str, str], body: bytes) -> Reply:
        if request.startswith("GET /v1/models "):
            self.headers.append(headers)
            return self.models or status(200, {"object": "list", "data": [self.card]})
        if not request.startswith("POST /v1/chat/completions "):
            return status(404, {"detail": "Not Found"})
        self.headers.append(headers)
        self.bodies.append(json.loads(body))
        self.asked_at.append(asyncio.get_running_loop().time())
        return self.script.popleft() if self.script else self.default


@asynccontextmanager
async def faulty_server(*script: Reply) -> AsyncIterator[FaultyServer]:
    """A server that runs, with a script."""
    one = FaultyServer()
    one.script.extend(script)
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with suppress(asyncio.CancelledError):  # at the end; asyncio's server would report it
            await one.serve(reader, writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    one.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    try:
        yield one
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def closed_port() -> AsyncIterator[str]:
    """The address of a server that is gone."""
    async with faulty_server() as one:
        url = one.url
    yield url
