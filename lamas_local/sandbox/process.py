"""One sandboxed process tree from the outside: started, watched, ended, described."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from lamas_local.config import SandboxConfig
from lamas_local.sandbox.inside.channel import BEGAN, ENDED
from lamas_local.sandbox.inside.plain import decode
from lamas_local.sandbox.inside.processes import children, descendants
from lamas_local.sandbox.isolation import Isolation, environment, request_bytes
from lamas_local.sandbox.result import SandboxError
from lamas_local.sandbox.usage import folder_bytes, usage_of

Limit = Literal["timeout", "memory", "output-limit"]
_WATCH_S = 0.1
_PATIENCE_S = 3.0
"""How long a process that was told to end may take before everything below it is killed one by one."""
_REPORT_SLACK_BYTES = 2**16


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a process ended."""

    limit: Limit | None
    """The limit it was killed at."""
    report: tuple[str, str | None, str] | None
    """Status, value and traceback as the worker told them; None when it ended before it could."""
    ending: str
    """A sentence on how it ended, for when there is no report."""
    output: str


class SandboxProcess:
    """One process and everything it starts. Use `start`, then `wait`; `wait` leaves nothing behind however it ends."""

    def __init__(self, isolation: Isolation, config: SandboxConfig) -> None:
        self._isolation, self._config = isolation, config
        self._limit: Limit | None = None
        self._is_stopping = False
        self._token = secrets.token_bytes(16)
        self._folder: str | None = None
        self._output, self._report = bytearray(), bytearray()

    async def start(
        self, mode: str, code: str, name: str | None, calls_fd: int | None = None, answers_fd: int | None = None
    ) -> None:
        """Start it on a request (see `inside.worker`); the two pipe ends stay the caller's to close.

        Raises:
            SandboxError: it could not be started.
        """
        uid = self._isolation.new_user()
        fds = [fd for fd in (calls_fd, answers_fd) if fd is not None]
        report_end, report_fd = os.pipe()
        mine, theirs = [report_end], [report_fd]
        try:
            if self._isolation.kind != "bubblewrap":
                self._folder = tempfile.mkdtemp(prefix="lamas-sandbox-")
                if uid is not None:
                    os.chown(self._folder, uid, uid)
            filter_fd = self._filter_pipe(theirs)
            self._process = await asyncio.create_subprocess_exec(
                *self._isolation.command(self._config, filter_fd),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                pass_fds=[*fds, *theirs],
                env=environment(self._folder),
                cwd=self._folder or "/",
                start_new_session=True,  # away from the caller's terminal
            )
            mine.clear()
        except OSError as error:
            await self._remove_folder()
            raise SandboxError(f"the sandbox could not be started: {error}") from error
        finally:
            for fd in [*mine, *theirs]:
                os.close(fd)
        self._report_end = report_end
        # In a thread, because some settings are read from the whole machine's processes.
        settings = await asyncio.to_thread(self._isolation.settings, self._config, uid, self._folder)
        self._request = request_bytes(
            {
                "mode": mode,
                "code": code,
                "name": name,
                "token": self._token,
                "report_fd": report_fd,
                "calls_fd": calls_fd,
                "answers_fd": answers_fd,
                "max_report_bytes": self._config.output_kib * 1024,
                "confine": settings,
            }
        )

    def _filter_pipe(self, theirs: list[int]) -> int | None:
        """A pipe with the filter in it, for bubblewrap to read."""
        content = self._isolation.filter()
        if self._isolation.kind != "bubblewrap" or not content:
            return None
        read_end, write_end = os.pipe()
        os.write(write_end, content)  # far less than a pipe holds
        os.close(write_end)
        theirs.append(read_end)
        return read_end

    async def wait(self) -> Outcome:
        """Until its last process is gone, killed at a limit if need be.

        Raises:
            SandboxError: it ended before the program could begin.
        """
        assert self._process.stdout is not None
        reads = [
            asyncio.ensure_future(self._read(self._process.stdout, self._output, self._config.output_kib * 1024)),
            asyncio.ensure_future(self._read_report()),
        ]
        helpers = [*reads, asyncio.ensure_future(self._watch()), asyncio.ensure_future(self._feed())]
        try:
            try:
                await asyncio.wait_for(self._process.wait(), self._config.wall_s)
            except asyncio.TimeoutError:
                self._end("timeout")
                await self._gone()
            await asyncio.wait(reads, timeout=_PATIENCE_S)
        finally:
            # Shielded: a second cancellation must not leave anything behind either.
            await asyncio.shield(asyncio.ensure_future(self._clean_up(helpers)))
        return self._outcome()

    def stop(self) -> None:
        """Kill it; nobody needs it any more."""
        if self._is_stopping or self._process.returncode is not None:
            return
        self._is_stopping = True
        pid = self._process.pid
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if not sys.platform.startswith("linux"):
                os.killpg(pid, signal.SIGKILL)
            elif self._isolation.kind == "process limits":
                self._process.send_signal(signal.SIGTERM)  # its first process kills the others, then ends
            else:
                # The death of a namespace's first process waits for all others; its parent's would not. Stopped, the
                # parent cannot start it between the look and the kill.
                os.kill(pid, signal.SIGSTOP)
                first = children(pid)
                for child in first:
                    os.kill(child, signal.SIGKILL)
                os.kill(pid, signal.SIGCONT if first else signal.SIGKILL)

    def _end(self, limit: Limit) -> None:
        self._limit = self._limit or limit
        self.stop()

    async def _gone(self) -> None:
        """Until the process has ended, by force when it takes too long."""
        try:
            await asyncio.wait_for(self._process.wait(), _PATIENCE_S)
        except asyncio.TimeoutError:
            for pid in (*descendants(self._process.pid), self._process.pid):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            await self._process.wait()

    async def _clean_up(self, helpers: Sequence[asyncio.Future[None]]) -> None:
        self.stop()
        await self._gone()
        for helper in helpers:
            helper.cancel()
        await asyncio.gather(*helpers, return_exceptions=True)
        await self._remove_folder()

    async def _remove_folder(self) -> None:
        folder, self._folder = self._folder, None
        if folder is None:
            return
        # Programs, because a tree may be nested deeper than Python can recurse or keep files open.
        for command in (("rm", "-rf"), ("chmod", "-R", "u+rwx"), ("rm", "-rf")):
            try:
                os.rmdir(folder)
                return
            except FileNotFoundError:
                return
            except OSError:
                pass
            remover = await asyncio.create_subprocess_exec(*command, folder, stderr=asyncio.subprocess.DEVNULL)
            await remover.wait()

    async def _feed(self) -> None:
        stdin = self._process.stdin
        assert stdin is not None
        with contextlib.suppress(ConnectionError):  # it ended first
            stdin.write(self._request)
            await stdin.drain()
            stdin.close()
            await stdin.wait_closed()

    async def _read(self, stream: asyncio.StreamReader, into: bytearray, limit: int) -> None:
        while part := await stream.read(2**16):  # to its end: a full pipe would hold up the process's end
            into += part[: max(0, limit + 1 - len(into))]
            if len(into) > limit:
                self._end("output-limit")

    async def _read_report(self) -> None:
        reader = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(self._report_end, "rb", 0)
        )
        try:
            await self._read(reader, self._report, self._config.output_kib * 1024 + _REPORT_SLACK_BYTES)
        finally:
            transport.close()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_WATCH_S)
            limit = await self._exceeded()
            if limit is not None:
                self._end(limit)

    async def _exceeded(self) -> Limit | None:
        """The limit that all its processes together are over."""
        usage = usage_of(self._process.pid)
        if usage.cpu_s > self._config.cpu_s:
            return "timeout"
        if usage.memory_bytes > self._config.memory_mib * 2**20:
            return "memory"
        if self._isolation.kind != "process limits" or self._folder is None:
            return None  # its file system is bounded
        is_full = await asyncio.to_thread(folder_bytes, self._folder) > self._config.file_mib * 2**20
        return "output-limit" if is_full else None

    def _outcome(self) -> Outcome:
        output = self._output[: self._config.output_kib * 1024].decode(errors="replace")
        report = bytes(self._report)
        if not self._is_stopping and self._token + BEGAN not in report:
            raise SandboxError(f"the sandbox ({self._isolation.name}) failed to start a program: {output.strip()}")
        return Outcome(self._limit, self._parse(report), self._ending(), output)

    def _parse(self, report: bytes) -> tuple[str, str | None, str] | None:
        _, found, content = report.rpartition(self._token + ENDED)
        if not found:
            return None
        try:
            status, value, trace = decode(content)
        except (ValueError, TypeError):
            return None
        if not (isinstance(status, str) and isinstance(trace, str) and isinstance(value, str | None)):
            return None
        return status, value, trace

    def _ending(self) -> str:
        code = self._process.returncode or 0
        number = -code if code < 0 else code - 128
        if number <= 0:
            return f"The program ended with status {code} before its result was there."
        try:
            name = signal.Signals(number).name
        except ValueError:
            name = f"signal {number}"
        return f"The program was killed by {name}."
