"""The program on a fake engine, its order of levels, and its verdicts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench.predictors import COUNTS, Level
from bench.proxy_vs_wallclock import NUM_ROUNDS, in_turn, judge, main
from bench.scatter import draw_scatter
from lamas_local.calibration import is_held_out
from lamas_local.trace import read_traces
from serving.fake_engine import FakeEngine
from serving.types import EngineError


def level(concurrency: int, calibrated: float | None, one_slope: float | None = 1.0, own: float = 1.0) -> Level:
    figures: dict[str, Any] = dict.fromkeys(Level.__dataclass_fields__)
    figures |= {"calibrated_mape": calibrated, "one_slope_mape": one_slope, "level_slope_mape": own}
    return Level(**figures | {"concurrency": concurrency, "num_rollouts": 9, "num_held_out": 4})


def test_verdicts_by_hand() -> None:
    met = [level(1, 0.15, 0.2), level(4, 0.1, 0.2, own=0.19), level(8, 0.05)]
    assert judge(met) == {
        "is_mape_target_met": True, "is_share_target_met": True, "is_share_of_level_slope_met": False,
    }  # fmt: skip
    assert judge([*met, level(16, 0.16)])["is_mape_target_met"] is False
    assert judge([*met, level(16, 0.11, 0.2)])["is_share_target_met"] is False
    assert judge([*met, level(16, None)]) == dict.fromkeys(judge(met))


def test_levels_run_in_both_orders() -> None:
    assert [in_turn(3, round_) for round_ in range(NUM_ROUNDS)] == [[0, 1, 2], [2, 1, 0]]


def read_result(folder: Path) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((folder / "proxy_vs_wallclock" / "result.json").read_text())
    return result


def test_the_program(config_file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--concurrency", "3", "1", "--num-rollouts", "10", "--sampling.max-tokens", "32"]
    assert main(["--config", config_file, "--output", str(tmp_path), *flags]) == 0
    folder = tmp_path / "proxy_vs_wallclock"
    result = read_result(tmp_path)
    assert {"figures", "raw", "command", "environment", "config", "load_average_before"} <= result.keys()
    assert result["config"]["sampling"]["max_tokens"] == 32
    figures, rollouts = result["figures"], result["raw"]["rollouts"]
    assert [one["concurrency"] for one in figures["levels"]] == [1, 3]
    assert [one["num_rollouts"] for one in figures["levels"]] == [10, 10]
    assert len({one["query_id"] for one in rollouts}) == len(rollouts) == 20, "a query each"
    assert all(one["is_held_out"] == is_held_out(one["query_id"]) for one in rollouts)
    for found in figures["levels"]:
        mine = [one for one in rollouts if one["concurrency"] == found["concurrency"] and one["is_held_out"]]
        assert found["num_held_out"] == len(mine)
        errors = [abs(one["calibrated_s"] - one["seconds"]) / one["seconds"] for one in mine]
        assert found["calibrated_mape"] == pytest.approx(sum(errors) / len(errors))
        slope = figures["predictors"]["slope_s_per_token"]
        errors = [abs(slope * one["cp_tokens"] - one["seconds"]) / one["seconds"] for one in mine]
        assert found["one_slope_mape"] == pytest.approx(sum(errors) / len(errors))
    assert figures["predictors"]["model"].keys() >= {"step_s", "running_s", "prefill_token_s"}
    assert figures["regression"]["alone"].keys() == set(COUNTS)
    assert figures["regression"]["num_rollouts"] == 20
    assert len(read_traces(folder / "traces.jsonl")) == 20
    assert (folder / "scatter.png").read_bytes().startswith(b"\x89PNG")
    output = capsys.readouterr().out
    assert "target m" in output
    assert "R2 alone" in output


def test_no_more_than_the_level_at_once(config_file: str, tmp_path: Path) -> None:
    flags = ["--concurrency", "2", "--num-rollouts", "12", "--output", str(tmp_path)]
    assert main(["--config", config_file, *flags]) == 0
    traces = read_traces(tmp_path / "proxy_vs_wallclock" / "traces.jsonl")
    for one in traces:
        assert sum(other.started <= one.started < other.ended for other in traces) <= 2


def test_a_failed_rollout_fails_the_run(
    config_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failing = FakeEngine(fail=lambda request: EngineError("no luck"))
    monkeypatch.setattr(FakeEngine, "generate", failing.generate)
    flags = ["--concurrency", "1", "--num-rollouts", "10", "--output", str(tmp_path)]
    assert main(["--config", config_file, *flags]) == 1
    assert "10 of 10 rollouts failed, the first with EngineError: no luck" in capsys.readouterr().err
    assert read_result(tmp_path)["figures"] == {"num_failed_rollouts": 10}


def test_too_few_to_fit_to_is_bad_input(
    config_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("bench.proxy_vs_wallclock.is_held_out", lambda query_id: True)
    flags = ["--concurrency", "1", "--num-rollouts", "3", "--output", str(tmp_path)]
    assert main(["--config", config_file, *flags]) == 2
    assert "3 test queries are too few" in capsys.readouterr().err


def test_a_test_split_that_is_too_small_is_bad_input(
    config_file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = '{"kind": "python", "target": "configs.examples.trivia:Trivia"}'
    flags = ["--task", task, "--evaluation.num-queries", "10", "--num-rollouts", "60"]
    assert main(["--config", config_file, "--output", str(tmp_path), *flags]) == 2
    error = capsys.readouterr().err
    assert "300 test queries are needed" in error
    assert "'python' has 10" in error


@pytest.mark.parametrize("points", [[(1.0, 2.0, 4), (3.0, 0.0, 1)], []])
def test_a_picture_whatever_there_is_to_see(tmp_path: Path, points: list[tuple[float, float, int]]) -> None:
    draw_scatter(tmp_path / "a.png", {"one": points, "other": points})
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
