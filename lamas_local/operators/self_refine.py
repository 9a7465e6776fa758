"""SelfRefine: read the current solution, mend it, answer again (Madaan et al. 2023)."""

from __future__ import annotations

from lamas_local.operators.base import OperatorCall, Reads, Update
from lamas_local.prompt import Prompt


class SelfRefine:
    """One more solution, made from the current one."""

    name = "SelfRefine"
    description = "Checks the current solution for mistakes and writes a corrected version of it."
    reads: Reads = "solution"
    max_added = 1

    async def run(self, call: OperatorCall) -> Update:
        """Ask once."""
        prompt = Prompt(
            instruction=call.prompts.reasoning("Check the solution, then write a correct one"),
            problem=call.problem,
            solutions=(("Solution", call.solutions[-1]),),
        )
        return Update(added=tuple(await call.ask(prompt)))
