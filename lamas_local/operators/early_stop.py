"""EarlyStop: drawing it ends the architecture. It runs nothing and costs nothing."""

from __future__ import annotations

from lamas_local.operators.base import EARLY_STOP, OperatorCall, Reads, Update


class EarlyStop:
    """The choice to be done."""

    name = EARLY_STOP
    description = "Stops here and returns the current answer, because more work would not improve it."
    reads: Reads = "solution"

    async def run(self, call: OperatorCall) -> Update:
        """Never called by the executor; changes nothing."""
        return Update(added=())
