"""A run folder: what it is given, what it forgets, and what a killed writer leaves in it."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from lamas_local.config import ConfigError
from lamas_local.run_folder import RunFolder, describe_environment, write_atomically
from lamas_local.trace import Failure, read_traces
from tests.lamas_local.builders import layer, make_config, operator, request, tool, trace


def test_a_new_folder_holds_its_config_and_its_machine(tmp_path: Path) -> None:
    folder, config = RunFolder(tmp_path / "a" / "b"), make_config(tmp_path / "a" / "b", seed=5)
    folder.create(config, resume=False, restart=False)
    assert folder.load_config() == config
    environment = json.loads((folder.path / "environment.json").read_text())
    assert environment["num_cpus"] == os.cpu_count()
    assert {"commit", "platform", "memory_gib", "python", "versions"} <= environment.keys()
    assert "torch" in describe_environment()["versions"]


def test_a_stored_config_is_what_the_run_was_started_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RunFolder(tmp_path)
    folder.create(make_config(tmp_path, seed=5), resume=False, restart=False)
    monkeypatch.setenv("LAMAS_SEED", "6")
    assert folder.load_config().seed == 5


def test_a_run_is_neither_overwritten_nor_made_up(tmp_path: Path) -> None:
    folder, config = RunFolder(tmp_path / "run"), make_config(tmp_path / "run")
    with pytest.raises(ConfigError, match=r"--resume: .* holds no run"):
        folder.create(config, resume=True, restart=False)
    assert not folder.path.exists()
    with pytest.raises(ConfigError, match="not a run folder"):
        folder.load_config()
    folder.create(config, resume=False, restart=False)
    folder.append_metrics({"step": 1})
    with pytest.raises(ConfigError, match="holds a run already: --resume continues it, --restart replaces it"):
        folder.create(config, resume=False, restart=False)
    folder.create(config, resume=True, restart=False)
    assert folder.metrics.exists()
    folder.create(config, resume=False, restart=True)
    assert not folder.metrics.exists()


def test_a_trace_comes_back_as_it_was(tmp_path: Path) -> None:
    text = 'line\u2028break\r\n \\boxed{-2} "{0}" \x00 ünï 🙂'
    rollouts = [
        trace(layer(operator((request(3, text=text), request(4)), tool(0.5, "timeout"))), layer()),
        trace(failure=Failure("EngineError", text), mode="sequential"),
        trace(layer(operator(1)), score=0.0),
    ]
    folder = RunFolder(tmp_path)
    folder.append_traces(rollouts[:1])
    folder.append_traces(rollouts[1:])
    assert read_traces(folder.traces) == rollouts
    assert len(folder.traces.read_bytes().splitlines()) == 3


def test_rewinding_forgets_what_came_after_and_keeps_evaluations(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    for step in (1, 2, 3):
        folder.append_metrics({"step": step})
        folder.append_traces([trace(layer(operator(step)), step=step)])
    folder.append_traces([trace(layer(operator(9)), policy="trained", step=3)])
    folder.rewind(1)
    assert [json.loads(line)["step"] for line in folder.metrics.read_text().splitlines()] == [1]
    assert [(kept.policy, kept.step) for kept in read_traces(folder.traces)] == [("train", 1), ("trained", 3)]
    folder.rewind(0)
    assert folder.metrics.read_text() == ""


def test_rewinding_an_empty_folder_is_nothing(tmp_path: Path) -> None:
    RunFolder(tmp_path).rewind(3)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("num_bytes", [1, 30, -1])
def test_a_line_cut_short_by_a_killed_writer_is_no_line(tmp_path: Path, num_bytes: int) -> None:
    folder, whole = RunFolder(tmp_path), trace(layer(operator(1)), query_id="ünï")
    folder.append_traces([whole, whole])
    folder.append_metrics({"step": 1})
    folder.append_metrics({"step": 2, "ünï": 3})
    first, second = folder.traces.read_bytes().splitlines(keepends=True)
    folder.traces.write_bytes(first + second[:num_bytes])
    first, second = folder.metrics.read_bytes().splitlines(keepends=True)
    folder.metrics.write_bytes(first + second[: min(num_bytes, 10)])
    folder.rewind(5)
    assert read_traces(folder.traces) == [whole]
    folder.append_traces([whole])
    assert len(read_traces(folder.traces)) == 2
    folder.append_metrics({"step": 2})
    assert [json.loads(line)["step"] for line in folder.metrics.read_text().splitlines()] == [1, 2]


def test_writing_atomically_replaces_the_whole_file_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "summary.json"
    write_atomically(path, b"old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("lamas_local.run_folder.os.fsync", full)
        with pytest.raises(OSError, match="No space"):
            write_atomically(path, b"newer")
    assert [file.name for file in tmp_path.iterdir()] == ["summary.json"]
    assert path.read_bytes() == b"old"
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
