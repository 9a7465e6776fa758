"""Benchmarks: one file each."""

from __future__ import annotations

from lamas_local.config import ArithmeticTaskConfig, ConfigError, PythonTaskConfig, TaskConfig
from lamas_local.plugins import load_plugin_task
from lamas_local.sandbox import Sandbox
from lamas_local.tasks.arithmetic import ArithmeticTask
from lamas_local.tasks.base import Example, Query, Split, Task, TaskPrompts

__all__ = ["Example", "Query", "Split", "Task", "TaskPrompts", "load_task"]


def load_task(config: TaskConfig, seed: int, sandbox: Sandbox | None = None) -> Task:
    """The task a configuration names.

    Args:
        config: which, and its settings.
        seed: of its order and its split.
        sandbox: what a task whose answers are code scores them in.

    Raises:
        ConfigError: it cannot be loaded.
    """
    if isinstance(config, ArithmeticTaskConfig):
        return ArithmeticTask(levels=config.levels, seed=seed)
    if isinstance(config, PythonTaskConfig):
        return load_plugin_task(config.target, config.args)
    raise ConfigError(f"task.kind: {config.kind!r} is under way")
