"""Agent steps: one file each, prompts beside their operator."""

from __future__ import annotations

from collections.abc import Sequence

from lamas_local import plugins
from lamas_local.config import ConfigError, nearest
from lamas_local.operators.base import (
    EARLY_STOP,
    Operator,
    OperatorCall,
    OperatorError,
    Reads,
    Update,
    merge,
    needs_sandbox,
    needs_solution,
)
from lamas_local.operators.early_stop import EarlyStop
from lamas_local.operators.generate import Generate
from lamas_local.operators.generate_cot import GenerateCoT
from lamas_local.operators.multi_generate_cot import MultiGenerateCoT
from lamas_local.operators.programmer import Programmer
from lamas_local.operators.sc_ensemble import ScEnsemble
from lamas_local.operators.self_refine import SelfRefine
from lamas_local.operators.test import Test

__all__ = [
    "EARLY_STOP",
    "OPERATORS",
    "Operator",
    "OperatorCall",
    "OperatorError",
    "Reads",
    "Update",
    "load_operators",
    "merge",
    "needs_sandbox",
    "needs_solution",
]

OPERATORS: dict[str, type[Operator]] = {
    operator.name: operator
    for operator in (Generate, GenerateCoT, MultiGenerateCoT, ScEnsemble, SelfRefine, Programmer, Test, EarlyStop)
}


def load_operators(targets: Sequence[str], key: str = "operators") -> list[Operator]:
    """The operators a setting lists: ours by name, the user's by import path or entry point.

    Args:
        targets: what is listed.
        key: the setting, for messages.

    Raises:
        ConfigError: one is unknown or no operator, or two have one name.
    """
    operators = [_load(target, key) for target in targets]
    names = [operator.name for operator in operators]
    if len(set(names)) < len(names):
        raise ConfigError(f"{key}: {', '.join(targets)} names one of them twice")
    return operators


def _load(target: str, key: str) -> Operator:
    if target in OPERATORS:
        return OPERATORS[target]()
    entry_points = plugins.entry_point_names(plugins.OPERATORS)
    if ":" in target or target in entry_points:
        return plugins.load_plugin_operator(target, key)
    known = (*OPERATORS, *entry_points)
    raise ConfigError(
        f"{key}: {target!r} is unknown{nearest(target, known)}; known: {', '.join(known)}, "
        "or an import path such as 'my_pkg.my_module:MyOperator'"
    )
