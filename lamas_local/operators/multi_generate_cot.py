"""MultiGenerateCoT: several chains of thought at once, candidates for a vote."""

from __future__ import annotations

from lamas_local.operators.base import OperatorCall, Reads, Update
from lamas_local.operators.generate_cot import chain_of_thought


class MultiGenerateCoT:
    """Three reasoned solutions, sampled at the same time."""

    name = "MultiGenerateCoT"
    description = "Writes three independent step-by-step solutions at the same time, so that a vote can choose."
    reads: Reads = "problem"
    num_samples = max_added = 3

    async def run(self, call: OperatorCall) -> Update:
        """Ask three times at once."""
        return Update(added=tuple(await call.ask(chain_of_thought(call), num_samples=self.num_samples)))
