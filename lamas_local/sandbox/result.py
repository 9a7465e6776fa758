"""What a run gives back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "error", "timeout", "memory", "output-limit", "killed"]


class SandboxError(RuntimeError):
    """The sandbox itself failed, so that nothing can be said about the program."""


@dataclass(frozen=True, slots=True)
class SandboxResult:
    """What became of one run."""

    status: Status
    """`ok`; `error`: an exception, a failed assertion, a syntax error; `timeout`: wall or CPU time; `memory`;
    `output-limit`: output or value; `killed`: it ended before its result was there, by a signal or `os._exit`."""
    value: str | None
    """`str()` of what the called function returned; None when none was asked for or it did not return."""
    output: str
    """What the program printed, up to the limit."""
    traceback: str
    """Last lines of the error, or a sentence on how it ended; empty when there is none."""
    asked: float
    """The caller asked; all three are `time.monotonic()` seconds."""
    started: float
    """A place was free and the run began."""
    ended: float
    """Its last process was gone."""
