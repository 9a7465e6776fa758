from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.scaling import Cost, Level, judge, main
from bench.spread import spread
from lamas_local.config import Config

ARGUMENTS = ["--controller.encoder", "fake", "--engine.kind", "simulated"]


def level(in_flight: int, cpu_ms: float, peak_mib: float) -> Level:
    return Level(in_flight, spread([cpu_ms]), spread([peak_mib]))


def cost(num_queries: int, wall_s: float) -> Cost:
    return Cost(num_queries, 1.0, wall_s, 100.0, 1.0, 0.5)


def test_targets_are_judged_where_they_were_measured() -> None:
    good = judge([level(10, 3.0, 500), level(10_000, 5.9, 2000)], cost(10_000, 119))
    assert good["cpu_ratio"] == pytest.approx(5.9 / 3)
    assert [good[key] for key in good if key.startswith("is")] == [True] * 3
    bad = judge([level(10, 3.0, 500), level(10_000, 6.1, 2100)], cost(10_000, 121))
    assert [bad[key] for key in bad if key.startswith("is")] == [False] * 3
    none = judge([level(10, 3.0, 500)], cost(100, 1))
    assert [none[key] for key in none if key.startswith("is")] == [None] * 3


def in_this_process(function: Callable[[Config, int], Cost], config: Config, number: int) -> Cost:
    return function(config, number)


def test_a_small_measurement_leaves_a_result_and_a_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.scaling.in_a_process", in_this_process)
    monkeypatch.setattr("bench.scaling.MIN_QUERIES", 30)
    small = ["--levels", "20", "--repeats", "1", "--num-queries", "5", "--output", str(tmp_path)]
    assert main([*small, *ARGUMENTS]) == 0
    result = json.loads((tmp_path / "scaling" / "result.json").read_text())
    [found] = result["raw"]["20"]
    assert found["num_queries"] == 40
    assert found["simulated_s"] > found["wall_s"]
    assert result["figures"]["whole"]["num_queries"] == 5
    assert (tmp_path / "scaling" / "scaling.png").stat().st_size > 1000
    assert "A training of 5 queries" in capsys.readouterr().out


def test_a_real_engine_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--output", str(tmp_path)]) == 2
    assert "engine.kind is 'vllm'" in capsys.readouterr().err
