"""Runs model-written Python where it can harm nothing. (Interface; under way.)"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lamas_local.config import SandboxConfig

Status = Literal["ok", "error", "timeout", "memory", "output-limit", "killed"]


class SandboxError(RuntimeError):
    """The sandbox itself failed, so that nothing can be said about the program."""


@dataclass(frozen=True, slots=True)
class SandboxResult:
    """What became of one run."""

    status: Status
    value: str | None
    """`str()` of what the called function returned; None when none was asked for or it did not return."""
    output: str
    """What the program printed, up to the limit."""
    traceback: str
    """Last lines of the error, empty when there is none."""
    asked: float
    """The caller asked; all three are `time.monotonic()` seconds."""
    started: float
    """A place was free and the run began."""
    ended: float
    """Its last process was gone."""


class Sandbox:
    """Runs programs, at most `max_runs` at once, each in a fresh process and folder."""

    def __init__(self, config: SandboxConfig) -> None:
        """Find the strongest isolation this platform gives.

        Raises:
            ConfigError: it is less than `config.isolation` demands.
        """
        self.config = config
        self.isolation = "none"
        """Which isolation is in force, for people and for the trace."""

    async def run(self, code: str, function: str | None = None) -> SandboxResult:
        """Run a program; with `function`, then call that function without arguments for its value."""
        raise NotImplementedError

    async def check(self, code: str, entry_point: str, tests: str) -> SandboxResult:
        """Run `tests`, trusted source that calls `entry_point` by name, against the untrusted `code` that defines it.

        The tests run in a process that the code cannot reach, so the code cannot forge their result: `ok` means that
        every test ran and passed. An assertion that fails or an exception in either is `error`.
        """
        raise NotImplementedError
