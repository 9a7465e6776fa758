"""One of the endpoints that answer for a model: what is under way there, and when it may be asked again."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from serving.clock import now
from serving.types import EngineError

FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 30.0
"""Before a failed endpoint is asked again: doubled with each failure in a row. `Retry-After` may ask for more."""


class EndpointError(EngineError):
    """An endpoint failed in a way that may pass: the same request may be answered there later, or elsewhere now."""

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        """`retry_after_s`: seconds that the endpoint asks to be left alone, where it says so."""
        super().__init__(message)
        self.retry_after_s = retry_after_s


@dataclass(slots=True)
class Endpoint:
    """An address, `base_url` as OpenAI's clients call it (it ends in `/v1`), and how it fares."""

    base_url: str
    num_in_flight: int = 0
    num_failures: int = 0
    """In a row; requests that were under way when it failed count as one failure, not each."""
    ready_at: float = 0.0
    """Loop time from which on it may be asked."""
    _failed_at: float = field(default=0.0, repr=False)

    def succeed(self) -> None:
        """It answered."""
        self.num_failures = 0

    def fail(self, sent: float, retry_after_s: float | None) -> None:
        """It failed a request that was sent at `sent`: leave it alone for a while."""
        if sent >= self._failed_at:
            self.num_failures += 1
            self._failed_at = now()
        # Clients that failed together must not come back together.
        wait_s = min(FIRST_WAIT_S * 2 ** min(self.num_failures - 1, 10), LONGEST_WAIT_S) * random.uniform(0.5, 1.0)
        self.ready_at = max(self.ready_at, now() + max(wait_s, retry_after_s or 0.0))


def least_loaded(endpoints: Sequence[Endpoint]) -> Endpoint | None:
    """The one to ask now: of those that may be asked, one with the fewest requests; None where all are left alone.

    One that has failed gets a single request until it answers, as long as there are others: it may hang.
    """

    def burden(endpoint: Endpoint) -> tuple[bool, int, float]:
        is_on_trial = endpoint.num_failures > 0 and endpoint.num_in_flight > 0
        # Among equals by lot, so that several programs with the same list do not all begin with its first.
        return is_on_trial, endpoint.num_in_flight, random.random()

    return min((endpoint for endpoint in endpoints if endpoint.ready_at <= now()), key=burden, default=None)


def soonest(endpoints: Sequence[Endpoint]) -> float:
    """Loop time at which the first of them may be asked again."""
    return min(endpoint.ready_at for endpoint in endpoints)
