"""Every operator that a configuration can run."""

from __future__ import annotations

from dataclasses import dataclass

from lamas_local.config import Config, ConfigError
from lamas_local.operators import EARLY_STOP, OPERATORS, load_operators
from lamas_local.operators.base import Operator


@dataclass(frozen=True, slots=True)
class Roster:
    """Instances, each once."""

    drawn: list[Operator]
    """What the controller may draw, in the order of `operators`."""
    finaliser: tuple[Operator, ...]
    """What runs after the vote, in order."""
    known: dict[str, Operator]
    """By name: those, and all of ours, which a fixed policy may use."""


def load_roster(config: Config) -> Roster:
    """The operators of `operators` and `finaliser`.

    Raises:
        ConfigError: one is unknown or no operator, EarlyStop is a finaliser, or two different ones have one name.
    """
    drawn = load_operators(config.operators)
    finaliser = load_operators(config.finaliser, "finaliser")
    known: dict[str, Operator] = {name: operator() for name, operator in OPERATORS.items()}
    known |= {operator.name: operator for operator in drawn}
    for operator in finaliser:
        if operator.name == EARLY_STOP:
            raise ConfigError(f"finaliser: {EARLY_STOP} only ends the drawing of layers, so it cannot run there")
        if operator.name in {one.name for one in drawn} and type(operator) is not type(known[operator.name]):
            raise ConfigError(f"finaliser: {operator.name!r} is the name of another operator in `operators`")
        known[operator.name] = operator
    return Roster(drawn, tuple(finaliser), known)
