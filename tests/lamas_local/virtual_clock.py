"""An event loop whose clock jumps to the next thing that is due: delays cost nothing, and stamps are exact."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar
from unittest.mock import patch

T = TypeVar("T")


class Clock:
    """Stands in for `time.monotonic`."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class _Selector(selectors.SelectSelector):
    """Does not wait: the time it would have waited has passed."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            assert timeout is not None, "everybody waits for somebody"
            self._clock.now += timeout
        return ready


def run_virtually(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine under a clock of its own that begins at 0; nothing may be left running."""
    clock = Clock()
    loop = asyncio.SelectorEventLoop(_Selector(clock))
    try:
        with patch("time.monotonic", clock):
            result = loop.run_until_complete(coroutine)
            assert not asyncio.all_tasks(loop)
            return result
    finally:
        loop.close()
