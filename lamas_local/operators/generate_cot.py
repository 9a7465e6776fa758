"""GenerateCoT: think step by step (Wei et al. 2022), then answer."""

from __future__ import annotations

from lamas_local.operators.base import OperatorCall, Reads, Update
from lamas_local.prompt import Prompt


def chain_of_thought(call: OperatorCall) -> Prompt:
    """The prompt of one chain; several chains of a problem share it."""
    return Prompt(call.prompts.reasoning("Think step by step"), call.problem)


class GenerateCoT:
    """One reasoned solution."""

    name = "GenerateCoT"
    description = "Reasons step by step about the problem before it answers: slower, for problems with several steps."
    reads: Reads = "problem"
    max_added = 1

    async def run(self, call: OperatorCall) -> Update:
        """Ask once."""
        return Update(added=tuple(await call.ask(chain_of_thought(call))))
