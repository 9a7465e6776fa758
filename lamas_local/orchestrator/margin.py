"""How long before a budget's end the work must be stopped, so that the answer is out in time: as measured."""

from __future__ import annotations

from collections import deque

NUM_KEPT = 32
LEAST_S = 0.02
"""Until something was measured, and always: the event loop's own delay, twice."""
MOST_SHARE = 0.25
"""Of a budget: a stall of the machine must not make the next answers worthless."""


class Margin:
    """The longest time that recent responses were out after the deadline that cut their work short."""

    def __init__(self) -> None:
        """Nothing is known yet."""
        self._lateness_s: deque[float] = deque(maxlen=NUM_KEPT)

    def of(self, budget_s: float) -> float:
        """Seconds to stop before the end of a budget."""
        return min(max(self._lateness_s, default=0.0) + LEAST_S, MOST_SHARE * budget_s)

    def learn(self, lateness_s: float) -> None:
        """A response was out so long after its deadline."""
        self._lateness_s.append(lateness_s)
