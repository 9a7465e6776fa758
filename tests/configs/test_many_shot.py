"""The operator that reads much and writes little."""

from __future__ import annotations

import re

from configs.examples.many_shot import NUM_EXAMPLES, ManyShot, worked_examples
from lamas_local.operators import Update
from tests.lamas_local.operators.call import HOSTILE, Call


async def test_it_asks_once_after_many_worked_examples() -> None:
    call = Call("7")
    assert await ManyShot().run(call) == Update(added=("7",))
    [(prompt, num_samples, choices)] = call.asked
    assert (num_samples, choices) == (1, None)
    assert prompt.problem == HOSTILE
    assert [turn.role for turn in prompt.context] == ["user", "assistant"] * NUM_EXAMPLES
    assert call.stops == [("\n",)]


def test_the_examples_are_right_and_differ_from_problem_to_problem() -> None:
    turns = worked_examples("How many?")
    for asked, told in zip(turns[::2], turns[1::2], strict=True):
        numbers = re.findall(r"\d+", asked.content)
        first, sign, second, result = re.fullmatch(r"(\d+) ([+x]) (\d+) = (\d+)", told.content).groups()  # type: ignore[union-attr]
        assert [first, second] == numbers
        assert int(result) == (int(first) + int(second) if sign == "+" else int(first) * int(second))
    assert turns == worked_examples("How many?")
    assert not {turn.content for turn in turns[::2]} & {turn.content for turn in worked_examples("How much?")[::2]}
