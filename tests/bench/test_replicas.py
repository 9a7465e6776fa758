from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import replicas
from tests.serving.ray_engines import NEEDS_RAY

SMALL = ["--engine.kind", "simulated", "--engine.profile", "gpu-h100-8b", "--controller.encoder", "fake"]


@NEEDS_RAY
def test_throughput_of_one_and_of_two(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--repeats", "1", "--in-flight", "8", "--warm-up-s", "1", "--window-s", "2"]
    assert replicas.main(["--output", str(tmp_path), *arguments, *SMALL]) == 0
    result = json.loads((tmp_path / replicas.NAME / "result.json").read_text())
    (one,), (two,) = result["raw"]["1"], result["raw"]["2"]
    assert one["num_rollouts"] > 0
    assert one["num_failed"] == two["num_failed"] == 0
    assert set(one["replica_shares"]) == {"replica-0"}
    assert 0.3 < two["replica_shares"]["replica-1"] < 0.7
    assert result["config"]["engine"]["kind"] == "simulated"
    assert "2 replicas to 1" in capsys.readouterr().out


def test_only_a_simulated_engine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert replicas.main(["--output", str(tmp_path), "--engine.kind", "fake"]) == 2
    assert "engine.kind is 'fake'" in capsys.readouterr().err
