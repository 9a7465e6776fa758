"""A server as a process of its own: started, awaited, ended with everything it started."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from lamas_local.config import ConfigError

START_S = 300.0
END_S = 60.0


@dataclass(frozen=True, slots=True)
class Served:
    """A server that answers."""

    url: str
    process: subprocess.Popen[bytes]

    def memory_bytes(self) -> int:
        """Memory of it and its children: what each has for itself, plus what they share, counted once (PSS)."""
        root = psutil.Process(self.process.pid)
        total = 0
        for one in (root, *root.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                total += one.memory_full_info().pss
        return total


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as trial:
        return int(trial.getsockname()[1])


@contextmanager
def served(
    command: Sequence[str], port: int, ready_path: str, log: Path, stdout: Path | None = None
) -> Iterator[Served]:
    """Start `command`, which listens on `port`, and wait until `ready_path` answers 200; it writes to `log`.

    Raises:
        ConfigError: it ended, or was not ready in `START_S`; names its log.
    """
    url = f"http://127.0.0.1:{port}"
    with log.open("ab") as errors, (stdout or log).open("ab") as output:
        process = subprocess.Popen(command, stdout=output, stderr=errors, env={**os.environ})
    try:
        wait_until_ready(process, url + ready_path, log)
        yield Served(url, process)
    finally:
        end(process)


def wait_until_ready(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    """Raises ConfigError where it does not get ready."""
    ends = time.monotonic() + START_S
    while time.monotonic() < ends:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(url, timeout=5).status_code == 200:
                return
        if process.poll() is not None:
            break
        time.sleep(0.2)
    raise ConfigError(f"the server {process.args!r} did not get ready: see {log}")


def end(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM, then SIGKILL for whatever is left of it and of its children."""
    children = []
    with contextlib.suppress(psutil.Error):
        children = psutil.Process(process.pid).children(recursive=True)
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(END_S)
    for left in children:
        with contextlib.suppress(psutil.Error):
            left.kill()
    if process.poll() is None:
        process.kill()
    process.wait()


def our_command(run: Path, port: int, overrides: Sequence[str] = ()) -> list[str]:
    """`lamas-local serve` for a run folder."""
    serve = [sys.executable, "-m", "lamas_local.cli", "serve", "--run", str(run), "--port", str(port)]
    return [*serve, *overrides]


def vllm_command(arguments: Mapping[str, Any], port: int, name: str) -> list[str]:
    """vLLM's own server with the arguments of `AsyncEngineArgs`, which has a flag for each."""
    server = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--port", str(port)]
    return [*server, "--host", "127.0.0.1", "--served-model-name", name, *flags(arguments)]


def flags(arguments: Mapping[str, Any]) -> list[str]:
    """Arguments by name as flags; those that are None or already the server's default are left out."""
    words: list[str] = []
    for name, value in arguments.items():
        flag = name.replace("_", "-")
        if value is None or name in ("disable_log_stats", "use_tqdm_on_load"):
            continue
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            words += [f"--{flag}", str(value)]
    return words
