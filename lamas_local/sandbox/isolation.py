"""Which isolation this platform gives, and how a sandbox process is started in it."""

from __future__ import annotations

import importlib.util
import marshal
import math
import os
import platform
import re
import secrets
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from types import CodeType
from typing import Any, Literal

import psutil

from lamas_local.config import SandboxConfig
from lamas_local.sandbox import seccomp

Kind = Literal["bubblewrap", "namespaces", "process limits"]
KINDS: tuple[Kind, ...] = ("bubblewrap", "namespaces", "process limits")
"""Strongest first."""

_INSIDE = "lamas_local.sandbox.inside"
_MODULES = ("plain", "processes", "channel", "linux", "confine", "worker", "main")  # each after those it imports
_BOOT = f"""
import marshal, sys
sys.modules[{_INSIDE!r}] = package = type(sys)({_INSIDE!r})
modules, request = marshal.loads(sys.stdin.buffer.read())
for name, code in modules:
    module = sys.modules[{_INSIDE!r} + "." + name] = type(sys)(name)
    setattr(package, name, module)
    exec(code, module.__dict__)
module.main(request)
"""
_DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")
_INSIDE_FOLDER = "/tmp"
# A user of its own for each run, from a range that nothing else hands out; the smaller one is for containers that
# map only 2**16 users.
_USERS = (range(1_900_000_000, 1_900_000_000 + 2**28), range(60_100, 60_500))


@dataclass(frozen=True, slots=True)
class Isolation:
    """One way of isolating, with what of it works here."""

    kind: Kind
    has_own_user: bool
    """Each run is a user of its own; only root can give that."""
    has_landlock: bool
    """The kernel confines file access (for bubblewrap, the mounts do)."""
    has_filter: bool
    """System calls that a program does not need are forbidden."""

    @property
    def name(self) -> str:
        """For people and for the trace: `bubblewrap (own user, seccomp)`."""
        parts = {"own user": self.has_own_user, "Landlock": self.has_landlock, "seccomp": self.has_filter}
        present = ", ".join(part for part, is_there in parts.items() if is_there)
        return f"{self.kind} ({present})" if present else self.kind

    @property
    def is_strict(self) -> bool:
        """No file, no network, no process of the host is reachable, by a program made and reviewed for just that."""
        return self.kind == "bubblewrap"

    def new_user(self) -> int | None:
        """A user id for one run."""
        users = _mapped_users() if self.has_own_user else None
        return None if users is None else users[secrets.randbelow(len(users))]

    def settings(self, config: SandboxConfig, uid: int | None, folder: str | None) -> dict[str, Any]:
        """What the sandbox's processes do to confine themselves; see `inside.confine`."""
        is_bubblewrap = self.kind == "bubblewrap"
        readable = [] if is_bubblewrap or not self.has_landlock else list(_readable())
        return {
            "kind": self.kind,
            "is_linux": _is_linux(),
            "uid": uid,
            "folder": folder,
            "folder_bytes": config.file_mib * 2**20,
            "readable": readable,
            "devices": [device for device in _DEVICES if os.path.exists(device)],
            # Python may lie in a private home; Landlock then bounds what the right to pass folders is good for.
            "may_pass_folders": bool(readable) and not all(map(_is_public, readable)),
            "filter": b"" if is_bubblewrap else self.filter(),
            "pid_mark": seccomp.PID_MARK,
            "limits": _limits(config, self._num_counted() + config.num_processes),
        }

    def filter(self) -> bytes:
        """Its system call filter, empty where there is none."""
        if not self.has_filter:
            return b""
        return seccomp.system_call_filter(
            sees_host=self.kind != "bubblewrap",
            sees_processes=self.kind == "process limits",
            is_owner=self.kind != "bubblewrap" and not self.has_own_user,
        )

    def _num_counted(self) -> int:
        """Processes that the limit counts besides the run's own."""
        if self.has_own_user:
            return 0
        if self.kind != "process limits" and _kernel() >= (5, 14):
            return 1  # the sandbox's first process; the kernel counts in each user namespace
        return _num_threads_of_user()

    def command(self, config: SandboxConfig, filter_fd: int | None) -> list[str]:
        """The command line; it reads a request (`request_bytes`) from its standard input.

        Args:
            filter_fd: a pipe with the filter in it, for bubblewrap.
        """
        python = [_interpreter(), "-I", "-S", "-B", "-X", "utf8", "-c", _BOOT]
        if self.kind != "bubblewrap":
            return python
        bwrap = [shutil.which("bwrap") or "bwrap", "--die-with-parent", "--as-pid-1"]
        bwrap += ["--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"]
        bwrap += ["--cap-drop", "ALL"]
        # With real privileges the first process changes the user; the worker has no capability left.
        bwrap += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"] if self.has_own_user else ["--unshare-user"]
        for path in _readable():
            for folder in reversed(list(Path(path).parents)[:-1]):  # bubblewrap would copy a private home's mode
                bwrap += ["--perms", "0755", "--dir", str(folder)]
            target = os.path.realpath(path)
            # A link where the target is there too, as /lib often is to /usr/lib: each mount costs time.
            bwrap += ["--symlink", target, path] if path != target in _readable() else ["--ro-bind", path, path]
        for device in _DEVICES:
            bwrap += ["--dev-bind-try", device, device]
        bwrap += ["--perms", "1777", "--size", str(config.file_mib * 2**20), "--tmpfs", _INSIDE_FOLDER]
        bwrap += ["--remount-ro", "/", "--chdir", _INSIDE_FOLDER]
        if filter_fd is not None:
            bwrap += ["--seccomp", str(filter_fd)]
        return [*bwrap, "--", *python]


