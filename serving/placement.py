"""Which of several replicas gets the next request: the least loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(slots=True)
class Load:
    """What a replica has in flight."""

    num_requests: int = 0
    num_tokens: int = 0
    """Prompt tokens and the most output tokens of those requests."""
    is_ready: bool = True
    """Whether it takes requests."""


def least_loaded(loads: Sequence[Load]) -> int | None:
    """The ready replica with the smallest share of all requests plus share of all tokens; of equals the first."""
    num_requests = max(sum(load.num_requests for load in loads), 1)
    num_tokens = max(sum(load.num_tokens for load in loads), 1)
    ready = [index for index, load in enumerate(loads) if load.is_ready]
    return min(
        ready,
        key=lambda index: loads[index].num_requests / num_requests + loads[index].num_tokens / num_tokens,
        default=None,
    )


class Placement:
    """The loads of all replicas."""

    def __init__(self, num_replicas: int) -> None:
        """Nothing is in flight and all are ready."""
        self.loads = [Load() for _ in range(num_replicas)]

    def choose(self) -> int | None:
        """The replica for a request; None while none is ready."""
        return least_loaded(self.loads)

    def add(self, replica: int, num_tokens: int) -> None:
        """A request of so many tokens goes to a replica."""
        self.loads[replica].num_requests += 1
        self.loads[replica].num_tokens += num_tokens

    def remove(self, replica: int, num_tokens: int) -> None:
        """It has left that replica."""
        self.loads[replica].num_requests -= 1
        self.loads[replica].num_tokens -= num_tokens
