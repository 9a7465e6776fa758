"""A Ray cluster as this process sees it: one that it starts and ends, or a running one that it joins and leaves.

Everything of a cluster of our own carries the mark of a watchdog, which ends it however this process went.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import shutil
import tempfile
from collections.abc import Mapping
from typing import Any

from serving.types import EngineStartError
from serving.watchdog import Watchdog

LOCAL = "local"
CONNECT_S = 5.0
OBJECT_STORE_BYTES = 100 * 2**20
"""Ray takes 30% of the memory by default; requests and completions are far too small to get there."""
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",  # what the cluster would print here: a page on standard output for a lost replica
    "RAY_DISABLE_FAILURE_SIGNAL_HANDLER": "1",  # it takes SIGTERM from whoever owns this process, and aborts
    "RAY_USE_UVLOOP": "0",  # its clock is whole milliseconds, and as old as the loop's turn
}
"""Defaults for Ray's environment; what the user has set wins. Ray reads some of them when imported."""
LOOPBACK_ENVIRONMENT = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""For a cluster of our own, which then listens on the loopback interface only, on every platform; and for joining such
a one, which Ray would look for at the machine's address in the network."""


class RayCluster:
    """Opened by `RayCluster.open`; a process has at most one."""

    def __init__(self, watchdog: Watchdog | None, folder: str | None) -> None:
        """Use `RayCluster.open`."""
        self._watchdog = watchdog
        self._folder = folder

    @classmethod
    async def open(cls, address: str, *, num_cpus: float) -> RayCluster:
        """Start a cluster on this machine (about 5 s), or join a running one.

        Args:
            address: `local` starts one with this machine's GPUs; `auto` or `HOST:PORT` joins.
            num_cpus: what a local one offers, whether this machine has them or not.

        Raises:
            EngineStartError: Ray is not installed or already in use here, or the cluster does not answer.
        """
        for name, value in (ENVIRONMENT | (LOOPBACK_ENVIRONMENT if _is_loopback(address) else {})).items():
            os.environ.setdefault(name, value)
        try:
            import ray
        except ImportError as error:
            raise EngineStartError(f"Ray cannot be imported ({error}): install the extra [ray]") from error
        logging.getLogger("ray").setLevel(logging.ERROR)
        if ray.is_initialized():
            raise EngineStartError("this process has a Ray cluster already, and it can have only one: close that first")
        if ":" in address:
            await _check_reachable(address)
        watchdog, folder = (_new_watchdog(), _new_folder()) if address == LOCAL else (None, None)
        cluster = cls(watchdog, folder)
        connecting = asyncio.ensure_future(asyncio.to_thread(cluster._connect, address, num_cpus))
        try:
            await asyncio.shield(connecting)
        except BaseException as error:
            await asyncio.wait({connecting})
            await cluster.close()
            if isinstance(error, Exception):
                raise EngineStartError(f"engine.address {address!r}: Ray says {_first_line(error)}") from error
            raise
        return cluster

    def _connect(self, address: str, num_cpus: float) -> None:
        import ray

        quiet: dict[str, Any] = {"log_to_driver": False, "configure_logging": False, "logging_level": "error"}
        if self._watchdog is None:
            ray.init(address=address, **quiet)
            return
        with self._watchdog.marked():
            ray.init(
                address=LOCAL,
                num_cpus=max(math.ceil(num_cpus), 1),
                include_dashboard=False,
                object_store_memory=OBJECT_STORE_BYTES,
                _temp_dir=self._folder,
                **quiet,
            )

    def resources(self) -> Mapping[str, float]:
        """What all nodes have together, by Ray's names: `CPU`, `GPU`."""
        import ray

        found: dict[str, float] = ray.cluster_resources()
        return found

    async def close(self) -> None:
        """Leave the cluster; one of our own is ended, and returned from when all its processes are gone."""
        import ray

        await asyncio.to_thread(ray.shutdown)
        if self._watchdog is not None:
            await asyncio.to_thread(self._watchdog.close)
        if self._folder is not None:
            await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)


def _is_loopback(address: str) -> bool:
    return address == LOCAL or address.startswith(("127.0.0.1:", "localhost:"))


async def _check_reachable(address: str) -> None:
    """Ray itself would try for a minute, and then end this process."""
    host, _, port = address.rpartition(":")
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(host, int(port)), CONNECT_S)
    except (OSError, ValueError, asyncio.TimeoutError) as error:
        raise EngineStartError(f"engine.address {address!r}: nothing answers there ({_first_line(error)})") from error
    writer.close()


def _new_watchdog() -> Watchdog:
    try:
        return Watchdog()
    except OSError as error:
        raise EngineStartError(str(error)) from error


def _new_folder() -> str:
    """Where Ray keeps its sockets: their paths may have 107 characters, of which Ray needs about 70."""
    return tempfile.mkdtemp(prefix="ray-", dir="/tmp" if os.path.isdir("/tmp") else None)


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
