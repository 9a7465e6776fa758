"""Tasks and operators of the user's own: by import path, or by the name of a Python entry point."""

from __future__ import annotations

import importlib
import importlib.metadata
import re
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast, get_args

from lamas_local.config import ConfigError, nearest

if TYPE_CHECKING:
    from lamas_local.operators.base import Operator
    from lamas_local.tasks.base import Task

TASKS = "lamas_local.tasks"
OPERATORS = "lamas_local.operators"
TASK_ATTRIBUTES = ("prompts", "num_examples", "example", "extract_answer", "score", "close")
OPERATOR_ATTRIBUTES = ("name", "description", "reads", "run")


def load_plugin_task(target: str, args: Mapping[str, Any]) -> Task:
    """`target(**args)`.

    Raises:
        ConfigError: the target cannot be imported, does not take these arguments or makes no Task.
    """
    made = _make(target, TASKS, "task.target", args)
    _check_attributes(made, TASK_ATTRIBUTES, "Task", f"task.target: {target!r}")
    return cast("Task", made)


def load_plugin_operator(target: str, key: str) -> Operator:
    """`target()`, for the setting `key` that names it.

    Raises:
        ConfigError: the target cannot be imported or makes no Operator.
    """
    from lamas_local.operators.base import Reads  # here, because the operators are loaded through this module

    made = _make(target, OPERATORS, key, {})
    _check_attributes(made, OPERATOR_ATTRIBUTES, "Operator", f"{key}: {target!r}")
    if not re.fullmatch(r"\w+", str(made.name)):
        raise ConfigError(f"{key}: {target!r} has the name {made.name!r}; letters, digits and _ are allowed")
    if made.reads not in get_args(Reads):
        raise ConfigError(f"{key}: {target!r} reads {made.reads!r}; allowed: {', '.join(get_args(Reads))}")
    most = getattr(made, "max_added", None)
    if most is not None and not (isinstance(most, int) and most >= 0):
        raise ConfigError(f"{key}: {target!r} has the max_added {most!r}; a whole number from 0 is allowed")
    return cast("Operator", made)


def entry_point_names(group: str) -> list[str]:
    """What installed packages offer in a group."""
    return sorted({entry.name for entry in importlib.metadata.entry_points(group=group)})


def _make(target: str, group: str, key: str, args: Mapping[str, Any]) -> Any:
    factory = _import(target, key) if ":" in target else _load_entry_point(target, group, key)
    if not callable(factory):
        raise ConfigError(f"{key}: {target!r} is {factory!r}, which cannot be called to make one")
    try:
        return factory(**args)
    except TypeError as error:
        raise ConfigError(f"{key}: {target!r} cannot be made with the arguments {dict(args)}: {error}") from error


def _import(target: str, key: str) -> Any:
    """`module:attribute`; the current directory counts, as for `python -m`."""
    if "" not in sys.path:
        sys.path.insert(0, "")
    module_name, _, path = target.partition(":")
    try:
        value: Any = importlib.import_module(module_name)
    except (ImportError, ValueError, SyntaxError) as error:
        raise ConfigError(f"{key}: {target!r} cannot be imported: {' '.join(str(error).split())}") from error
    for name in path.split("."):
        if not hasattr(value, name):
            raise ConfigError(f"{key}: {target!r}: {module_name} has no {path!r}{nearest(path, dir(value))}")
        value = getattr(value, name)
    return value


def _load_entry_point(name: str, group: str, key: str) -> Any:
    found = [entry for entry in importlib.metadata.entry_points(group=group) if entry.name == name]
    if not found:
        names = entry_point_names(group)
        raise ConfigError(
            f"{key}: {name!r} is neither an import path such as 'my_pkg.my_module:MyClass' nor an entry point of the "
            f"group {group}{nearest(name, names)}; entry points there: {', '.join(names) or 'none'}"
        )
    try:
        return found[0].load()
    except (ImportError, AttributeError, SyntaxError) as error:
        raise ConfigError(f"{key}: the entry point {name!r} ({found[0].value}) cannot be imported: {error}") from error


def _check_attributes(made: object, names: tuple[str, ...], kind: str, what: str) -> None:
    if missing := [name for name in names if not hasattr(made, name)]:
        raise ConfigError(f"{what} is no {kind}: it lacks {', '.join(missing)}")
