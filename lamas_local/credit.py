"""Who pays for latency: utilities of drawn operators, their normalisation, and the loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

import torch

from lamas_local.config import LatencyConfig, ObjectiveConfig
from lamas_local.critical_path import CriticalPath
from lamas_local.latency import Latency, signal_path

Penalty = Callable[[CriticalPath, float, int, int], float]
"""(path, L in path units, layer, position) -> what that operator pays, in path units."""

CREDIT_RULES: dict[str, Penalty] = {
    "none": lambda path, length, layer, position: 0.0,
    "uniform": lambda path, length, layer, position: length,
    "critical_path": lambda path, length, layer, position: length if position in path.critical[layer] else 0.0,
    "slack": lambda path, length, layer, position: path.slack_of(layer, position),
    "to_go": lambda path, length, layer, position: path.slack_of(layer, position) + path.to_go[layer],
}
"""`to_go` is ours: a draw pays for what it can still change, its own slack and every later stage. Under `critical_path`
and `slack` an EarlyStop gains nothing over an operator off the path, although it is what saves the later layers."""


@dataclass(frozen=True, slots=True)
class Weights:
    """What score, cost (per USD) and path length (per second) count in a utility."""

    score: float
    cost: float
    latency: float

    @classmethod
    def of(cls, objective: ObjectiveConfig) -> Weights:
        """The fixed ones of the configuration."""
        return cls(1.0, objective.cost_weight, objective.latency_weight)


def utilities(
    architecture: Sequence[Sequence[str]],
    score: float,
    cost_usd: float,
    latency: Latency,
    objective: ObjectiveConfig,
    signal: LatencyConfig,
    weights: Weights | None = None,
) -> list[list[float]]:
    """`U_lo = score - cost_weight * cost - latency_weight * L * [o is critical in layer l]` (LAMaS sec. 3).

    One number per drawn operator, in drawn order. An EarlyStop runs nothing, so it is never critical and has no slack;
    under `uniform` it pays like every drawn operator. `weights` are the objective's own where they are not given.
    """
    weights = weights or Weights.of(objective)
    length_s, path, unit_s = signal_path(latency, signal)
    rule = CREDIT_RULES[objective.credit]
    base = weights.score * score - weights.cost * cost_usd
    return [
        [
            base - weights.latency * unit_s * rule(path, length_s / unit_s, layer, position)
            for position in range(len(drawn))
        ]
        for layer, drawn in enumerate(architecture)
    ]


def subtract_leave_one_out(
    credited: Sequence[list[list[float]] | None], groups: Sequence[str]
) -> list[list[list[float]] | None]:
    """Utilities less the mean utility of the same query's other rollouts, which takes the query's difficulty out.

    Args:
        credited: per rollout, utilities by layer and draw; None for a rollout that failed.
        groups: per rollout, its query. One without a sibling that ran keeps its utilities.
    """
    means = [None if layers is None else fmean(value for layer in layers for value in layer) for layers in credited]
    result: list[list[list[float]] | None] = []
    for i, layers in enumerate(credited):
        others = [mean for j, mean in enumerate(means) if j != i and groups[j] == groups[i] and mean is not None]
        baseline = fmean(others) if others else 0.0
        result.append(None if layers is None else [[value - baseline for value in layer] for layer in layers])
    return result


@dataclass(slots=True)
class UtilityEma:
    """Running mean and standard deviation of batch utilities."""

    momentum: float
    mean: float | None = None
    std: float | None = None

    def normalise(self, batch: Sequence[float]) -> list[float]:
        """Update with a batch, then `A = (U - mean) / max(std, 1e-8)`. The first batch sets both values."""
        values = torch.tensor(batch, dtype=torch.float64)
        mean, std = float(values.mean()), float(values.std(correction=0))
        self.mean = mean if self.mean is None else self.momentum * self.mean + (1 - self.momentum) * mean
        self.std = std if self.std is None else self.momentum * self.std + (1 - self.momentum) * std
        return [(value - self.mean) / max(self.std, 1e-8) for value in batch]


def policy_loss(log_probs: torch.Tensor, advantages: torch.Tensor) -> torch.Tensor:
    """`-mean(log_prob * A)`; both of shape (num_draws,)."""
    return -(log_probs * advantages.detach()).mean()
