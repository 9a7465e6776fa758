"""An operator that output tokens call the cheapest and a clock the dearest: a long text to read, a number to write.

python -m bench.credit_signals --config configs/examples/handbook.yaml
"""

from __future__ import annotations

from lamas_local.operators import OperatorCall, Reads, Update
from lamas_local.prompt import Prompt

PAIRS = [(a, b) for a in range(2, 10) for b in range(a, 10)]
SUMS = [f"{a} of one kind and {b} of another: {a + b} in total." for a, b in PAIRS]
PRODUCTS = [f"{a} boxes with {b} in each: {a * b} in total." for a, b in PAIRS]
HANDBOOK = "\n".join(["This is the handbook.", *SUMS, *PRODUCTS])
"""About 1,100 tokens of the packaged model."""


class Handbook:
    """Looks the answer up in a handbook that follows the question.

    The question comes first and differs from query to query, so that the engine's prefix cache never holds the text
    behind it: every run prefills all of it, and then writes a few tokens.
    """

    name = "Handbook"
    description = "Looks the numbers of the problem up in a handbook and gives the number only."
    reads: Reads = "problem"
    max_added = 1

    async def run(self, call: OperatorCall) -> Update:
        """Ask once, for one line."""
        prompt = Prompt(
            instruction="Answer the question with the number only. Use the handbook below it.",
            problem=call.problem,
            question=f"{HANDBOOK}\n\n{call.problem}\nReply with the number only.",
        )
        return Update(added=tuple(await call.ask(prompt, stop=("\n",))))
