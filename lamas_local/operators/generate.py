"""Generate: the answer, straight away."""

from __future__ import annotations

from lamas_local.operators.base import OperatorCall, Reads, Update
from lamas_local.prompt import Prompt


class Generate:
    """One short solution."""

    name = "Generate"
    description = "Answers the problem directly and briefly, without showing any reasoning."
    reads: Reads = "problem"

    async def run(self, call: OperatorCall) -> Update:
        """Ask once."""
        texts = await call.ask(Prompt("Reply with only the final answer, nothing else.", call.problem))
        return Update(added=tuple(texts))
