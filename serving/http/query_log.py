"""One JSON line a query. A log that cannot be written loses lines, never a query."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, TextIO


class QueryLog:
    """Writes to a stream."""

    def __init__(self, stream: TextIO | None = None, on_lost: Callable[[], None] = lambda: None) -> None:
        """Write to `stream`, standard output when absent; `on_lost` is called for each line that was lost."""
        self._stream = stream or sys.stdout
        self._on_lost = on_lost

    def write(self, event: str, facts: Mapping[str, Any]) -> None:
        """One line: the time of day, the event, and what is known of it."""
        now = time.time()
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1000):03d}Z"
        try:
            self._stream.write(json.dumps({"time": stamp, "event": event, **facts}, default=str) + "\n")
            self._stream.flush()
        except (OSError, ValueError):  # a full disk, a closed pipe, a closed stream
            self._on_lost()
