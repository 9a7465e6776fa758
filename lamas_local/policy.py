"""What is evaluated: something that names an architecture and a mode for each query."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch

from lamas_local import baselines
from lamas_local.config import ConfigError, nearest
from lamas_local.controller import Controller
from lamas_local.embedding import Embedder
from lamas_local.operators import EARLY_STOP, OPERATORS, Operator, needs_solution
from lamas_local.seeds import derive_seed
from lamas_local.tasks.base import Query
from lamas_local.trace import Architecture, ExecutionMode

FIXED = "fixed:"
LEARNED = ("trained", "initial", "initial-sequential", *baselines.POLICIES)
OURS: Mapping[str, Operator] = {name: operator() for name, operator in OPERATORS.items()}


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

    @property
    def is_finalised(self) -> bool:
        """Whether the operators of `finaliser` follow its architectures."""
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
    is_finalised: bool = True

    def architecture(self, query: Query) -> Architecture:
        """One draw."""
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "evaluation-draw", query.id))
        with torch.no_grad():
            return self.controller.draw(self.embedder.embed([query.problem])[0], generator).architecture


@dataclass(frozen=True, slots=True)
class FixedPolicy:
    """The same architecture for every query, and nothing besides: what the papers compare with has no finaliser."""

    layers: Architecture
    mode: ExecutionMode = "layered"
    step: int = 0
    is_finalised: bool = False

    def architecture(self, query: Query) -> Architecture:
        """Always `layers`."""
        return self.layers


def parse_fixed(name: str, known: Mapping[str, Operator] = OURS, key: str = "evaluation.policies") -> FixedPolicy:
    """`fixed:A+B` runs A, then B; `fixed:A,B+C` runs A and B together, then C; `fixed:A*5+B` runs A five times at once.

    Args:
        name: the policy.
        known: the operators it may use, by name.
        key: the setting that names it.

    Raises:
        ConfigError: an unknown operator, no number after a star, or a first layer that reads solutions.
    """
    layers = tuple(
        tuple(operator for item in layer.split(",") for operator in _copies(name, item, known, key))
        for layer in name[len(FIXED) :].split("+")
    )
    if any(needs_solution(known[operator]) for operator in layers[0]):
        raise ConfigError(f"{key}: {name!r} starts with an operator that needs a solution to read")
    return FixedPolicy(layers)


def _copies(name: str, item: str, known: Mapping[str, Operator], key: str) -> list[str]:
    operator, star, number = item.partition("*")
    if operator not in known or operator == EARLY_STOP:
        raise ConfigError(f"{key}: {name!r} names an unknown operator{nearest(operator, known)}")
    if star and not re.fullmatch(r"[1-9]\d?", number):
        raise ConfigError(f"{key}: {name!r} has {number!r} after a *, where a number from 1 to 99 stands")
    return [operator] * int(number or 1)


def check_policies(names: tuple[str, ...], known: Mapping[str, Operator]) -> set[str]:
    """The operators that the fixed ones of these policies use, by name.

    Raises:
        ConfigError: a name that is no policy.
    """
    used: set[str] = set()
    for name in names:
        if name.startswith(FIXED):
            used.update(operator for layer in parse_fixed(name, known).layers for operator in layer)
        elif name not in LEARNED:
            raise ConfigError(f"evaluation.policies: {name!r} is unknown; known: {', '.join(LEARNED)}, fixed:A+B")
    return used
