"""Agent steps: one file each, prompts beside their operator."""

from __future__ import annotations

from collections.abc import Sequence

from lamas_local.config import ConfigError, nearest
from lamas_local.operators.base import EARLY_STOP, Operator, OperatorCall, OperatorError, Reads, Update
from lamas_local.operators.early_stop import EarlyStop
from lamas_local.operators.generate import Generate
from lamas_local.operators.generate_cot import GenerateCoT
from lamas_local.operators.multi_generate_cot import MultiGenerateCoT
from lamas_local.operators.sc_ensemble import ScEnsemble
from lamas_local.operators.self_refine import SelfRefine

__all__ = ["EARLY_STOP", "OPERATORS", "Operator", "OperatorCall", "OperatorError", "Reads", "Update", "load_operators"]

OPERATORS: dict[str, type[Operator]] = {
    operator.name: operator for operator in (Generate, GenerateCoT, MultiGenerateCoT, ScEnsemble, SelfRefine, EarlyStop)
}


def load_operators(names: Sequence[str]) -> list[Operator]:
    """The operators of these names.

    Raises:
        ConfigError: an unknown or a repeated name.
    """
    for name in names:
        if name not in OPERATORS:
            raise ConfigError(
                f"operators: {name!r} is unknown{nearest(name, OPERATORS)}; known: {', '.join(OPERATORS)}"
            )
    if len(set(names)) < len(names):
        raise ConfigError(f"operators: {', '.join(names)} names one of them twice")
    return [OPERATORS[name]() for name in names]
