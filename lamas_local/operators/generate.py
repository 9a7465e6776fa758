"""Generate: the answer, straight away."""

from __future__ import annotations

from lamas_local.operators.base import OperatorCall, Reads, Update
from lamas_local.prompt import Prompt


class Generate:
    """One solution of one line."""

    name = "Generate"
    description = "Answers the problem directly and briefly, without showing any reasoning."
    reads: Reads = "problem"

    async def run(self, call: OperatorCall) -> Update:
        """Ask once."""
        prompt = Prompt("Reply with only the final answer, in one short line.", call.problem)
        texts = await call.ask(prompt, stop=("\n",))
        return Update(added=tuple(texts))
