"""Whether a policy kept the constraint it was trained under."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

import numpy as np

from lamas_local.config import Config
from lamas_local.constraint import TAIL, violation
from lamas_local.cost_model import CostModel
from lamas_local.evaluation import standard_error
from lamas_local.latency import measure, signal_path
from lamas_local.trace import RolloutTrace

SPARE = 0.1
"""A figure that is further on the right side of its target, as a share of it, is said to have so much to spare."""


def judge(
    traces: Sequence[RolloutTrace], config: Config, target: float, model: CostModel | None = None
) -> dict[str, Any] | None:
    """`constraint` of `summary.json`, from one policy's evaluated rollouts; None where they say nothing.

    As in training, seconds are by `latency.signal`, of the rollouts that ran, and a rollout that failed scores 0.
    """
    objective = config.objective
    is_floor = objective.kind == "score_floor"
    latencies = [measure(trace, config.latency, model) for trace in traces if trace.failure is None]
    lengths = [signal_path(latency, config.latency)[0] for latency in latencies]
    figures = [trace.score or 0.0 for trace in traces] if is_floor else lengths
    if not figures:
        return None
    is_mean = is_floor or objective.latency_budget_statistic == "mean"
    value = fmean(figures) if is_mean else float(np.percentile(figures, TAIL))
    wrong = violation(objective, value, target)
    verdict = {
        "kind": objective.kind,
        "statistic": "mean" if is_mean else objective.latency_budget_statistic,
        "target": target,
        "value": value,
        "value_se": standard_error(figures) if is_mean else None,
        "violation": wrong,
        "is_kept": wrong <= 0,
    }
    return verdict | {"sentence": _sentence(verdict, config.latency.signal)}


def _sentence(verdict: dict[str, Any], signal: str) -> str:
    is_kept, is_floor = verdict["is_kept"], verdict["kind"] == "score_floor"
    constraint, bound = ("Score floor", "at least") if is_floor else ("Latency budget", "at most")
    unit, source = ("", " (score)") if is_floor else (" s", f" (signal {signal})")
    statistic = "95th percentile" if verdict["statistic"] == "p95" else "mean"
    error = "" if verdict["value_se"] is None else f" ± {verdict['value_se']:.2g}"
    outcome = f"missed by {verdict['violation']:.1%}"
    if is_kept:  # "kept" alone would read as reached where a budget was slack
        outcome = "kept" if verdict["violation"] > -SPARE else f"kept with {-verdict['violation']:.1%} to spare"
    return (
        f"{constraint} {outcome}: the trained policy's {statistic} of {verdict['value']:.3g}{error}{unit}{source} "
        f"is {'' if is_kept else 'not '}{bound} {verdict['target']:.3g}{unit}."
    )
