"""Which architecture a query gets: the controller's draw, or with a latency budget the first draw that fits it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from lamas_local.controller import Controller
from lamas_local.operators.base import EARLY_STOP
from lamas_local.trace import Architecture

NUM_DRAWS = 8
"""Draws looked at where there is a budget."""


def draws(controller: Controller, query: torch.Tensor, seed: int, number: int) -> list[Architecture]:
    """So many samples for a query embedding of shape (embedding_size,); the first is the same whatever `number` is."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        return [without_stop(controller.draw(query, generator).architecture) for _ in range(number)]


def without_stop(architecture: Architecture) -> Architecture:
    """What of it runs: no EarlyStop, and no layer that holds nothing else."""
    layers = (tuple(name for name in layer if name != EARLY_STOP) for layer in architecture)
    return tuple(layer for layer in layers if layer)


def first_that_fits(
    candidates: Sequence[Architecture], seconds: Callable[[Architecture], float | None], limit_s: float
) -> Architecture:
    """The first of at least one candidate predicted within `limit_s`, else the one predicted to be the quickest; the
    first where nothing can be predicted."""
    quickest, least = candidates[0], float("inf")
    for candidate in dict.fromkeys(candidates):
        predicted = seconds(candidate)
        if predicted is None or predicted <= limit_s:
            return candidate
        if predicted < least:
            quickest, least = candidate, predicted
    return quickest
