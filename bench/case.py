"""What every way of running runs: an architecture on a query, drawn or fixed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lamas_local.config import ConfigError
from lamas_local.operators.base import EARLY_STOP
from lamas_local.policy import LearnedPolicy, parse_fixed
from lamas_local.session import Session
from lamas_local.tasks.base import Example
from lamas_local.trace import Architecture

WIDE = 3
"""Operators in a layer from which on the layer counts as wide."""

FIXED_WIDE = (
    "fixed:Generate,GenerateCoT,MultiGenerateCoT+GenerateCoT,MultiGenerateCoT,ScEnsemble",
    "fixed:Generate,GenerateCoT,MultiGenerateCoT",
    "fixed:GenerateCoT,MultiGenerateCoT+Generate,GenerateCoT,SelfRefine+ScEnsemble",
    "fixed:Generate,GenerateCoT,MultiGenerateCoT+Generate,GenerateCoT,MultiGenerateCoT,SelfRefine",
)
"""An untrained controller seldom draws a layer of three operators (it stops at probability 0.3, usually two of six),
so these make sure that there are some."""
FIXED_SHARE = 3
"""One case in this many is fixed."""


@dataclass(frozen=True, slots=True)
class Case:
    """One architecture on one query of the test split."""

    origin: Literal["drawn", "fixed"]
    example: Example
    architecture: Architecture

    @property
    def num_operators(self) -> int:
        """Operators that run."""
        return sum(self.widths)

    @property
    def widths(self) -> tuple[int, ...]:
        """Operators that run in each layer."""
        return tuple(sum(name != EARLY_STOP for name in layer) for layer in self.architecture)

    @property
    def is_wide(self) -> bool:
        """Whether some layer has at least `WIDE` operators."""
        return max(self.widths) >= WIDE


def choose_cases(session: Session, num_cases: int) -> list[Case]:
    """`num_cases` cases, each on a query of its own: one in `FIXED_SHARE` is fixed, the others are what the untrained
    controller draws, as it draws them.

    Raises:
        ConfigError: `operators` lacks one that a fixed case needs.
    """
    drawn = LearnedPolicy(session.new_controller(), session.embedder, session.config.seed, "layered", 0)
    cases = []
    for index in range(num_cases):
        example = session.task.example("test", index)
        turn, is_drawn = divmod(index, FIXED_SHARE)
        if is_drawn:
            cases.append(Case("drawn", example, drawn.architecture(example.query)))
            continue
        cases.append(Case("fixed", example, fixed_architecture(session, FIXED_WIDE[turn % len(FIXED_WIDE)])))
    return cases


def fixed_architecture(session: Session, name: str) -> Architecture:
    """The architecture that `parse_fixed` makes of a name.

    Raises:
        ConfigError: `operators` lacks one that it needs.
    """
    layers = parse_fixed(name).layers
    known = {operator.name for operator in session.operators}
    if missing := sorted({operator for layer in layers for operator in layer} - known):
        raise ConfigError(f"operators lacks {', '.join(missing)}, which this benchmark's fixed architectures use")
    return layers
