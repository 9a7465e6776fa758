"""What a constrained run asks for, and how far a figure is from it."""

from __future__ import annotations

from lamas_local.config import ObjectiveConfig

TAIL = 95
"""The percentile that the statistic `p95` bounds."""


def known_target(objective: ObjectiveConfig) -> float | None:
    """Seconds or score as far as the configuration says it; None where a floor's baseline has to be measured."""
    if objective.kind == "latency_budget":
        return objective.latency_budget_s
    baseline, share = objective.score_floor_baseline, objective.score_floor_share
    return None if isinstance(baseline, str) or share is None else share * baseline


def violation(objective: ObjectiveConfig, value: float, target: float) -> float:
    """How far a figure is on the wrong side of its target, as a share of the target; below 0 on the right side."""
    excess = value / target - 1.0
    return -excess if objective.kind == "score_floor" else excess
