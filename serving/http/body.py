"""Reads a request's body: not too much, not too slowly."""

from __future__ import annotations

import asyncio

from starlette.requests import Request

from serving.http.connected import ClientGoneError
from serving.http.errors import ApiError

LINGER_S = 2.0
"""How long the rest of a body that is too large is read and thrown away: a connection closed on unread data is reset,
and the client would not see why."""


async def read_body(request: Request, max_bytes: int, timeout_s: float) -> bytes:
    """The whole body.

    Raises:
        ApiError: 413 where it is larger than `max_bytes`, 408 where it takes longer than `timeout_s`.
        ClientGoneError: the client went away.
    """
    stated = request.headers.get("Content-Length", "")
    if stated.isascii() and stated.isdigit() and int(stated) > max_bytes:
        await _linger(request)
        raise _too_large(max_bytes)
    try:
        return await asyncio.wait_for(_read(request, max_bytes), timeout_s)
    except (asyncio.TimeoutError, TimeoutError) as error:
        raise ApiError(
            408, f"the body took longer than {timeout_s:g} s", code="timeout", headers={"Connection": "close"}
        ) from error


async def _read(request: Request, max_bytes: int) -> bytes:
    body = bytearray()
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        body += message.get("body", b"")
        if len(body) > max_bytes:
            await _linger(request)
            raise _too_large(max_bytes)
        if not message.get("more_body", False):
            return bytes(body)


def _too_large(max_bytes: int) -> ApiError:
    message = f"the body is larger than {max_bytes} bytes"
    return ApiError(413, message, code="body_too_large", headers={"Connection": "close"})


async def _linger(request: Request) -> None:
    async def read_on() -> None:
        while (message := await request.receive())["type"] == "http.request" and message.get("more_body", False):
            pass

    # A client that asked whether to send its body ("Expect: 100-continue") is answered at once instead.
    if "Expect" not in request.headers:
        try:
            await asyncio.wait_for(read_on(), LINGER_S)
        except (asyncio.TimeoutError, TimeoutError):
            return
