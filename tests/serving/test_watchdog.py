"""An owner whose own process is owned: Ray's worker, say, with an engine's processes under it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil

from serving.watchdog import Watchdog

OWNED_OWNER = """
import subprocess, sys
from serving.watchdog import Watchdog
with Watchdog().marked():
    child = subprocess.Popen(["sleep", "600"])
print(child.pid, flush=True)
sys.stdin.read()
"""


def start_owned_owner() -> tuple[subprocess.Popen[str], psutil.Process]:
    """A process with a watchdog of its own, and what that would end."""
    process = subprocess.Popen(
        [sys.executable, "-c", OWNED_OWNER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout is not None
    return process, psutil.Process(int(process.stdout.readline()))


def assert_ended(child: psutil.Process) -> None:
    """It is nobody's child here: of its end there may be something left to see for a moment."""
    _, alive = psutil.wait_procs([child], timeout=10)
    assert not alive


def test_closing_ends_what_an_owned_owner_owns() -> None:
    watchdog = Watchdog()
    with watchdog.marked():
        process, child = start_owned_owner()
    with process:
        watchdog.close()
        assert_ended(child)
        assert process.poll() is not None


def test_an_owned_owner_that_is_killed_takes_its_own_along_and_no_more() -> None:
    watchdog = Watchdog()
    with watchdog.marked():
        (process, child), other = start_owned_owner(), subprocess.Popen(["sleep", "600"])
    with process, other:
        process.kill()
        assert_ended(child)
        assert other.poll() is None
        watchdog.close()
