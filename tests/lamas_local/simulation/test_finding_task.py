from __future__ import annotations

import pytest

from lamas_local.config import ArithmeticTaskConfig
from lamas_local.simulation.finding_task import FindingTask
from lamas_local.tasks import load_task
from lamas_local.tasks.base import Split
from tests.lamas_local.builders import OneProblemTask


@pytest.mark.parametrize("positions", [[("train", 7)], [("test", 3), ("train", 12), ("test", 0), ("train", 2)]])
def test_an_example_is_found_by_its_id_alone(positions: list[tuple[Split, int]]) -> None:
    config = ArithmeticTaskConfig(levels=(1, 2))
    asked, found = load_task(config, 3), FindingTask(load_task(config, 3))
    for split, index in positions:
        example = asked.example(split, index)
        assert found.remembered(example.query.id) == example


def test_finite_splits_are_gone_through_once() -> None:
    task = OneProblemTask(size=5)
    found = FindingTask(task)
    for last in (task.example("test", 4), task.example("train", 4)):
        assert found.remembered(last.query.id) == last
