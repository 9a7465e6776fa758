"""Word problems: the same everywhere, disjoint splits, answers found in what models write."""

from __future__ import annotations

import re

import pytest

from lamas_local.config import ArithmeticTaskConfig
from lamas_local.tasks import Split, load_task
from lamas_local.tasks.arithmetic import ArithmeticTask
from tests.lamas_local.tasks.fake_sandbox import FakeSandboxWithoutIsolation

TASK = ArithmeticTask(levels=(1, 2, 3, 4), seed=0)


def numbers(problem: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", problem)]


def test_the_same_seed_gives_the_same_examples_in_any_order() -> None:
    again = load_task(ArithmeticTaskConfig(levels=(1, 2, 3, 4)), 0, FakeSandboxWithoutIsolation())
    assert [again.example("test", i) for i in (9, 3)] == [TASK.example("test", 9), TASK.example("test", 3)]
    assert (
        TASK.example("train", 0).query.problem != ArithmeticTask((1, 2, 3, 4), seed=1).example("train", 0).query.problem
    )


def test_levels_take_turns() -> None:
    assert len(numbers(TASK.example("train", 3).query.problem)) == 3
    assert all(number < 10 for number in numbers(TASK.example("train", 4).query.problem))
    assert all(number >= 10 for number in numbers(TASK.example("train", 6).query.problem))


@pytest.mark.parametrize("level", [1, 2, 3, 4])
def test_no_numbers_of_the_test_split_are_ever_trained_on(level: int) -> None:
    task = ArithmeticTask((level,), seed=5)
    splits: tuple[Split, Split] = ("train", "test")
    seen = [{tuple(sorted(numbers(task.example(split, i).query.problem))) for i in range(200)} for split in splits]
    assert not seen[0] & seen[1]
    assert all(seen)


def test_query_ids_are_unique() -> None:
    ids = [TASK.example(split, i).query.id for split in ("train", "test") for i in range(50)]
    assert len(set(ids)) == 100


@pytest.mark.parametrize("index", range(40))
async def test_the_gold_answer_solves_the_problem(index: int) -> None:
    example = TASK.example("train", index)
    problem, values = example.query.problem, numbers(example.query.problem)
    if "loose" in problem:
        expected = values[0] * values[1] + values[2]
    elif "in each" in problem:
        expected = values[0] * values[1]
    elif "gives away" in problem:
        expected = values[0] - values[1]
    else:
        expected = values[0] + values[1]
    assert example.gold == str(expected)
    assert expected >= 0
    assert await TASK.score(example, f"It is easy. Answer: {example.gold}") == 1.0
    assert await TASK.score(example, f"Answer: {expected + 1}") == 0.0


@pytest.mark.parametrize(
    ("solution", "answer"),
    [
        ("Answer: 7", "7"),
        ("ANSWER : 7.", "7"),
        ("7", "7"),
        ("7 apples", "7"),
        ("1,234", "1234"),
        ("Answer: 1,234 coins", "1234"),
        ("-3", "-3"),
        ("Answer: -3", "-3"),
        ("Answer: **12**", "12"),
        ("Answer: $12", "12"),
        ("Answer: 12.0", "12"),
        ("Answer: 2.50", "2.5"),
        ("First 3, then 4, so 12", "12"),
        ("3 + 4 = 7. Answer: 7 apples of 12", "7"),
        ("Answer: 3. No, wait. Answer: 4", "4"),
        ("There are 5. Answer: five", "5"),
        (r"Answer: \boxed{8}", "8"),
        ("{0} {name}", "0"),
        ("no number at all", None),
        ("", None),
        ("Answer:", None),
    ],
)
def test_extracting_the_answer(solution: str, answer: str | None) -> None:
    assert TASK.extract_answer(solution) == answer


async def test_no_answer_scores_zero_and_not_nothing() -> None:
    assert await TASK.score(TASK.example("test", 0), "I do not know.") == 0.0


async def test_a_traceback_is_not_a_number_that_happens_to_be_right() -> None:
    """The reference returned tracebacks as answers; here they never reach the scorer (test_executor), and a text
    without the answer does not score."""
    example = TASK.example("test", 0)
    assert await TASK.score(example, "Traceback (most recent call last):\nKeyError: 'x'") == 0.0
