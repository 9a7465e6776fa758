"""Constrained training: the latency weight as a multiplier that moves until a budget or a floor is kept."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

import numpy as np

from lamas_local.config import ObjectiveConfig
from lamas_local.constraint import TAIL, known_target, violation
from lamas_local.credit import Weights

START: Mapping[str, float] = {"latency_budget": math.log(0.1), "score_floor": math.log(0.3)}
"""Of the log-multiplier: under a budget a score point is first worth ten times the mean seconds; under a floor, where
the fewest seconds are the aim, three times."""
FLOOR_GAIN = 2.0
"""Times the violation of a floor: policies differ in seconds by factors, in score by tenths."""
BOUND = math.log(100.0)
"""The log-multiplier's largest magnitude, so that it comes back soon from a constraint that was slack or hopeless."""
SATURATED = math.log(10.0)
"""Of the log-multiplier: the score has a tenth of the say, and more would change nothing but the way back."""
LARGEST_PUSH = 1.0
"""That one step gives: a policy far off its target must not throw the multiplier to its bound."""
TAIL_WINDOW = 256
"""Newest rollouts that the shape of the tail is read from."""


@dataclass(slots=True)
class RunningMean:
    """Exponential mean of batch means, without the pull of a start at 0 (the bias correction of Adam)."""

    momentum: float
    total: float = 0.0
    weight: float = 0.0

    def add(self, value: float) -> None:
        """Take in one batch."""
        self.total = self.momentum * self.total + (1 - self.momentum) * value
        self.weight = self.momentum * self.weight + (1 - self.momentum)

    @property
    def value(self) -> float:
        """The mean; at least one batch was added."""
        return self.total / self.weight


class DualAscent:
    """A multiplier mu for the constraint, moved by proportional-integral control of its logarithm.

    With L' the running mean of seconds, c the cost, and v the constraint's relative violation by running means
    (`constraint.violation`):

        log mu = I + damping * v,   I <- I + rate * v
        U = [score - cost_weight * c - mu * L / L' where the credit rule says so] / (1 + mu)

    for a budget. For a floor, v becomes `-FLOOR_GAIN * v`: a score below it makes seconds count less. That is the same
    Lagrangian divided by its multiplier, so both kinds have one form of utility and one multiplier. I alone is dual
    ascent (in log space, so that mu > 0 and a step is a factor, whatever the unit of time); on a policy that answers
    slowly it overshoots and swings, which the proportional term damps (Stooke, Achiam and Abbeel, arXiv 2007.03964, who
    also divide by 1 + mu). While the multiplier is saturated, I does not rise (anti-windup by conditional integration):
    what it gathers on the long way from an untrained policy to a tight budget would have to be lost again below it.

    For `p95` the multiplier answers to the percentile, while utilities go on paying for L itself: the percentile's own
    gradient, `E[1(L > q) grad log pi] / f(q)` (Jiang et al., arXiv 2201.11463), hears of one rollout in twenty. A
    multiplier that answers to the real constraint and a policy that answers to a guiding penalty are the method of
    Tessler, Mankowitz and Mannor (RCPO, arXiv 1805.11074). With L'_i the running mean at rollout i's step, it is

        q = L' * 95th percentile of {L_i / L'_i} over the newest rollouts

    because a distribution's shape changes slower than its scale: L' follows the policy within a few steps, and the
    window is as long as a tail needs.
    """

    def __init__(self, objective: ObjectiveConfig) -> None:
        self.objective = objective
        self.target: float | None = known_target(objective)
        """Seconds or score; None until the floor's baseline is measured."""
        self.integral = START[objective.kind]
        self.log_multiplier = self.integral
        self.length_s = RunningMean(objective.multiplier_momentum)
        self.score = RunningMean(objective.multiplier_momentum)
        self.ratios: list[float] = []
        """Of the newest rollouts, seconds over the running mean of their step."""

    def observe(self, lengths_s: Sequence[float], scores: Sequence[float]) -> None:
        """Take in one batch's seconds and scores and move the multiplier."""
        self.length_s.add(fmean(lengths_s))
        self.score.add(fmean(scores))
        self.ratios = [*self.ratios, *(length / self.length_s.value for length in lengths_s)][-TAIL_WINDOW:]
        assert self.target is not None
        push = violation(self.objective, self.value, self.target)
        if self.objective.kind == "score_floor":
            push *= -FLOOR_GAIN  # a score below its floor makes seconds count less
        push = _clipped(push, LARGEST_PUSH)
        damping = self.objective.multiplier_damping * push
        if push < 0 or self.integral + damping < SATURATED:
            self.integral = _clipped(self.integral + self.objective.multiplier_rate * push, BOUND)
        self.log_multiplier = _clipped(self.integral + damping, BOUND)

    @property
    def value(self) -> float:
        """The constrained figure, smoothed: mean or 95th percentile of seconds, or the mean score."""
        if self.objective.kind == "score_floor":
            return self.score.value
        if self.objective.latency_budget_statistic == "mean":
            return self.length_s.value
        return self.length_s.value * float(np.percentile(self.ratios, TAIL))

    @property
    def latency_weight(self) -> float:
        """Score that a second costs now: what `objective.latency_weight` is to a penalty."""
        return math.exp(self.log_multiplier) / self.length_s.value

    def weights(self) -> Weights:
        """Of score, cost and seconds, divided by 1 + mu so that utilities keep their size."""
        norm = 1 + math.exp(self.log_multiplier)
        return Weights(1 / norm, self.objective.cost_weight / norm, self.latency_weight / norm)

    def metrics(self) -> dict[str, float | None]:
        """For `metrics.jsonl`: the multiplier as score per second, and where the constraint stands."""
        return {
            "multiplier": self.latency_weight,
            "constraint_value": self.value,
            "constraint_target": self.target,
        }

    def state(self) -> dict[str, Any]:
        """For a checkpoint; exact in JSON."""
        return {
            "target": self.target,
            "integral": self.integral,
            "log_multiplier": self.log_multiplier,
            "length_s": asdict(self.length_s),
            "score": asdict(self.score),
            "ratios": self.ratios,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go back to a `state`."""
        self.target = state["target"]
        self.integral, self.log_multiplier = state["integral"], state["log_multiplier"]
        self.length_s, self.score = RunningMean(**state["length_s"]), RunningMean(**state["score"])
        self.ratios = list(state["ratios"])


def _clipped(value: float, size: float) -> float:
    return max(-size, min(value, size))
