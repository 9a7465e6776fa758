"""Waits for a process without a thread where the system has process file descriptors."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import threading


def exit_of(process: subprocess.Popen[bytes]) -> asyncio.Future[int]:
    """Its exit status, once it has one; -N when signal N killed it. Pipes that others hold open do not delay it."""
    loop = asyncio.get_running_loop()
    status: asyncio.Future[int] = loop.create_future()

    def finish() -> None:
        if not status.done():
            status.set_result(process.wait())

    try:
        descriptor = os.pidfd_open(process.pid)
    except (AttributeError, OSError):  # not Linux, or forbidden

        def wait() -> None:
            process.wait()
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(finish)

        threading.Thread(target=wait, name="sandbox exit", daemon=True).start()
        return status

    def ready() -> None:
        loop.remove_reader(descriptor)
        os.close(descriptor)
        finish()

    loop.add_reader(descriptor, ready)
    return status
