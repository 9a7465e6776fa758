"""The processes below a process, by Linux's /proc."""

from __future__ import annotations

import os

TYPE_CHECKING = False  # typing takes longer to import than the rest together
if TYPE_CHECKING:
    from collections.abc import Iterator


def children(pid: int) -> list[int]:
    """Direct children of all its threads; none when it is gone."""
    found: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children") as file:
                found += map(int, file.read().split())
    except OSError:
        pass
    return found


def descendants(pid: int) -> Iterator[int]:
    """Everything below it, parents before their children."""
    waiting = children(pid)
    while waiting:
        child = waiting.pop()
        yield child
        waiting += children(child)
