"""A rollout's events, while it runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from time import monotonic

from lamas_local.orchestrator.view import EndedEvent, LamasEvent, StartedEvent, operator_status, output_tokens
from lamas_local.trace import OperatorSpan, RolloutTrace


class Progress:
    """`Observer` that hands on what it is told; times are seconds since `admitted`."""

    def __init__(self, admitted: float) -> None:
        """Make it before the rollout starts."""
        self._admitted = admitted
        self._queue: asyncio.Queue[LamasEvent | None] = asyncio.Queue()  # at most two events an operator

    def started(self, layer: int, position: int, name: str) -> None:
        """An operator begins."""
        at_s = monotonic() - self._admitted
        self._queue.put_nowait(StartedEvent(layer=layer, position=position, name=name, at_s=at_s))

    def ended(self, layer: int, position: int, span: OperatorSpan) -> None:
        """It has ended."""
        self._queue.put_nowait(
            EndedEvent(
                layer=layer,
                position=position,
                name=span.name,
                at_s=span.ended - self._admitted,
                output_tokens=output_tokens(span),
                status=operator_status(span),
            )
        )

    async def events(self, rollout: asyncio.Future[RolloutTrace]) -> AsyncIterator[LamasEvent]:
        """All of them until the rollout is done."""
        rollout.add_done_callback(lambda _: self._queue.put_nowait(None))
        while (event := await self._queue.get()) is not None:
            yield event
