"""Generate: the answer, straight away."""

from __future__ import annotations

from lamas_local.operators.base import OperatorCall, Reads, Update
from lamas_local.prompt import Prompt


class Generate:
    """One solution without reasoning; how such an answer looks is the task's to say."""

    name = "Generate"
    description = "Answers the problem directly and briefly, without showing any reasoning."
    reads: Reads = "problem"
    max_added = 1

    async def run(self, call: OperatorCall) -> Update:
        """Ask once."""
        prompt = Prompt(call.prompts.direct, call.problem)
        return Update(added=tuple(await call.ask(prompt, stop=call.prompts.direct_stop)))
