"""Runs programs and checks, a bounded number at once."""

from __future__ import annotations

import asyncio
import os
import time
from concurrent.futures import ThreadPoolExecutor
from functools import cache

from lamas_local.config import ConfigError, SandboxConfig
from lamas_local.sandbox.isolation import Isolation, Kind, candidates
from lamas_local.sandbox.process import Outcome, SandboxProcess
from lamas_local.sandbox.result import SandboxError, SandboxResult, Status

_STATUSES: dict[str, Status] = {
    "ok": "ok",
    "error": "error",
    "memory": "memory",
    "output-limit": "output-limit",
}
"""What a worker may say of itself; the others only the owner can tell."""


_PROBE_S = 30.0
_LAST_WORDS_S = 0.5
_PROBE = "import traceback, json, math, random"


class Sandbox:
    """Runs programs, at most `max_runs` at once, each in a fresh process and folder."""

    def __init__(self, config: SandboxConfig, kind: Kind | None = None) -> None:
        """Find the strongest isolation this platform gives, by trying.

        Args:
            kind: this kind of isolation and no other, for tests.

        Raises:
            ConfigError: it is less than `config.isolation` demands, or there is none.
        """
        self.config = config
        self._isolation, refused = _strongest(kind)
        if config.isolation == "strict" and not self._isolation.is_strict:
            raise ConfigError(
                f"sandbox.isolation is 'strict', which needs bubblewrap at work, but this platform gives "
                f"{self._isolation.name!r} ({refused or 'bwrap is not installed'}): install bubblewrap 0.7 or later, "
                f"in a container allow user namespaces, or set sandbox.isolation to 'best-effort'"
            )
        self.isolation = self._isolation.name
        """Which isolation is in force, for people and for the trace."""
        self._places = asyncio.Semaphore(config.max_runs)

    async def run(self, code: str, function: str | None = None) -> SandboxResult:
        """Run a program; with `function`, then call that function without arguments for its value.

        The value is the program's own word: the code runs in the process that reports it (docs/sandbox.md).

        Raises:
            SandboxError: the sandbox failed, not the program.
        """
        asked = time.monotonic()
        async with self._places:
            started = time.monotonic()
            async with self._new_process() as process:
                process.start("program", code, function)
                outcome = await process.wait()
            status, value, trace = _judge(outcome)
            return SandboxResult(status, value, outcome.output, trace, asked, started, outcome.ended)

    async def check(self, code: str, entry_point: str, tests: str) -> SandboxResult:
        """Run `tests`, trusted source that calls `entry_point` by name, against the untrusted `code` that defines it.

        The tests run in a process that the code cannot reach, so the code cannot forge their result: `ok` means that
        every test ran and passed. An assertion that fails or an exception in either is `error`. Arguments and returned
        values cross as plain data (None, bool, numbers, str, bytes, list, tuple, dict, set); anything else is `error`.
        A definition of `entry_point` in `tests` is passed over. The two processes are one run.

        Raises:
            SandboxError: the sandbox failed, not the program.
        """
        asked = time.monotonic()
        async with self._places:
            started = time.monotonic()
            async with self._new_process() as program, self._new_process() as tester:
                calls, answers = os.pipe(), os.pipe()
                try:
                    program.start("serve", code, entry_point, calls[0], answers[1])
                    tester.start("tests", tests, entry_point, calls[1], answers[0])
                finally:
                    for fd in (*calls, *answers):
                        os.close(fd)
                served, tested = await _wait_for_both(program, tester)
            status, _, trace = _judge_check(served, tested)
            ended = max(served.ended, tested.ended)
            return SandboxResult(status, None, served.output + tested.output, trace, asked, started, ended)

    def _new_process(self) -> SandboxProcess:
        return SandboxProcess(self._isolation, self.config)


async def _wait_for_both(program: SandboxProcess, tester: SandboxProcess) -> tuple[Outcome, Outcome]:
    """The code's process and the tests'; where one has ended the other is not needed for long."""
    waits = served, tested = asyncio.ensure_future(program.wait()), asyncio.ensure_future(tester.wait())
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        if served.done() and served.result().report is None:
            tester.stop()  # the program was ended, or ended itself
        await asyncio.wait([tested])
        # Where the tests missed an answer the program may just be ending, and how it ends is worth knowing.
        is_gone = tested.exception() is None and _is_gone(tested.result())
        await asyncio.wait([served], timeout=_LAST_WORDS_S if is_gone else 0)
        program.stop()
        return await served, await tested
    finally:
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)


def _judge(outcome: Outcome) -> tuple[Status, str | None, str]:
    """Status, value and traceback of one process."""
    if outcome.limit is not None:
        return outcome.limit, None, ""
    if outcome.report is None or outcome.report[0] not in _STATUSES:
        return "killed", None, outcome.ending
    status, value, trace = outcome.report
    return _STATUSES[status], value, trace


def _is_gone(tested: Outcome) -> bool:
    """Whether the tests missed an answer."""
    return tested.report is not None and tested.report[0] == "gone"


def _judge_check(served: Outcome, tested: Outcome) -> tuple[Status, str | None, str]:
    """Of the code's process and the tests': only the tests' own report can be `ok`."""
    for outcome in (served, tested):
        if outcome.limit is not None:
            return outcome.limit, None, ""
    if served.report is None and not served.is_stopped and (tested.report is None or _is_gone(tested)):
        return "killed", None, served.ending
    if _is_gone(tested):
        return "error", None, "The program stopped answering, or answered with what is no value."
    return _judge(tested)


@cache
def _strongest(kind: Kind | None) -> tuple[Isolation, str]:
    """The first isolation that runs a program, and why the strongest of those before it did not."""
    refused = ""
    # In a thread of its own, because the caller's may have an event loop that runs.
    with ThreadPoolExecutor(1) as thread:
        for isolation in candidates(kind):
            problem = thread.submit(lambda one: asyncio.run(_problem(one)), isolation).result()
            if problem is None:
                return isolation, refused
            refused = refused or problem
    raise ConfigError(
        f"sandbox: model-written code cannot run here, because {'no isolation' if kind is None else repr(kind)} works"
        f"{f' ({refused})' if refused else ''}: choose a task and operators without code, or use Linux"
    )


async def _problem(isolation: Isolation) -> str | None:
    """Why it does not run a program, in one line; None where it does."""
    try:
        async with SandboxProcess(isolation, SandboxConfig(wall_s=_PROBE_S)) as process:
            process.start("program", _PROBE, None)
            status, _, trace = _judge(await process.wait())
            return None if status == "ok" else f"{isolation.name}: {status}, {_last_line(trace)}"
    except SandboxError as error:
        return _last_line(str(error))


def _last_line(text: str) -> str:
    """Its last line that is not empty."""
    return next((line for line in reversed(text.splitlines()) if line.strip()), "")
