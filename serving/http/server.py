"""Runs the server: listens at once, starts the engine beside that, drains on SIGTERM, leaves nothing running."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import resource
import socket
import time
from types import FrameType
from typing import Any, cast

import uvicorn
from starlette.types import ASGIApp

from serving.http.chat import ChatService
from serving.http.connection import ConnectionLimits, LimitedConnection
from serving.http.settings import ServerSettings

BACKLOG = 2048
"""Connections that the system holds until they are accepted."""
CLOSING_S = 2.0
"""How long connections may take to close when all queries have ended."""


class Server(uvicorn.Server):
    """uvicorn's server, which goes on listening while it drains, so that who asks is told (503) instead of refused."""

    def __init__(self, config: uvicorn.Config, service: ChatService) -> None:
        """Serve `config.app`, the paths of `service`."""
        super().__init__(config)
        self.service = service
        self._draining: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal drains, the second ends at once."""
        self._loop.call_soon_threadsafe(self.stop)

    def stop(self) -> None:
        """As the signal does."""
        if self._draining is None:
            self._draining = asyncio.ensure_future(self._drain())
        else:
            self._end_queries()
            self.should_exit = True

    async def _drain(self) -> None:
        service = self.service
        service.supervisor.drain()
        service.log.write("draining", {"num_queries": len(service.running)})
        ends = time.monotonic() + service.settings.shutdown_timeout_s
        while service.running and (left_s := ends - time.monotonic()) > 0:
            await asyncio.wait(tuple(service.running), timeout=left_s)
        self._end_queries()
        self.should_exit = True

    def _end_queries(self) -> None:
        for work in tuple(self.service.running):
            work.cancel()


def new_server(app: ASGIApp, service: ChatService) -> Server:
    """A server for `app`; call it in a running loop."""
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    settings = service.settings
    limits = ConnectionLimits(settings.header_timeout_s, settings.max_header_bytes, settings.max_connections)
    config = uvicorn.Config(
        app,
        # asyncio's own loop: its clock is time.monotonic(), which all stamps are.
        loop="asyncio",
        http=cast("Any", functools.partial(LimitedConnection, limits=limits)),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=max(round(settings.keep_alive_s), 1),
        timeout_graceful_shutdown=max(round(CLOSING_S), 1),
    )
    return Server(config, service)


async def serve(server: Server, listener: socket.socket) -> None:
    """Answer on `listener`, and keep an engine running, until a signal ends it.

    Raises:
        Exception: what the first start of the engine failed with.
    """
    service = server.service
    supervising = asyncio.ensure_future(service.supervisor.run())
    supervising.add_done_callback(lambda _: setattr(server, "should_exit", True))
    host, port = listener.getsockname()[:2]
    service.log.write("listening", {"host": host, "port": port})
    try:
        await server.serve(sockets=[listener])
    finally:
        supervising.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await supervising
    service.log.write("ended", {})


def allow_many_connections() -> None:
    """Every connection is an open file, and the usual soft limit is 1024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def listen(settings: ServerSettings) -> socket.socket:
    """A socket on the address.

    Raises:
        OSError: it cannot be had.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # The protocol is named, as asyncio sets TCP_NODELAY only where it is: without it the body of a response waits 40 ms
    # for the client to acknowledge the headers.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((settings.host, settings.port))
        listener.listen(BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener
