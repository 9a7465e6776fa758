"""Benchmarks: one file each."""

from __future__ import annotations

from lamas_local.config import TaskConfig
from lamas_local.tasks.arithmetic import ArithmeticTask
from lamas_local.tasks.base import Example, Query, Split, Task

__all__ = ["Example", "Query", "Split", "Task", "load_task"]


def load_task(config: TaskConfig, seed: int) -> Task:
    """The task a configuration names."""
    return ArithmeticTask(levels=config.levels, seed=seed)
