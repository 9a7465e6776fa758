"""Kept or missed, by the same figures as in training."""

from __future__ import annotations

from typing import Any

import pytest

from lamas_local.config import Config
from lamas_local.cost_model import CostModel
from lamas_local.trace import Failure, RolloutTrace
from lamas_local.verdict import judge
from tests.lamas_local.builders import layer, make_config, operator, trace

FAILED = trace(failure=Failure("E", "e"), wall_s=99.0)


def rollout(seconds: float, score: float = 1.0, tokens: int = 50) -> RolloutTrace:
    return trace(layer(operator(tokens, seconds=seconds)), wall_s=seconds, score=score)


def budget(seconds: float, signal: str = "measured", **objective: Any) -> Config:
    objective = {"kind": "latency_budget", "latency_budget_s": seconds, **objective}
    return make_config(latency={"signal": signal}, objective=objective)


def test_a_mean_within_the_budget() -> None:
    verdict = judge([rollout(1.0), rollout(3.0), FAILED], budget(2.5), 2.5)
    assert verdict == {
        "kind": "latency_budget",
        "statistic": "mean",
        "target": 2.5,
        "value": 2.0,
        "value_se": 1.0,
        "violation": pytest.approx(-0.2),
        "is_kept": True,
        "sentence": "Latency budget kept with 20.0% to spare: "
        "the trained policy's mean of 2 ± 1 s (signal measured) is at most 2.5 s.",
    }


def test_nothing_to_spare() -> None:
    verdict = judge([rollout(1.0), rollout(3.0)], budget(2.1), 2.1)
    assert verdict is not None
    assert verdict["sentence"].startswith("Latency budget kept: the trained policy's mean of 2 ± 1 s ")


def test_a_tail_beyond_it() -> None:
    rollouts = [rollout(1.0)] * 90 + [rollout(4.0)] * 10
    verdict = judge(rollouts, budget(3.0, latency_budget_statistic="p95"), 3.0)
    assert verdict is not None
    assert (verdict["value"], verdict["value_se"], verdict["is_kept"]) == (4.0, None, False)
    assert verdict["sentence"] == (
        "Latency budget missed by 33.3%: "
        "the trained policy's 95th percentile of 4 s (signal measured) is not at most 3 s."
    )


def test_seconds_are_by_the_signal() -> None:
    rollouts = [rollout(9.0, tokens=100)]
    by_tokens = judge(rollouts, budget(2.5, "tokens"), 2.5)
    model = CostModel(0.01, 0.0, 0.0, wait_s=0.0, wait_steps=0.0, return_s=0.0)
    calibrated = judge(rollouts, budget(2.5, "calibrated"), 2.5, model)
    assert by_tokens is not None
    assert calibrated is not None
    assert by_tokens["value"] == pytest.approx(2.0)
    assert calibrated["value"] == pytest.approx(1.0, rel=0.05)


def test_a_floor_counts_what_failed() -> None:
    config = make_config(objective={"kind": "score_floor", "score_floor_share": 0.9})
    verdict = judge([rollout(1.0, 1.0), rollout(1.0, 1.0), rollout(1.0, 0.0), FAILED], config, 0.6)
    assert verdict is not None
    assert (verdict["statistic"], verdict["value"], verdict["is_kept"]) == ("mean", 0.5, False)
    assert verdict["sentence"].startswith("Score floor missed by 16.7%: the trained policy's mean of 0.5 ± 0.29 ")
    met = judge([rollout(1.0, 0.6)], config, 0.6)
    assert met is not None
    assert met["is_kept"], "reaching the floor is keeping it"


def test_nothing_to_judge_by() -> None:
    assert judge([], budget(1.0), 1.0) is None
    assert judge([FAILED], budget(1.0), 1.0) is None
