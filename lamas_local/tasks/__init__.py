"""Benchmarks: one file each."""

from __future__ import annotations

from lamas_local.config import (
    ArithmeticTaskConfig,
    Gsm8kTaskConfig,
    HumanEvalTaskConfig,
    MathTaskConfig,
    PythonTaskConfig,
    TaskConfig,
)
from lamas_local.plugins import load_plugin_task
from lamas_local.sandbox import Sandbox
from lamas_local.tasks.arithmetic import ArithmeticTask
from lamas_local.tasks.base import Example, Query, Split, Task, TaskPrompts
from lamas_local.tasks.competition_math import MathTask
from lamas_local.tasks.gsm8k import Gsm8kTask
from lamas_local.tasks.humaneval import HumanEvalTask

__all__ = ["Example", "Query", "Split", "Task", "TaskPrompts", "load_task"]


def load_task(config: TaskConfig, seed: int, sandbox: Sandbox | None = None) -> Task:
    """The task a configuration names; `sandbox` runs the code that some of them score.

    Raises:
        ConfigError: its rows are missing or malformed, or a task of the user's own cannot be loaded.
    """
    match config:
        case ArithmeticTaskConfig():
            return ArithmeticTask(config.levels, seed)
        case Gsm8kTaskConfig():
            return Gsm8kTask(config.path, seed)
        case MathTaskConfig():
            return MathTask(config.path, seed)
        case HumanEvalTaskConfig():
            assert sandbox is not None  # `Session.open` makes one for every task that runs code
            return HumanEvalTask(config.path, seed, sandbox)
        case PythonTaskConfig():
            return load_plugin_task(config.target, config.args)
