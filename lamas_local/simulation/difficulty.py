"""How hard a query is, by a rule that is stated: 1 is the easiest."""

from __future__ import annotations

from lamas_local.tasks.arithmetic import ArithmeticTask
from lamas_local.tasks.base import Query, Task

WORDS = (40, 80, 160)
"""A problem of more words than these is a level harder each."""


def difficulty(task: Task, query: Query) -> int:
    """The level of an arithmetic problem; of any other, 1 to 4 by the number of words in its text."""
    if isinstance(task, ArithmeticTask):
        return task.levels[int(query.id.rsplit("-", 1)[1]) % len(task.levels)]
    num_words = len(query.problem.split())
    return 1 + sum(num_words > words for words in WORDS)
