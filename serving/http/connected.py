"""Work that ends with its client: who goes away takes his work along."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.types import Receive

T = TypeVar("T")


class ClientGoneError(Exception):
    """The client closed the connection before it had its answer."""


class TookTooLongError(Exception):
    """The work passed its time limit and was stopped."""


class StoppedError(Exception):
    """The work was cancelled from outside: the server ends."""


async def while_connected(
    receive: Receive, work: Coroutine[Any, Any, T], timeout_s: float, running: set[asyncio.Future[Any]]
) -> T:
    """The result of `work`, which is cancelled, and waited for, when the client goes, the time is over or the caller is
    cancelled. The request's body must have been read.

    Args:
        receive: of the request.
        work: what is done for it.
        timeout_s: longest time of it in seconds.
        running: holds the work while it runs, for whoever wants to stop all of it.

    Raises:
        ClientGoneError: the client went away.
        TookTooLongError: `timeout_s` passed.
        StoppedError: the work was cancelled by somebody else.
    """
    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(_left(receive))
    running.add(working)
    try:
        done, _ = await asyncio.wait({working, leaving}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        # A result that is there is used, whatever else happened at the same time.
        leaving.cancel()
        if not working.done():
            working.cancel()
        await asyncio.wait({working, leaving})
        running.discard(working)
    if working.cancelled():
        raise ClientGoneError if leaving in done else StoppedError if done else TookTooLongError
    return working.result()


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
