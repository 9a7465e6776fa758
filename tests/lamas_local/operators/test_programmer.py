"""Programmer: asks for `solve()`, runs it, feeds errors back; a sandbox that runs nothing plays along."""

from __future__ import annotations

import pytest

from lamas_local.operators import OperatorError, Update
from lamas_local.operators.programmer import Programmer
from lamas_local.tasks import TaskPrompts
from tests.lamas_local.builders import result
from tests.lamas_local.operators.call import HOSTILE, Call

FAILED = result(status="error", traceback="ZeroDivisionError: {x} division by zero")


async def test_what_the_program_returns_becomes_an_answer_of_the_task() -> None:
    call = Call("Sure!\n```python\ndef solve():\n    return 4\n```\nThat is it.", runs=(result(" 4\n"),))
    assert await Programmer().run(call) == Update(added=("Answer: 4",))
    assert call.sandbox.runs == [("def solve():\n    return 4", "solve")]
    [(prompt, _, _)] = call.asked
    assert (prompt.problem, prompt.solutions) == (HOSTILE, ())
    assert "solve()" in prompt.instruction


async def test_the_answer_is_written_as_the_task_writes_it() -> None:
    prompts = TaskPrompts("Box it.", answer_prefix=r"\boxed{", answer_suffix="}")
    call = Call("def solve(): return 1", prompts=prompts, runs=(result("{0}"),))
    assert await Programmer().run(call) == Update(added=(r"\boxed{{0}}",))


async def test_it_sees_the_current_solution_where_there_is_one() -> None:
    call = Call("def solve(): return 4", solutions=("old", "maybe {5}"), runs=(result("4"),))
    await Programmer().run(call)
    assert [text for _, text in call.asked[0][0].solutions] == ["maybe {5}"]


async def test_an_error_is_fed_back_and_the_next_try_counts() -> None:
    call = Call("def solve(): return 1 / 0", "def solve(): return 4", runs=(FAILED, result("4")))
    assert await Programmer().run(call) == Update(added=("Answer: 4",))
    again = call.asked[1][0]
    assert [text for _, text in again.solutions] == [
        "def solve(): return 1 / 0",
        "ZeroDivisionError: {x} division by zero",
    ]


@pytest.mark.parametrize(
    ("run", "reason"),
    [
        (FAILED, "division by zero"),
        (result(status="timeout"), "timeout"),
        (result(status="memory"), "memory"),
        (result("None"), "returned nothing"),
        (result(""), "returned nothing"),
        (result(None), "returned nothing"),
    ],
)
async def test_after_three_tries_it_has_no_result(run: object, reason: str) -> None:
    call = Call(*["def solve(): ..."] * 5, runs=(run,))  # type: ignore[arg-type]
    with pytest.raises(OperatorError, match=reason) as caught:
        await Programmer().run(call)
    assert caught.value.failure.kind == "NoProgram"
    assert len(call.sandbox.runs) == len(call.asked) == 3
