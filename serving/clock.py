"""The one clock of everything that stamps: the running event loop's."""

from __future__ import annotations

import asyncio


def now() -> float:
    """Seconds on the running loop's clock: `time.monotonic()` on asyncio's own loops, virtual time in a simulation."""
    return asyncio.get_running_loop().time()
