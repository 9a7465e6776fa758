"""The operator Test: public examples only, and a solution is replaced only by one that passes them."""

from __future__ import annotations

import pytest

from lamas_local.operators import OPERATORS, Update
from lamas_local.operators.test import write_tests
from lamas_local.sandbox import SandboxResult
from lamas_local.tasks import TaskPrompts
from tests.lamas_local.builders import result
from tests.lamas_local.operators.call import Call

MINE, MENDED = (f"def double(x):\n    return x * {n}" for n in (3, 2))
PROBLEM = 'def double(x):\n    """Twice x.\n    >>> double(2)\n    4\n    >>> double(-1)\n    -2\n    """\n'
FAILED = result(status="error", traceback="AssertionError: double(2) returned 3, not 4")
PASSED = result()


def call(*answers: str, runs: tuple[SandboxResult, ...], solutions: tuple[str, ...] = ("older", MINE)) -> Call:
    prompts = TaskPrompts("Write the whole {function}.")
    return Call(*answers, solutions=solutions, problem=PROBLEM, entry_point="double", prompts=prompts, runs=runs)


async def run(view: Call) -> Update:
    return await OPERATORS["Test"]().run(view)


async def test_a_solution_that_passes_stays_and_nothing_is_asked() -> None:
    view = call(runs=(PASSED,))
    assert await run(view) == Update(added=(MINE,), num_replaced=1)
    assert view.asked == []
    [(code, entry_point, tests)] = view.sandbox.runs
    assert (code, entry_point) == (MINE, "double")
    assert "double(2)" in tests
    assert "double(-1)" in tests


async def test_one_that_fails_is_mended_with_the_failing_example_in_view() -> None:
    view = call(MENDED, runs=(FAILED, PASSED))
    assert await run(view) == Update(added=(MENDED,), num_replaced=1)
    [(prompt, _, _)] = view.asked
    assert [text for _, text in prompt.solutions] == [MINE, "AssertionError: double(2) returned 3, not 4"]
    assert "Write the whole {function}." in prompt.instruction


async def test_after_three_checks_the_solution_is_unchanged() -> None:
    view = call(*(f"def double(x):\n    return {n}" for n in range(5)), runs=(FAILED,))
    assert await run(view) == Update(added=(MINE,), num_replaced=1)
    assert [code for code, *_ in view.sandbox.runs] == [
        MINE,
        "def double(x):\n    return 0",
        "def double(x):\n    return 1",
    ]


async def test_a_solution_without_code_is_asked_for_again() -> None:
    view = call(MENDED, runs=(PASSED,), solutions=("no code here",))
    assert await run(view) == Update(added=(MENDED,), num_replaced=1)
    assert view.asked[0][0].solutions[1][1] == "there is no Python in it that defines the function"
    assert len(view.sandbox.runs) == 1


async def test_a_timeout_is_told_too() -> None:
    view = call(MENDED, runs=(result(status="timeout"), PASSED))
    await run(view)
    assert "timeout" in view.asked[0][0].solutions[1][1]


@pytest.mark.parametrize(
    "view",
    [
        Call(solutions=(MINE,), problem=PROBLEM),  # no code task
        Call(solutions=(MINE,), problem="def double(x):\n    '''Twice x.'''", entry_point="double"),
    ],
)
async def test_without_examples_there_is_nothing_to_do(view: Call) -> None:
    assert await run(view) == Update(added=(MINE,), num_replaced=1)
    assert view.asked == []
    assert view.sandbox.runs == []


def test_the_assertions_say_what_was_called_returned_and_expected() -> None:
    tests = write_tests([("double(2)", "4"), ("double('{0}')", "'{0}{0}'")])
    exec(tests, {"double": lambda x: x * 2, "_expect": None})
    with pytest.raises(AssertionError, match=r"^double\(2\) returned 3, not 4$"):
        exec(tests, {"double": lambda x: 3})
