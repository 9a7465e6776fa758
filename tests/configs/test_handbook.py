"""The operator that reads much and writes little."""

from __future__ import annotations

import re

from configs.examples.handbook import HANDBOOK, Handbook
from lamas_local.operators import Update
from tests.lamas_local.operators.call import HOSTILE, Call


async def test_it_asks_once_with_the_question_before_the_long_text() -> None:
    call = Call("7")
    assert await Handbook().run(call) == Update(added=("7",))
    [(prompt, num_samples, choices)] = call.asked
    assert (num_samples, choices) == (1, None)
    assert HANDBOOK not in prompt.instruction  # what comes before the question could be served by a prefix cache
    assert prompt.problem == HOSTILE
    assert HANDBOOK in prompt.question
    assert call.stops == [("\n",)]


def test_the_handbook_is_right_and_long() -> None:
    lines = HANDBOOK.splitlines()[1:]
    for line in lines:
        first, second, total = map(int, re.findall(r"\d+", line))
        assert total == (first * second if "boxes" in line else first + second)
    assert len(lines) == 2 * 36
