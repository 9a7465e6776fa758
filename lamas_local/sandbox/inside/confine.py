"""Confines the sandbox's processes from within, by settings that the owner has found to work (see `isolation`).

Bubblewrap has done most of it before Python starts; without it, the first process does it here.
"""

from __future__ import annotations

import os
import resource
import time

from lamas_local.sandbox.inside.processes import descendants

TYPE_CHECKING = False  # typing takes longer to import than the rest together
if TYPE_CHECKING:
    from typing import Any

_LAST_SIGHT_S = 2.0
"""How long to go on killing what does not die."""


def before_fork(settings: dict[str, Any], fds: list[int]) -> None:
    """Make this the process that the worker's orphans fall to; `fds` are for the worker only."""
    if settings["kind"] == "bubblewrap" or not settings["is_linux"]:
        return
    import signal

    from lamas_local.sandbox.inside import linux

    if settings["kind"] == "namespaces":
        is_root = settings["uid"] is not None
        flags = linux.CLONE_NEWNS | linux.CLONE_NEWIPC | linux.CLONE_NEWPID | linux.CLONE_NEWNET
        linux.unshare(flags if is_root else flags | linux.CLONE_NEWUSER)
        linux.die_with_parent(signal.SIGKILL)
        first = os.fork()
        if first:
            leave(settings, first, fds)
        linux.die_with_parent(signal.SIGKILL)
        linux.mount_memory(settings["folder"], settings["folder_bytes"], settings["uid"] if is_root else os.getuid())
    else:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGCHLD})
        linux.adopt_orphans()
        linux.die_with_parent(signal.SIGTERM)


def after_fork(settings: dict[str, Any]) -> None:
    """Confine the worker: from here on nothing is undone."""
    uid, kind = settings["uid"], settings["kind"]
    os.setsid()  # a signal to the worker's group must not reach the processes that watch it
    for name, limit in settings["limits"].items():
        number = getattr(resource, name, None)
        if number is not None:
            _, hard = resource.getrlimit(number)
            lower = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
            resource.setrlimit(number, (lower, lower))
    if kind == "bubblewrap":
        if uid is not None:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
        return
    os.chdir(settings["folder"])
    if not settings["is_linux"]:
        return
    import signal

    from lamas_local.sandbox.inside import linux

    signal.pthread_sigmask(signal.SIG_SETMASK, set())
    readable = settings["readable"]
    landlock = linux.Landlock(readable, settings["devices"], settings["folder"]) if readable else None
    if uid is not None:
        linux.become(uid, linux.CAP_DAC_READ_SEARCH if settings["may_pass_folders"] else 0)
    else:
        linux.set_capabilities(0)
    linux.forbid_new_privileges()
    if landlock is not None:
        landlock.enforce()
    if settings["filter"]:
        mark, own = settings["pid_mark"], os.getpid()
        linux.filter_system_calls(settings["filter"].replace(mark, own.to_bytes(4, "little")))


def leave(settings: dict[str, Any], child: int, fds: list[int]) -> None:
    """Wait for the child, end what it leaves behind, and end with its status: 128 + N when signal N killed it."""
    for fd in fds:
        os.close(fd)
    status = _wait_and_kill(child) if settings["kind"] == "process limits" and settings["is_linux"] else _wait(child)
    os._exit(os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status))


def _wait(child: int) -> int:
    # The first process of a namespace adopts its orphans; they end when it does.
    while True:
        pid, status = os.wait()
        if pid == child:
            return status


def _wait_and_kill(child: int) -> int:
    import signal

    status = None
    while status is None:
        if signal.sigwait({signal.SIGTERM, signal.SIGCHLD}) == signal.SIGTERM:
            break  # the owner says so, or is gone
        status = _reap(child)
    deadline = time.monotonic() + _LAST_SIGHT_S
    while (left := set(descendants(os.getpid()))) and time.monotonic() < deadline:
        stopped: set[int] = set()
        while new := left - stopped:  # first stop them all, so that none forks while others are killed
            for pid in new:
                _send(pid, signal.SIGSTOP)
            stopped |= new
            left = set(descendants(os.getpid()))
        for pid in stopped:
            _send(pid, signal.SIGKILL)
        time.sleep(0.001)
        reaped = _reap(child)
        status = reaped if status is None else status
    return signal.SIGKILL if status is None else status


def _reap(child: int) -> int | None:
    found = None
    try:
        while (reaped := os.waitpid(-1, os.WNOHANG))[0]:
            if reaped[0] == child:
                found = reaped[1]
    except ChildProcessError:
        pass
    return found


def _send(pid: int, signal: int) -> None:
    try:  # noqa: SIM105, contextlib takes longer to import than all this
        os.kill(pid, signal)
    except ProcessLookupError:
        pass
