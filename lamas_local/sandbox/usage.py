"""What the processes of a run have used so far."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass

import psutil

from lamas_local.sandbox.inside.processes import descendants

_TICKS_PER_S = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
_COUNTED = ("RssAnon:", "RssShmem:")


@dataclass(frozen=True, slots=True)
class Usage:
    """Of a process and everything below it."""

    cpu_s: float
    """With what ended and waited-for children used."""
    memory_bytes: int
    """Resident memory that is no file's; pages shared after a fork count once for each process."""


def usage_of(pid: int) -> Usage:
    """What the process and its descendants use; zero when it is gone."""
    if not sys.platform.startswith("linux"):
        return _portable_usage(pid)
    cpu, memory = 0.0, 0
    for process in (pid, *descendants(pid)):
        try:
            with open(f"/proc/{process}/stat") as file:
                # After the name, which may hold anything: utime, stime, cutime, cstime are fields 14 to 17 of all.
                cpu += sum(map(int, file.read().rpartition(")")[2].split()[11:15]))
            with open(f"/proc/{process}/status") as file:
                memory += sum(int(line.split()[1]) * 1024 for line in file if line.startswith(_COUNTED))
        except OSError:  # gone meanwhile
            continue
    return Usage(cpu / _TICKS_PER_S, memory)


def _portable_usage(pid: int) -> Usage:
    cpu, memory = 0.0, 0
    try:
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            times = process.cpu_times()
            cpu += times.user + times.system
            memory += process.memory_info().rss
    except psutil.Error:
        pass
    return Usage(cpu, memory)


def folder_bytes(folder: str) -> int:
    """Disk space of all files below the folder."""
    total = 0
    for parent, _, names in os.walk(folder, onerror=None):
        for name in names:
            try:
                total += os.lstat(os.path.join(parent, name)).st_blocks * 512
            except OSError:
                continue
    return total
