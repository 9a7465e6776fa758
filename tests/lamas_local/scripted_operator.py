"""An operator that needs no engine, and a call of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

from lamas_local.operator_call import RunningCall
from lamas_local.operators.base import Operator, OperatorCall, OperatorError, Reads, Update
from lamas_local.tasks.base import Query
from lamas_local.trace import Failure
from serving.clock import now


class ScriptedOperator:
    """An operator that adds what a function says; it fails where that is None."""

    description = "Does as it is told."

    def __init__(self, name: str, reads: Reads, text: Callable[[OperatorCall], str | None], delay_s: float = 0) -> None:
        self.name, self.reads, self._text, self._delay_s = name, reads, text, delay_s
        self.num_runs = 0

    async def run(self, call: OperatorCall) -> Update:
        self.num_runs += 1
        if self._delay_s:
            await asyncio.sleep(self._delay_s)
        text = self._text(call)
        if text is None:
            raise OperatorError(Failure("Unlucky", "it happens"))
        return Update((text,))


def new_call(operator: Operator, solutions: tuple[str, ...] = (), query_id: str = "q") -> RunningCall:
    return RunningCall(cast(Any, None), operator, Query(query_id, "?"), "train-1", (), solutions, now())
