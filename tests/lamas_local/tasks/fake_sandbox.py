"""A stand-in for the sandbox: trusted code only, in this process, without any isolation."""

from __future__ import annotations

import time
import traceback
from typing import Any

from lamas_local.config import SandboxConfig
from lamas_local.sandbox import Sandbox, SandboxResult, Status


class FakeSandboxWithoutIsolation(Sandbox):
    """Runs what the tests themselves wrote; remembers what it was asked."""

    def __init__(self) -> None:
        self.config = SandboxConfig()
        self.isolation = "none: a fake"
        self.checked: list[tuple[str, str, str]] = []

    async def check(self, code: str, entry_point: str, tests: str) -> SandboxResult:
        """As `Sandbox.check`: the tests have a namespace of their own, with nothing of the code but its function."""
        self.checked.append((code, entry_point, tests))
        status: Status = "ok"
        error, started = "", time.monotonic()
        try:
            program: dict[str, Any] = {}
            exec(code, program)
            exec(tests, {entry_point: program[entry_point]})
        except Exception:
            status, error = "error", traceback.format_exc()
        return SandboxResult(status, None, "", error, started, started, time.monotonic())
