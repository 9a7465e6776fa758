from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import scale_out
from bench.scale_out import main, needed

ARGUMENTS = ["--controller.encoder", "fake", "--engine.kind", "simulated", "--engine.profile", "gpu-h100-8b"]


def test_a_core_is_planned_to_be_four_fifths_busy() -> None:
    assert [needed(rate, 0.002) for rate in (1, 400, 401, 4000)] == [1, 1, 2, 10]


def test_one_orchestrator_is_the_limit_and_enough_of_them_are_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scale_out, "FULL", 32)
    monkeypatch.setattr(scale_out, "NUM_FULL", 64)
    monkeypatch.setattr(scale_out, "SHARES", (0.5,))
    arguments = ["--replicas", "1", "2", "--cpu-ms", "200", "--sampling.max-tokens", "300", "--output", str(tmp_path)]
    assert main([*arguments, *ARGUMENTS]) == 0
    figures = json.loads((tmp_path / "scale_out" / "result.json").read_text())["figures"]
    cells = {(cell["num_replicas"], cell["num_orchestrators"] == 1): cell for cell in figures["cells"]}
    assert cells[2, True]["finished_per_s"] == pytest.approx(5, rel=0.1)
    assert cells[2, True]["p50_s"] is None
    assert cells[2, False]["finished_per_s"] == pytest.approx(cells[2, False]["arrivals_per_s"], rel=0.3)
    assert 0.2 < cells[2, False]["p50_s"] < cells[2, False]["p95_s"]
    assert (tmp_path / "scale_out" / "scale_out.png").stat().st_size > 1000
    assert "grows" in capsys.readouterr().out


def test_a_real_engine_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--cpu-ms", "2", "--output", str(tmp_path)]) == 2
    assert "engine.kind is 'vllm'" in capsys.readouterr().err
