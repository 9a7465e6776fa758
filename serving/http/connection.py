"""uvicorn's connection with what it lacks: time and size limits on headers, and a bound on idle connections."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from serving.http.errors import ApiError


@dataclass(slots=True)
class ConnectionLimits:
    """Shared by all connections of a server."""

    header_timeout_s: float
    max_header_bytes: int
    max_connections: int
    idle: dict[LimitedConnection, None] = field(default_factory=dict)
    """Connections without a request, the one that has been so for longest first."""


class LimitedConnection(HttpToolsProtocol):
    """One client's connection."""

    def __init__(self, *args: Any, limits: ConnectionLimits, **kwargs: Any) -> None:
        """As uvicorn makes it, with `limits`."""
        super().__init__(*args, **kwargs)
        self._limits = limits
        self._header_timer: asyncio.TimerHandle | None = None
        self._num_header_bytes = 0
        self._is_in_headers = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The first request's headers are awaited from now on."""
        super().connection_made(transport)
        self._limits.idle[self] = None
        self._start_timer()
        if len(self.connections) > self._limits.max_connections:
            next(iter(self._limits.idle)).give_up()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._stop_timer()
        self._limits.idle.pop(self, None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Headers must end in time, and not be endless."""
        super().data_received(data)
        if not self._is_in_headers:
            return
        self._start_timer()
        self._num_header_bytes += len(data)
        if self._num_header_bytes > self._limits.max_header_bytes:
            self._refuse(431, "Request Header Fields Too Large", "the request's headers are too large")

    def on_message_begin(self) -> None:
        """A request's first byte."""
        super().on_message_begin()
        self._is_in_headers, self._num_header_bytes = True, 0

    def on_headers_complete(self) -> None:
        """It is a request now, with time limits of its own."""
        self._is_in_headers = False
        self._stop_timer()
        self._limits.idle.pop(self, None)
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """Idle again, until uvicorn's keep-alive timer or the next request."""
        super().on_response_complete()
        if not self.transport.is_closing() and (self.cycle is None or self.cycle.response_complete):
            self._limits.idle[self] = None

    def send_400_response(self, msg: str) -> None:
        """uvicorn's answer to what is no HTTP, in our shape."""
        self._refuse(400, "Bad Request", msg)

    def give_up(self) -> None:
        """Close it: its time is over, or its place is needed."""
        self._limits.idle.pop(self, None)
        if not self.transport.is_closing():
            self.transport.close()

    def _start_timer(self) -> None:
        if self._header_timer is None:
            self._header_timer = self.loop.call_later(self._limits.header_timeout_s, self.give_up)

    def _stop_timer(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _refuse(self, status: int, reason: str, message: str) -> None:
        if self.transport.is_closing():
            return
        body = ApiError(status, message, code="invalid_http").json()
        head = (
            f"HTTP/1.1 {status} {reason}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode("ascii") + body)
        self.transport.close()
