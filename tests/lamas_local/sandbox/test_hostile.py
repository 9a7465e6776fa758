"""None of the hostile programs harms anything, on any isolation; each ends with the right status in time."""

from __future__ import annotations

import asyncio
import ctypes
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from lamas_local.sandbox import Sandbox
from lamas_local.sandbox.isolation import Kind
from tests.lamas_local.sandbox.conftest import LIMITS
from tests.lamas_local.sandbox.hostile import HOSTILE, Hostile

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the isolation is Linux's")
SECRET_NAME = "LAMAS_CANARY"
_PR_SET_CHILD_SUBREAPER = 36


def slack_s() -> float:
    """A second on top of the limit; more on a busy machine, where the killed wait for a processor to die on."""
    return max(1.0, 2 * os.getloadavg()[0] / (os.cpu_count() or 1))


@dataclass(frozen=True)
class Host:
    """What the programs try to reach."""

    folder: Path
    canary: Path
    secret: str
    sleeper: subprocess.Popen[bytes]
    listeners: tuple[socket.socket, ...]
    temporary: Path

    def names(self) -> str:
        tcp, unix, abstract = (listener.getsockname() for listener in self.listeners)
        values = {
            "CANARY": str(self.canary),
            "FOLDER": str(self.folder),
            "SECRET_NAME": SECRET_NAME,
            "OWNER": os.getpid(),
            "SLEEPER": self.sleeper.pid,
            "PORT": tcp[1],
            "SOCKET": unix,
            "ABSTRACT": abstract,
        }
        return "".join(f"{name} = {value!r}\n" for name, value in values.items())


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    """Harmless things with nothing but the sandbox between them and everybody."""
    folder = Path(tempfile.mkdtemp(prefix="lamas-canary-"))
    temporary = folder / "tmp"
    temporary.mkdir()
    canary, secret = folder / "canary", secrets.token_hex()
    canary.write_text(secret)
    tcp, unix, abstract = socket.create_server(("127.0.0.1", 0)), socket.socket(socket.AF_UNIX), socket.socket(1)
    unix.bind(str(folder / "socket"))
    abstract.bind(f"\0lamas-{secrets.token_hex(8)}")
    for listener in (unix, abstract):
        listener.listen()
    for path, mode in ((canary, 0o666), (folder / "socket", 0o777), (folder, 0o777), (temporary, 0o711)):
        path.chmod(mode)
    sleeper = subprocess.Popen(["sleep", "600"])
    try:
        yield Host(folder, canary, secret, sleeper, (tcp, unix, abstract), temporary)
    finally:
        sleeper.kill()
        sleeper.wait()
        for listener in (tcp, unix, abstract):
            listener.close()
        shutil.rmtree(folder)


@pytest.fixture
def orphans_come_here() -> Iterator[None]:
    """Whatever a run leaves behind becomes a child of this process, where the test sees it."""
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    yield
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


@pytest.mark.usefixtures("orphans_come_here")
@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda hostile: hostile.name)
async def test_no_harm(hostile: Hostile, kind: Kind, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SECRET_NAME, host.secret)
    monkeypatch.setattr(tempfile, "tempdir", str(host.temporary))
    is_endless = hostile.expected(kind) == {"timeout"}
    sandbox = Sandbox(LIMITS.model_copy(update={"wall_s": 1.5 if is_endless else 10.0}), kind)
    before = set(psutil.Process().children(recursive=True))
    files_before = snapshot(host)

    result = await sandbox.run(host.names() + hostile.code, hostile.function)
    left = set(psutil.Process().children(recursive=True)) - before

    assert result.status in hostile.expected(kind), result
    assert result.ended - result.started < sandbox.config.wall_s + slack_s()
    assert result.value is None
    assert "HARM" not in result.output, result
    assert host.secret not in result.output
    assert len(result.output.encode()) <= sandbox.config.output_kib * 1024 + 3  # a cut character becomes three bytes
    assert not left
    assert host.sleeper.poll() is None
    assert os.getpriority(os.PRIO_PROCESS, host.sleeper.pid) == os.getpriority(os.PRIO_PROCESS, 0)
    assert os.sched_getaffinity(host.sleeper.pid) == os.sched_getaffinity(0)
    assert snapshot(host) == files_before
    assert host.canary.read_text() == host.secret
    for listener in host.listeners:
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()


def snapshot(host: Host) -> dict[str, tuple[int, int, int, float]]:
    """Everything in the host's folder: size, rights, links, time of change."""
    return {
        str(path): (status.st_size, status.st_mode, status.st_nlink, status.st_mtime)
        for path in host.folder.rglob("*")
        if path != host.temporary  # its time changes as runs' folders come and go
        for status in [path.lstat()]
    }


def test_there_are_enough() -> None:
    names = [hostile.name for hostile in HOSTILE]
    assert len(set(names)) == len(names) >= 40


async def test_runs_end_soon_when_all_are_hostile(kind: Kind) -> None:
    """Many at once, each with more children than it may have."""
    sandbox = Sandbox(LIMITS.model_copy(update={"wall_s": 1.5}), kind)
    bomb = next(hostile.code for hostile in HOSTILE if hostile.name == "fork bomb that goes on")
    began = time.monotonic()
    results = await asyncio.gather(*(sandbox.run(bomb) for _ in range(4)))
    assert {result.status for result in results} == {"timeout"}
    assert time.monotonic() - began < sandbox.config.wall_s + slack_s()
