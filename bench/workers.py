"""Work in several processes and in whatever kind of event loop, and Ctrl-C for all of it: finish, save, end."""

from __future__ import annotations

import asyncio
import ctypes
import multiprocessing
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeVar

CONTEXT = multiprocessing.get_context("spawn")
"""Forking a process that has loaded torch is not safe."""

Flag = Any
"""A `ctypes.c_bool` in shared memory: without a lock, which a signal's handler could find taken by its own thread."""
RESUMES = "finishing what runs, then saving; the same command goes on from there"
_flag: Flag
"""This process's."""
ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


@contextmanager
def interruptible(message: str = RESUMES) -> Iterator[Flag]:
    """A flag that Ctrl-C sets, also for processes that are started with it; the second one raises KeyboardInterrupt.

    `message` says what the first one does.
    """
    flag: Flag = CONTEXT.Value(ctypes.c_bool, False, lock=False)

    def interrupt(number: int, frame: FrameType | None) -> None:
        if flag.value:
            raise KeyboardInterrupt
        flag.value = True
        print(f"\n{message}", file=sys.stderr)

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield flag
    finally:
        signal.signal(signal.SIGINT, before)


def run_all(work: Callable[[ItemT], ResultT], items: Sequence[ItemT], num_jobs: int, flag: Flag) -> list[ResultT]:
    """`work` on every item, in the items' order: at most `num_jobs` at once, each in a process of its own if more than
    one can run."""
    num_workers = min(num_jobs, len(items))
    if num_workers == 1:
        _take_flag(flag)
        return [work(item) for item in items]
    with ProcessPoolExecutor(num_workers, mp_context=CONTEXT, initializer=_start_worker, initargs=(flag,)) as pool:
        return list(pool.map(work, items))


def stop_if_asked(stop: asyncio.Event) -> None:
    """To be called now and then by what runs in `run_all`; nothing goes on whose parent has been killed either."""
    parent = multiprocessing.parent_process()
    if _flag.value or (parent is not None and not parent.is_alive()):
        stop.set()


def _start_worker(flag: Flag) -> None:
    # The terminal sends Ctrl-C to every process, and the parent answers it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _take_flag(flag)


def _take_flag(flag: Flag) -> None:
    global _flag
    _flag = flag