def environment(folder: str | None) -> dict[str, str]:
    """The program's whole environment."""
    return {
        "PATH": "/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "HOME": folder or _INSIDE_FOLDER,
        "TMPDIR": folder or _INSIDE_FOLDER,
        "MALLOC_ARENA_MAX": "1",  # each further one would reserve 64 MiB of the address space
    }


def request_bytes(request: dict[str, Any]) -> bytes:
    """The request with the code that handles it, for the standard input of `Isolation.command`."""
    # ctypes takes a while to import, and within bubblewrap nothing needs it.
    unused = "linux" if request["confine"]["kind"] == "bubblewrap" or not _is_linux() else None
    return marshal.dumps(([(name, code) for name, code in _modules() if name != unused], request))


def candidates(kind: Kind | None = None) -> Iterator[Isolation]:
    """What might work here, strongest first; only a try shows whether it does."""
    is_root = os.geteuid() == 0 if hasattr(os, "geteuid") else False
    own_user = [True, False] if is_root and _mapped_users() is not None else [False]
    has_landlock, has_filter = _landlock_version() > 0, _is_linux() and bool(seccomp.system_call_filter())
    for one in KINDS if kind is None else (kind,):
        if one == "bubblewrap" and shutil.which("bwrap") is None:
            continue
        if one == "namespaces" and not (has_landlock and has_filter):
            continue  # its mount namespace alone would still show all files and sockets
        filtered = [True] if one == "namespaces" else [True, False] if has_filter else [False]
        for has_own_user, is_filtered in product(own_user, filtered):
            yield Isolation(one, has_own_user, has_landlock and one != "bubblewrap", is_filtered)


def _limits(config: SandboxConfig, num_processes: int) -> dict[str, int]:
    limits = {
        "RLIMIT_CPU": math.ceil(config.cpu_s) + 1,  # the owner's watch is finer, and adds up all processes
        "RLIMIT_FSIZE": config.file_mib * 2**20,
        "RLIMIT_CORE": 0,
        "RLIMIT_NOFILE": 64,
        "RLIMIT_NPROC": num_processes,
    }
    if _is_linux():  # elsewhere refused, or without effect
        limits |= {"RLIMIT_AS": config.memory_mib * 2**20, "RLIMIT_MSGQUEUE": 0, "RLIMIT_RTPRIO": 0}
    return limits


def _is_linux() -> bool:
    return sys.platform.startswith("linux")


def _kernel() -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", platform.release())[:2]))


def _num_threads_of_user() -> int:
    """Threads of this user on the machine, which RLIMIT_NPROC counts."""
    uid, count = os.getuid(), 0
    for process in psutil.process_iter():
        try:
            count += process.num_threads() if process.uids().real == uid else 0
        except psutil.Error:
            continue
    return count


def _landlock_version() -> int:
    if not _is_linux():
        return 0
    from lamas_local.sandbox.inside.linux import landlock_version

    return landlock_version()


@cache
def _mapped_users() -> range | None:
    """User ids for runs that exist in this user namespace."""
    try:
        lines = [list(map(int, line.split())) for line in Path("/proc/self/uid_map").read_text().splitlines()]
    except OSError:
        return None
    for users in _USERS:
        if any(start <= users.start and users.stop <= start + count for start, _, count in lines):
            return users
    return None


@cache
def _interpreter() -> str:
    base = Path(sys.base_prefix, "bin", f"python{sys.version_info.major}.{sys.version_info.minor}")
    return os.path.realpath(base if base.exists() else sys.executable)


@cache
def _readable() -> tuple[str, ...]:
    """This Python and the shared libraries it needs."""
    paths = ["/usr/lib", "/usr/lib64", "/lib", "/lib64", "/nix/store"]
    prefix = os.path.realpath(sys.base_prefix)
    if prefix == "/usr":
        paths.append(_interpreter())
    else:
        paths += [sys.base_prefix, prefix, str(Path(_interpreter()).parent.parent)]
    return tuple(dict.fromkeys(path for path in paths if os.path.exists(path)))


@cache
def _is_public(path: str) -> bool:
    """Whether every folder on the way may be passed by any user."""
    return all(parent.stat().st_mode & 1 for parent in Path(os.path.realpath(path), "x").parents if parent.is_dir())


@cache
def _modules() -> list[tuple[str, CodeType]]:
    found: list[tuple[str, CodeType]] = []
    for name in _MODULES:
        full_name = f"{_INSIDE}.{name}"
        spec = importlib.util.find_spec(full_name)
        loader: Any = None if spec is None else spec.loader
        found.append((name, loader.get_code(full_name)))
    return found
