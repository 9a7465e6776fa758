"""The published objectives as data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lamas_local.baselines import BASELINES, POLICIES, baseline_config, baseline_runs
from lamas_local.config_loader import dump_config, load_config
from tests.lamas_local.builders import make_config

CONFIG = make_config(
    latency={"signal": "measured", "tokens_per_second": 9.0},
    objective={"credit": "slack", "latency_weight": 0.03, "cost_weight": 1.0},
    trainer={"baseline": "leave_one_out", "learning_rate": 0.1},
)


def test_maas_is_the_run_itself_without_a_latency_penalty() -> None:
    config = baseline_config(CONFIG, "maas", Path("runs/x/maas"))
    objective = CONFIG.objective.model_copy(update={"credit": "none"})
    assert config == CONFIG.model_copy(update={"run_dir": Path("runs/x/maas"), "objective": objective})


def test_lamas_has_the_papers_settings_whatever_the_run_has() -> None:
    config = baseline_config(CONFIG, "lamas", Path("runs/x/lamas"))
    assert (config.latency.signal, config.latency.tokens_per_second) == ("tokens", 50.0)
    assert config.objective.model_dump(include={"credit", "latency_weight", "cost_weight"}) == {
        "credit": "critical_path",
        "latency_weight": 0.005,
        "cost_weight": 3.0,
    }
    assert (config.trainer.baseline, config.trainer.ema_momentum) == ("ema", 0.95)
    assert config.trainer.learning_rate == CONFIG.trainer.learning_rate
    assert config.operators == CONFIG.operators


@pytest.mark.parametrize("name", BASELINES)
@pytest.mark.parametrize(
    "constraint",
    [
        {"kind": "latency_budget", "latency_budget_s": 2.0, "latency_budget_statistic": "p95"},
        {"kind": "score_floor", "score_floor_share": 0.9},
    ],
)
def test_a_baseline_has_no_constraint_whatever_the_run_has(
    name: str, constraint: dict[str, Any], tmp_path: Path
) -> None:
    config = baseline_config(make_config(objective={"credit": "slack", **constraint}), name, tmp_path)
    assert config.objective.kind == "penalty"
    (tmp_path / "config.yaml").write_text(dump_config(config))
    assert load_config(tmp_path / "config.yaml") == config, "what its run folder holds can be read again"


def test_every_key_of_a_baseline_is_a_setting() -> None:
    for sections in BASELINES.values():
        for section, values in sections.items():
            assert values.keys() <= type(getattr(CONFIG, section)).model_fields.keys()


def test_each_run_is_trained_once() -> None:
    assert baseline_runs(["maas-parallel", "trained", "maas", "fixed:Generate"]) == ["maas"]
    assert baseline_runs(["lamas", "maas"]) == ["lamas", "maas"]
    assert baseline_runs(["trained", "initial"]) == []
    assert {run for run, _ in POLICIES.values()} == BASELINES.keys()
