"""Who watches a rollout while it runs."""

from __future__ import annotations

from typing import Protocol

from lamas_local.trace import OperatorSpan


class Observer(Protocol):
    """Is told of operators as they start and end. Must not block, and must not raise."""

    def started(self, layer: int, position: int, name: str) -> None:
        """An operator begins. The finaliser's are in a layer after the last, all at position 0."""
        ...

    def ended(self, layer: int, position: int, span: OperatorSpan) -> None:
        """It has ended, failed or been stopped; one that never began is not reported."""
        ...
