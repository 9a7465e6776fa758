"""What is evaluated: something that names an architecture and a mode for each query."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch

from lamas_local.config import ConfigError, nearest
from lamas_local.controller import Controller
from lamas_local.embedding import Embedder
from lamas_local.operators import OPERATORS
from lamas_local.operators.base import EARLY_STOP
from lamas_local.seeds import derive_seed
from lamas_local.tasks.base import Query
from lamas_local.trace import Architecture, ExecutionMode

FIXED = "fixed:"


class Policy(Protocol):
    """Chooses what runs."""

    @property
    def mode(self) -> ExecutionMode:
        """How its architectures run."""
        ...

    @property
    def step(self) -> int:
        """Training steps behind it."""
        ...

    def architecture(self, query: Query) -> Architecture:
        """The architecture for a query; the same every time it is asked."""
        ...


@dataclass(frozen=True, slots=True)
class LearnedPolicy:
    """A controller, drawing with a seed of its own for each query."""

    controller: Controller
    embedder: Embedder
    seed: int
    mode: ExecutionMode
    step: int

    def architecture(self, query: Query) -> Architecture:
        """One draw."""
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "evaluation-draw", query.id))
        with torch.no_grad():
            return self.controller.draw(self.embedder.embed([query.problem])[0], generator).architecture


@dataclass(frozen=True, slots=True)
class FixedPolicy:
    """The same architecture for every query."""

    layers: Architecture
    mode: ExecutionMode = "layered"
    step: int = 0

    def architecture(self, query: Query) -> Architecture:
        """Always `layers`."""
        return self.layers


def parse_fixed(name: str) -> FixedPolicy:
    """`fixed:A+B` runs A, then B; `fixed:A,B+C` runs A and B together, then C.

    Raises:
        ConfigError: an unknown operator, or a first layer that reads solutions.
    """
    layers = tuple(tuple(layer.split(",")) for layer in name[len(FIXED) :].split("+"))
    for operator in (operator for layer in layers for operator in layer):
        if operator not in OPERATORS or operator == EARLY_STOP:
            raise ConfigError(f"evaluation.policies: {name!r} names an unknown operator{nearest(operator, OPERATORS)}")
    if any(OPERATORS[operator].reads != "problem" for operator in layers[0]):
        raise ConfigError(f"evaluation.policies: {name!r} starts with an operator that needs a solution to read")
    return FixedPolicy(layers)
