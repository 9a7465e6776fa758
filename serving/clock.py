"""The one clock of everything that stamps: the running event loop's."""

from __future__ import annotations

import asyncio
import os
import platform
from pathlib import Path


def now() -> float:
    """Seconds on the running loop's clock: `time.monotonic()` on asyncio's own loops, virtual time in a simulation."""
    return asyncio.get_running_loop().time()


def clock_id() -> str:
    """Names this process's monotonic clock: processes of equal names have comparable stamps.

    On Linux it is the clock of one start of the machine, and of one time namespace there, containers or not; elsewhere
    the machine's name must do.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/time')}"
    except OSError:
        return platform.node()
