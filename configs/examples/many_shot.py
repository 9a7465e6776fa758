"""An operator that output tokens call the cheapest and a clock the dearest: it reads much and writes little.

python -m bench.credit_signals --config configs/examples/many_shot.yaml
"""

from __future__ import annotations

import re

from lamas_local.operators import OperatorCall, Reads, Update
from lamas_local.prompt import Prompt
from lamas_local.seeds import derive_seed
from lamas_local.tasks.arithmetic import ArithmeticTask
from lamas_local.tasks.base import Example
from serving.types import Message

NUM_EXAMPLES = 30
"""About 1,200 tokens of the packaged model."""
LIBRARY = ArithmeticTask(levels=(1, 2), seed=0)
LIBRARY_SIZE = 1_000_000


class ManyShot:
    """Answers after worked examples that are picked for each problem, as retrieval does.

    So the engine's prefix cache never holds them: every run prefills all of them, and then writes one short line.
    """

    name = "ManyShot"
    description = "Reads thirty worked examples and answers with one short sum like theirs."
    reads: Reads = "problem"
    max_added = 1

    async def run(self, call: OperatorCall) -> Update:
        """Ask once, for one line."""
        prompt = Prompt("Answer like the examples.", call.problem, context=worked_examples(call.problem))
        return Update(added=tuple(await call.ask(prompt, stop=("\n",))))


def worked_examples(problem: str) -> tuple[Message, ...]:
    """Training problems with their sums, in turns; other ones for every problem."""
    first = derive_seed("many-shot", problem) % LIBRARY_SIZE
    examples = [LIBRARY.example("train", first + index) for index in range(NUM_EXAMPLES)]
    return tuple(
        turn
        for example in examples
        for turn in (Message("user", example.query.problem), Message("assistant", worked(example)))
    )


def worked(example: Example) -> str:
    """`7 + 2 = 9` for a problem with two numbers."""
    first, second, *_ = map(int, re.findall(r"\d+", example.query.problem))
    sign = "+" if first + second == int(example.gold) else "x"
    return f"{first} {sign} {second} = {example.gold}"
