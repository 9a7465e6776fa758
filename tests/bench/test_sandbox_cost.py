"""The program on a few runs, and that a lost run fails it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import sandbox_cost
from bench.sandbox_cost import main, milliseconds
from lamas_local.sandbox import SandboxResult


def test_milliseconds() -> None:
    result = SandboxResult("ok", "42", "", "", asked=1.0, started=1.5, ended=1.75)
    assert milliseconds(result) == 250
    assert milliseconds(result, with_wait=True) == 750


def test_the_program(config_file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--num-runs", "3", "--repeats", "2", "--sandbox.max-runs", "2"]
    assert main(["--config", config_file, "--output", str(tmp_path), *flags]) == 0
    result = json.loads((tmp_path / "sandbox_cost" / "result.json").read_text())
    assert {"figures", "raw", "command", "environment", "config", "load_average_before"} <= result.keys()
    figures = result["figures"]
    assert (figures["num_lost"], figures["num_at_once"]) == (0, 2)
    assert 0 < figures["run_ms"]["median"] <= figures["run_with_wait_ms"]["median"]
    assert figures["run_ms"]["num_values"] == figures["check_ms"]["num_values"] == 6
    assert figures["is_target_met"] == (figures["run_ms"]["median"] < 60)
    assert [len(repeat) for repeat in result["raw"]["run_ms"]] == [3, 3]
    assert figures["isolation"] in capsys.readouterr().out


def test_a_lost_run_fails_it(
    config_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sandbox_cost, "PROGRAM", "def solve():\n    return 41\n")
    flags = ["--num-runs", "2", "--repeats", "1"]
    assert main(["--config", config_file, "--output", str(tmp_path), *flags]) == 1
    assert "4 runs were lost" in capsys.readouterr().err
    assert not json.loads((tmp_path / "sandbox_cost" / "result.json").read_text())["figures"]["is_target_met"]
