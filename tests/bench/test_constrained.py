"""The program on a fake engine, its goals, and what counts as near."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from bench.constrained import is_near, main
from bench.goal import Goal
from lamas_local.config import Config, ConfigError

ROOT = Path(__file__).parents[2]


def test_the_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    settings = yaml.safe_load((ROOT / "configs/constrained.yaml").read_text())
    settings["engine"] = {"kind": "fake", "max_model_len": 4096}
    settings["controller"] = {"encoder": "fake"}
    settings["seed"] = 7
    settings["trainer"] |= {"num_steps": 2, "queries_per_step": 2}
    settings["evaluation"] |= {"num_queries": 4}
    settings["latency"] = {"signal": "tokens"}
    file = tmp_path / "constrained.yaml"
    file.write_text(yaml.safe_dump(settings))
    monkeypatch.chdir(ROOT)
    asked = ["--mean-budgets", "2.5", "100", "--p95-budgets", "100", "--floors"]
    flags = ["--config", str(file), "--output", str(tmp_path), "--num-seeds", "2", "--jobs", "1"]
    assert main([*flags, *asked]) == 0
    result = json.loads((tmp_path / "constrained" / "result.json").read_text())
    goals = result["figures"]["goals"]
    assert [(goal["goal"], goal["setting"]) for goal in goals] == [
        ("mean seconds", 2.5),
        ("mean seconds", 100.0),
        ("p95 seconds", 100.0),
    ]
    assert [goal["num_kept"] for goal in goals[1:]] == [2, 2], "slack budgets are kept"
    assert [goal["num_within_tolerance"] for goal in goals[1:]] == [0, 0], "and not reached"
    landings = result["raw"]["landings"]
    assert [one["seed"] for one in landings] == [7, 8] * 3
    assert goals[0]["ratio_mean"] == pytest.approx(sum(one["reached"] for one in landings[:2]) / 2 / 2.5)
    assert (tmp_path / "constrained" / "constrained.png").stat().st_size > 1000
    assert "constraints" in capsys.readouterr().out


def test_a_goal_replaces_the_configurations_own() -> None:
    config = Goal.budget("p95", 2.0).config(Config(), 5)
    assert (config.seed, config.objective.latency_budget_s, config.objective.latency_budget_statistic) == (
        5,
        2.0,
        "p95",
    )
    config = Goal.floor(0.9).config(config, 6)
    assert (config.objective.kind, config.objective.latency_budget_s) == ("score_floor", None)
    assert config.objective.score_floor_share == 0.9


def test_no_goal_at_all() -> None:
    with pytest.raises(ConfigError, match="mean seconds: Input should be greater than 0, got 0"):
        Goal.budget("mean", 0.0).config(Config(), 0)


def test_near_is_on_either_side() -> None:
    assert is_near(0.91)
    assert is_near(1.09)
    assert not is_near(0.89)
    assert not is_near(1.11)
