"""Ctrl-C for programs that run in several processes and in whatever kind of event loop: finish, save, end."""

from __future__ import annotations

import ctypes
import multiprocessing
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

CONTEXT = multiprocessing.get_context("spawn")
"""Forking a process that has loaded torch is not safe."""

Flag = Any
"""A `ctypes.c_bool` in shared memory: without a lock, which a signal's handler could find taken by its own thread."""


@contextmanager
def interruptible() -> Iterator[Flag]:
    """A flag that Ctrl-C sets, also for processes that are started with it; the second one raises KeyboardInterrupt."""
    flag = CONTEXT.Value(ctypes.c_bool, False, lock=False)

    def interrupt(number: int, frame: FrameType | None) -> None:
        if flag.value:
            raise KeyboardInterrupt
        flag.value = True
        print("\nfinishing what runs, then saving; the same command goes on from there", file=sys.stderr)

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield flag
    finally:
        signal.signal(signal.SIGINT, before)


def leave_to_parent() -> None:
    """In a worker process: the terminal sends Ctrl-C to all of them, and the parent answers it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
