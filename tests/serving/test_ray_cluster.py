"""Clusters that a process starts, joins, leaves and loses; the processes are those of `tests.serving.ray_engines`."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from serving.ray_engine import start_ray_engine
from serving.types import EngineStartError
from tests.serving.ray_engines import NEEDS_RAY, actors, marked, open_fake, open_nothing, still_running

pytestmark = NEEDS_RAY

END_DEADLINE_S = 20.0


@contextmanager
def owner(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A process that owns replicas, once they answer."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.serving.ray_engines", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "RAY_AUTH_MODE": "token"},  # what a cluster of Ray's asks for, who joins must be told
        start_new_session=True,
        cwd=Path(__file__).parents[2],
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


def read(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def listening(process: psutil.Process) -> list[str]:
    """The addresses at which others may reach it."""
    found = process.net_connections("inet")
    return [one.laddr.ip for one in found if one.status == psutil.CONN_LISTEN]


def tell(process: subprocess.Popen[str], line: str) -> str:
    assert process.stdin is not None
    process.stdin.write(f"{line}\n")
    process.stdin.flush()
    return read(process)


def test_replicas_survive_ctrl_c_keep_to_the_loopback_interface_and_end_with_a_killed_owner() -> None:
    with owner() as process:
        assert read(process).startswith("127.0.0.")
        started = marked(psutil.Process(process.pid))
        assert {"raylet", "gcs_server"} <= {one.name() for one in started}
        assert {one.pid for one in actors(process.pid)} <= {one.pid for one in started}
        assert len(actors(process.pid)) == 2
        assert not [address for one in started for address in listening(one) if not address.endswith("127.0.0.1")]
        os.killpg(process.pid, signal.SIGINT)
        assert read(process) == "interrupted"
        assert tell(process, "answer") == "replica-0 replica-1"
        process.kill()
        _, alive = psutil.wait_procs(started, timeout=END_DEADLINE_S)
        assert not alive


def test_a_running_cluster_is_joined_and_left_as_it_was() -> None:
    with owner() as process:
        address = read(process)
        before = {one.pid for one in actors(process.pid)}
        with owner(address) as guest:
            assert read(guest) == address
            assert tell(guest, "answer") == "replica-0 replica-1"
            guests = [one for one in actors(process.pid) if one.pid not in before]
            assert len(guests) == 2
            guest.kill()
            _, alive = psutil.wait_procs(guests, timeout=END_DEADLINE_S)
            assert not alive
        assert tell(process, "answer") == "replica-0 replica-1"
        assert tell(process, "close") == "closed"
        assert marked(psutil.Process(process.pid)) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"open_engine": open_nothing}, "no such model"),
        ({"address": "127.0.0.1:1"}, r"engine\.address '127\.0\.0\.1:1': nothing answers there"),
    ],
)
def test_what_cannot_start_says_why_and_leaves_nothing(changes: dict[str, object], message: str) -> None:
    arguments: dict[str, object] = {"open_engine": open_fake, "num_replicas": 1, "address": "local"} | changes
    arguments |= {"cpus_per_replica": 0.5, "gpus_per_replica": 0}
    before = psutil.Process().children(recursive=True)
    with pytest.raises(EngineStartError, match=message):
        asyncio.run(start_ray_engine(**arguments))  # type: ignore[arg-type]
    assert set(still_running(psutil.Process().children(recursive=True))) <= set(before)
