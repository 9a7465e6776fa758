"""ScEnsemble: the model names the most consistent of the candidates (self-consistency, Wang et al. 2023)."""

from __future__ import annotations

import string

from lamas_local.operators.base import OperatorCall, Reads, Update
from lamas_local.prompt import Prompt

LETTERS = string.ascii_uppercase


class ScEnsemble:
    """All solutions become one of them. Beyond 26 candidates the newest 26 are voted on."""

    name = "ScEnsemble"
    description = "Compares all candidate solutions and keeps the one that agrees best with the others."
    reads: Reads = "solutions"
    max_added = 1

    async def run(self, call: OperatorCall) -> Update:
        """Ask for a letter, which structured output holds to the candidates; one candidate needs no vote."""
        candidates = call.solutions[-len(LETTERS) :]
        winner = candidates[0]
        if len(candidates) > 1:
            letters = tuple(LETTERS[: len(candidates)])
            prompt = Prompt(
                instruction="You are given a problem and candidate solutions. Find the answer most of them agree on.",
                problem=call.problem,
                solutions=tuple(zip(letters, candidates, strict=True)),
                question="Reply with the letter of the best candidate.",
            )
            [letter] = await call.ask(prompt, choices=letters)
            winner = candidates[letters.index(letter)]
        return Update(added=(winner,), num_replaced=len(call.solutions))
