"""An event loop whose clock jumps to the next thing that is due: delays cost nothing, and stamps are exact.

Whatever reads the loop's clock (`serving.clock.now`, `asyncio.sleep`, timeouts) runs in virtual time on it, unchanged.
"""

from __future__ import annotations

import asyncio
import math
import selectors
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, NoReturn, TypeVar

T = TypeVar("T")

POLL_EVERY = 256
"""Turns of the loop between two looks at signals and threads, as a look is a system call."""


class VirtualTimeError(RuntimeError):
    """What was asked for cannot be in virtual time; the message says why."""


def run_virtually(main: Coroutine[Any, Any, T], start: float = 0.0) -> T:
    """`asyncio.run` in virtual time, which begins at `start` seconds.

    Threads (`asyncio.to_thread`) work, and time stands still while one runs. Processes and sockets are refused, as
    nobody knows for how long to wait for them.

    Raises:
        VirtualTimeError: everybody waits for somebody, or a process or a socket was asked for.
    """
    loop = VirtualTimeLoop(start)
    try:
        asyncio.set_event_loop(loop)
        return loop.run_until_complete(main)
    finally:
        try:
            _cancel_all(loop)
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
        finally:
            asyncio.set_event_loop(None)
            loop.close()


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """asyncio's own loop over a selector that lets time pass instead of waiting."""

    _scheduled: list[asyncio.TimerHandle]
    """asyncio's heap of timers, the next one first and never cancelled when the selector is asked; it has no public
    name. Jumping to that very time, not by the difference to it, keeps the stamps free of rounding."""

    _clock_resolution: float
    """asyncio runs timers that are due up to this much later; here none may run before its time."""

    def __init__(self, start: float = 0.0) -> None:
        self._now = start
        self._num_in_threads = 0
        super().__init__(_Selector(self._pass_time))
        self._clock_resolution = math.ulp(start)

    def time(self) -> float:
        """Virtual seconds."""
        return self._now

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override]
        """As asyncio's; virtual time stands still until it is done."""
        future: asyncio.Future[T] = super().run_in_executor(executor, func, *args)
        self._num_in_threads += 1
        future.add_done_callback(self._leave_thread)
        return future

    async def shutdown_default_executor(self, *args: Any) -> None:
        """As asyncio's, which waits for a thread in a way of its own."""
        self._num_in_threads += 1
        await super().shutdown_default_executor(*args)
        self._num_in_threads -= 1

    async def subprocess_exec(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refused."""
        program = args[1] if len(args) > 1 else "?"
        raise VirtualTimeError(f"a process ({program}) takes real seconds: none in simulation")

    async def subprocess_shell(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refused."""
        raise VirtualTimeError("a shell takes real seconds: none in simulation")

    def _leave_thread(self, future: asyncio.Future[T]) -> None:
        self._num_in_threads -= 1

    def _pass_time(self) -> bool:
        """Go to the next timer; False where something that runs in a thread is to be waited for first."""
        if self._num_in_threads:
            return False
        if not self._scheduled:
            raise VirtualTimeError("the simulation stands still: everybody waits for somebody, and no timer is set")
        self._now = max(self._now, self._scheduled[0].when())
        self._clock_resolution = math.ulp(self._now)
        return True


class _Selector(selectors.DefaultSelector):
    """Never waits where time can pass instead; real events are only looked for now and then."""

    def __init__(self, pass_time: Callable[[], bool]) -> None:
        super().__init__()
        self._pass_time = pass_time
        self._num_turns = 0

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """The first is the loop's own, by which threads and signals wake it; there can be no other."""
        mapping: Mapping[Any, Any] = self.get_map()
        if mapping:
            raise VirtualTimeError("a socket or a pipe takes real seconds: none in simulation")
        return super().register(fileobj, events, data)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Real events if it is time to look for them; otherwise virtual time passes where nothing is ready."""
        self._num_turns += 1
        if self._num_turns % POLL_EVERY == 0 and (ready := super().select(0)):
            return ready
        if timeout == 0 or self._pass_time():
            return []
        return super().select(None)


def _cancel_all(loop: asyncio.AbstractEventLoop) -> None:
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
