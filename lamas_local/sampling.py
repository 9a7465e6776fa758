"""Threshold sampling of one layer: ordered draws without replacement, and their log-probabilities."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Literal

import torch

LogProbKind = Literal["exact", "independent"]


def draw_layer(
    probabilities: torch.Tensor, threshold: float, stop_index: int | None, generator: torch.Generator
) -> list[int]:
    """Draw operators in order, without replacement, until the drawn probabilities sum to `threshold`.

    Args:
        probabilities: shape (num_operators,), sums to 1; forbidden operators have probability 0.
        threshold: in (0, 1].
        stop_index: EarlyStop's index; drawing it ends the layer.
        generator: the source of randomness.

    Returns:
        Indices in drawn order, at least one.
    """
    weights = probabilities.detach().double().tolist()
    left = list(weights)
    drawn: list[int] = []
    mass = 0.0
    while (total := sum(left)) > 0:
        point = total * float(torch.rand((), generator=generator, dtype=torch.float64))
        # Rounding may put the point past the last operator that is left.
        index = min(bisect_right(list(accumulate(left)), point), max(i for i, weight in enumerate(left) if weight > 0))
        drawn.append(index)
        mass += weights[index]
        left[index] = 0.0
        if is_complete(mass, threshold) or index == stop_index:
            break
    return drawn


def is_complete(mass: float, threshold: float) -> bool:
    """Whether a layer's drawn probability mass ends its drawing; rounding must not ask for one more operator."""
    return mass >= threshold - 1e-6


def draw_log_probs(log_probabilities: torch.Tensor, drawn: Sequence[int], kind: LogProbKind) -> torch.Tensor:
    """Log-probability of each draw of a layer, differentiable, shape (len(drawn),).

    `exact`: `log p_i - log(1 - sum_(j<i) p_j)`, so that the probabilities of all ordered outcomes sum to 1.
    `independent`: the papers' `log p_i`.
    """
    indices = torch.tensor(list(drawn), dtype=torch.long)
    chosen = log_probabilities[indices]
    if kind == "independent":
        return chosen
    # 1 - sum of the drawn is computed as the sum of what was left, which stays positive where 1 - x would cancel.
    left = torch.ones(len(indices), len(log_probabilities), dtype=torch.bool)
    for i, index in enumerate(indices[:-1]):
        left[i + 1 :, index] = False
    return chosen - torch.logsumexp(log_probabilities.expand(len(indices), -1).masked_fill(~left, -torch.inf), dim=1)


def entropy(log_probabilities: torch.Tensor) -> torch.Tensor:
    """Entropy of one layer's distribution in nats, differentiable, a scalar; forbidden operators count nothing."""
    allowed = log_probabilities[torch.isfinite(log_probabilities)]
    return -(allowed.exp() * allowed).sum()
