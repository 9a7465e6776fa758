"""Ends the engine's processes when their owner is gone, however it went: a tiny process that watches it.

vLLM's engine core and workers outlive an owner that dies by SIGTERM or SIGKILL, and keep every core busy.
The owner starts this watchdog before the first of them and holds the write end of its standard input. Every
process started while `marked()` is active carries the watchdog's marker in its environment, and so do its
children. When the input ends, the watchdog ends all that carry the marker, and then itself.
"""

from __future__ import annotations

import atexit
import multiprocessing.util  # noqa: F401 - its exit handler must be registered before ours, to run after it
import os
import select
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

MARKER_VARIABLE = "SERVING_ENGINE_OWNER"
"""Markers with spaces between them: of the owner, and of owners whose own process is marked."""
TERM_GRACE_S = 2.0
"""Seconds between SIGTERM and SIGKILL."""
OWNER_POLL_S = 1.0
"""Backstop for a write end that leaked into another process: the owner's death is also seen by the parent id."""
SCAN_INTERVAL_S = 0.1
QUIET_SCANS = 3
"""Scans without a marked process before the work counts as done: one may have been between fork and exec."""


class Watchdog:
    """The owner's handle on its watchdog process."""

    def __init__(self) -> None:
        """Start the process and wait until it watches (about 0.2 s).

        Raises:
            OSError: it did not start.
        """
        self._marker = uuid.uuid4().hex
        package_parent = str(Path(__file__).resolve().parents[1])
        self._process = subprocess.Popen(
            [sys.executable, "-m", "serving.watchdog", self._marker, str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # A session of its own: neither Ctrl-C nor the end of the terminal reaches it.
            start_new_session=True,
            cwd=package_parent,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([package_parent, *filter(None, sys.path)])},
        )
        assert self._process.stdout is not None
        if not self._process.stdout.readline():
            raise OSError("the engine's watchdog process (python -m serving.watchdog) did not start")
        self._process.stdout.close()
        # A process that ends without close() would wait for the engine core in multiprocessing's handler, for ever.
        atexit.register(self.close)

    @contextmanager
    def marked(self) -> Iterator[None]:
        """Processes started inside belong to the engine. Not for two engines at once: it sets `os.environ`.

        Raises:
            RuntimeError: the watchdog was closed; what started now would have nobody to end it.
        """
        if self._process.stdin is None or self._process.stdin.closed:
            raise RuntimeError("the engine's start was given up")
        # setproctitle, which vLLM uses, would otherwise write over /proc/PID/environ and with it the marker.
        markers = [*os.environ.get(MARKER_VARIABLE, "").split(), self._marker]
        added = {MARKER_VARIABLE: " ".join(markers), "SPT_NOENV": "1"}
        previous = {name: os.environ.get(name) for name in added}
        os.environ.update(added)
        try:
            yield
        finally:
            for name, value in previous.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value

    def close(self) -> None:
        """End every marked process and the watchdog; returns when they are gone. Idempotent."""
        atexit.unregister(self.close)
        if self._process.stdin is not None:
            with suppress(BrokenPipeError):
                self._process.stdin.close()
        self._process.wait()


def find_marked(marker: str) -> list[psutil.Process]:
    """Running processes whose environment carries `marker`."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            markers = process.environ().get(MARKER_VARIABLE, "").split()
            if marker in markers and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def end_marked(marker: str) -> None:
    """End every process that carries `marker`: SIGTERM, and SIGKILL for those still there after `TERM_GRACE_S`."""
    kill_at = time.monotonic() + TERM_GRACE_S
    asked: set[int] = set()
    quiet_scans = 0
    while quiet_scans < QUIET_SCANS:
        processes = find_marked(marker)
        quiet_scans = 0 if processes else quiet_scans + 1
        for process in processes:
            with suppress(psutil.Error):
                if time.monotonic() >= kill_at:
                    process.kill()
                elif process.pid not in asked:
                    process.terminate()
                    asked.add(process.pid)
        time.sleep(SCAN_INTERVAL_S)


def wait_for_owner(owner_pid: int) -> None:
    """Return when standard input has ended or the parent is no longer the owner."""
    while os.getppid() == owner_pid:
        readable, _, _ = select.select([sys.stdin.buffer], [], [], OWNER_POLL_S)
        if readable:
            return


def main() -> None:
    """Watch: `python -m serving.watchdog MARKER OWNER_PID`."""
    marker, owner_pid = sys.argv[1], int(sys.argv[2])
    print("watching", flush=True)
    wait_for_owner(owner_pid)
    end_marked(marker)


if __name__ == "__main__":
    main()
