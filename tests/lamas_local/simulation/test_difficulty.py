from __future__ import annotations

from lamas_local.simulation.difficulty import difficulty
from lamas_local.tasks.arithmetic import ArithmeticTask
from lamas_local.tasks.base import Query
from tests.lamas_local.builders import OneProblemTask


def test_an_arithmetic_problem_is_as_hard_as_its_level() -> None:
    task = ArithmeticTask([2, 4], seed=0)
    examples = [task.example("test", index) for index in range(6)]
    assert [difficulty(task, example.query) for example in examples] == [2, 4] * 3
    assert [example.query.problem.count("loose") for example in examples] == [0, 1] * 3


def test_of_any_other_task_longer_problems_are_harder() -> None:
    task = OneProblemTask()
    assert [difficulty(task, Query("q", "word " * number)) for number in (1, 40, 41, 100, 161)] == [1, 1, 2, 3, 4]
