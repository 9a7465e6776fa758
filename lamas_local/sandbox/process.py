"""One sandboxed process tree from the outside: started, watched, ended, described."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from typing import IO, Literal

from lamas_local.config import SandboxConfig
from lamas_local.sandbox.exit import exit_of
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
    is_stopped: bool
    """It was killed because nobody needed it any more, or at a limit."""
    ended: float
    """Its last process was gone, `time.monotonic()`; its folder may still be there."""


class SandboxProcess:
    """One process and everything it starts, as a context: nothing of it is left however the context ends."""

    def __init__(self, isolation: Isolation, config: SandboxConfig) -> None:
        self._isolation, self._config = isolation, config
        self._limit: Limit | None = None
        self._is_stopping = False
        self._token = secrets.token_bytes(16)
        self._folder: str | None = None
        self._output, self._report = bytearray(), bytearray()
        self._helpers: list[asyncio.Future[None]] = []
        self._files: list[IO[bytes]] = []
        self._process: subprocess.Popen[bytes] | None = None

    async def __aenter__(self) -> SandboxProcess:
        return self

    async def __aexit__(self, *error: object) -> None:
        # Shielded: a second cancellation must not leave anything behind either.
        await asyncio.shield(asyncio.ensure_future(self._close()))

    def start(
        self, mode: str, code: str, name: str | None, calls_fd: int | None = None, answers_fd: int | None = None
    ) -> None:
        """Start it; what to do (see `inside.worker`) is told in `wait`. The two pipe ends stay the caller's to close.

        Raises:
            SandboxError: it could not be started.
        """
        uid = self._isolation.new_user()
        report_end, report_fd = os.pipe()
        self._files.append(os.fdopen(report_end, "rb", 0))
        theirs = [report_fd]
        try:
            if self._isolation.kind != "bubblewrap":
                self._folder = tempfile.mkdtemp(prefix="lamas-sandbox-")
                if uid is not None:
                    os.chown(self._folder, uid, uid)
            filter_fd = self._filter_pipe(theirs)
            self._process = subprocess.Popen(
                self._isolation.command(self._config, filter_fd),
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=[*theirs, *(fd for fd in (calls_fd, answers_fd) if fd is not None)],
                env=environment(self._folder),
                cwd=self._folder or "/",
                start_new_session=True,  # away from the caller's terminal
            )
        except OSError as error:
            raise SandboxError(f"the sandbox could not be started: {error}") from error
        finally:
            for fd in theirs:
                os.close(fd)
        self._exited = exit_of(self._process)
        self._uid = uid
        self._request = {
            "mode": mode,
            "code": code,
            "name": name,
            "token": self._token,
            "report_fd": report_fd,
            "calls_fd": calls_fd,
            "answers_fd": answers_fd,
            "max_report_bytes": self._config.output_kib * 1024,
        }

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
        process = self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        self._files += [process.stdin, process.stdout]
        report_limit = self._config.output_kib * 1024 + _REPORT_SLACK_BYTES
        reads = [
            asyncio.ensure_future(self._read(process.stdout, self._output, self._config.output_kib * 1024)),
            asyncio.ensure_future(self._read(self._files[0], self._report, report_limit)),
        ]
        self._helpers += [
            *reads,
            asyncio.ensure_future(self._watch()),
            asyncio.ensure_future(self._feed(process.stdin)),
        ]
        try:
            await asyncio.wait_for(asyncio.shield(self._exited), self._config.wall_s)
        except asyncio.TimeoutError:
            self._end("timeout")
            await self._gone()
        ended = time.monotonic()
        await asyncio.wait(reads, timeout=_PATIENCE_S)
        return self._outcome(ended)

    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "not started"
        return self._process

    def stop(self) -> None:
        """Kill it; nobody needs it any more."""
        if self._process is None or self._is_stopping or self._exited.done():
            return
        self._is_stopping = True
        pid = self._process.pid
        with contextlib.suppress(ProcessLookupError, PermissionError, ChildProcessError):
            if not sys.platform.startswith("linux"):
                os.killpg(pid, signal.SIGKILL)
            elif self._isolation.kind == "process limits":
                os.kill(pid, signal.SIGTERM)  # its first process kills the others, then ends
            else:
                # The death of a namespace's first process waits for all others; its parent's would not. Stopped, the
                # parent cannot start it between the look and the kill.
                os.kill(pid, signal.SIGSTOP)
                os.waitid(os.P_PID, pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)  # at once; it is still ours to reap
                first = children(pid)
                for child in first:
                    os.kill(child, signal.SIGKILL)
                os.kill(pid, signal.SIGCONT if first else signal.SIGKILL)

    def _end(self, limit: Limit) -> None:
        self._limit = self._limit or limit
        self.stop()

    async def _gone(self) -> None:
        """Until the process has ended, by force when it takes too long."""
        process = self._running()
        await asyncio.wait([self._exited], timeout=_PATIENCE_S)
        if not self._exited.done():
            for pid in (*descendants(process.pid), process.pid):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            await self._exited

    async def _close(self) -> None:
        if self._process is not None:
            self.stop()
            await self._gone()
        for helper in self._helpers:
            helper.cancel()
        await asyncio.gather(*self._helpers, return_exceptions=True)
        for file in self._files:
            file.close()
        await self._remove_folder()

    async def _remove_folder(self) -> None:
        if self._folder is None:
            return
        # Programs, because a tree may be nested deeper than Python can recurse or keep files open.
        for command in (("rm", "-rf"), ("chmod", "-R", "u+rwx"), ("rm", "-rf")):
            try:
                os.rmdir(self._folder)
            except FileNotFoundError:
                return
            except OSError:
                remover = subprocess.Popen([*command, self._folder], stderr=subprocess.DEVNULL)  # noqa: ASYNC220
                await exit_of(remover)
            else:
                return

    async def _feed(self, stdin: IO[bytes]) -> None:
        loop = asyncio.get_running_loop()
        isolation, arguments = self._isolation, (self._config, self._uid, self._folder)
        if isolation.has_own_user or isolation.kind != "process limits":
            settings = isolation.settings(*arguments)
        else:  # reads all of the machine's processes
            settings = await asyncio.to_thread(isolation.settings, *arguments)
        transport, protocol = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, stdin)
        writer = asyncio.StreamWriter(transport, protocol, None, loop)
        try:
            writer.write(request_bytes({**self._request, "confine": settings}))
            await writer.drain()
        except ConnectionError:
            pass  # it ended first
        finally:
            writer.close()

    async def _read(self, file: IO[bytes], into: bytearray, limit: int) -> None:
        stream = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(stream), file
        )
        try:
            while part := await stream.read(2**16):  # to its end: a full pipe would hold up the process's end
                into += part[: max(0, limit + 1 - len(into))]
                if len(into) > limit:
                    self._end("output-limit")
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
        usage = usage_of(self._running().pid)
        if usage.cpu_s > self._config.cpu_s:
            return "timeout"
        if usage.memory_bytes > self._config.memory_mib * 2**20:
            return "memory"
        if self._isolation.kind != "process limits" or self._folder is None:
            return None  # its file system is bounded
        is_full = await asyncio.to_thread(folder_bytes, self._folder) > self._config.file_mib * 2**20
        return "output-limit" if is_full else None

    def _outcome(self, ended: float) -> Outcome:
        output = self._output[: self._config.output_kib * 1024].decode(errors="replace")
        report = bytes(self._report)
        if not self._is_stopping and self._token + BEGAN not in report:
            raise SandboxError(f"the sandbox ({self._isolation.name}) failed to start a program: {output.strip()}")
        return Outcome(self._limit, self._parse(report), self._ending(), output, self._is_stopping, ended)

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
        code = self._exited.result()
        number = -code if code < 0 else code - 128
        if number <= 0:
            return f"The program ended with status {code} before its result was there."
        try:
            name = signal.Signals(number).name
        except ValueError:
            name = f"signal {number}"
        return f"The program was killed by {name}."
