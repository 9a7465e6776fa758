"""Which of several replicas gets the next request: the least loaded, or the one that has a group's prompts cached."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

MAX_GROUPS = 4096
"""Groups whose replica is remembered; the least recently used go first."""
FREE_EXCESS, MAX_EXCESS = 4, 1.25
"""A group's replica is overloaded with more requests than `MAX_EXCESS` times the least loaded one's, plus
`FREE_EXCESS`."""


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


def is_overloaded(load: Load, least: Load) -> bool:
    """Whether a replica has so much more to do than the least loaded one that its cache is not worth the wait."""
    return load.num_requests > MAX_EXCESS * least.num_requests + FREE_EXCESS


class Placement:
    """The loads of all replicas, and where each group went last."""

    def __init__(self, num_replicas: int, *, by_group: bool = True) -> None:
        """Nothing is in flight and all are ready. Without `by_group` only loads count."""
        self.loads = [Load() for _ in range(num_replicas)]
        self._by_group = by_group
        self._homes: OrderedDict[str, int] = OrderedDict()

    def choose(self, group: str | None) -> int | None:
        """The replica for a request of a group; None while none is ready."""
        least = least_loaded(self.loads)
        if least is None or group is None or not self._by_group:
            return least
        home = self._homes.get(group, least)
        if not self.loads[home].is_ready or is_overloaded(self.loads[home], self.loads[least]):
            home = least
        self._homes[group] = home
        self._homes.move_to_end(group)
        if len(self._homes) > MAX_GROUPS:
            self._homes.popitem(last=False)
        return home

    def add(self, replica: int, num_tokens: int) -> None:
        """A request of so many tokens goes to a replica."""
        self.loads[replica].num_requests += 1
        self.loads[replica].num_tokens += num_tokens

    def remove(self, replica: int, num_tokens: int) -> None:
        """It has left that replica."""
        self.loads[replica].num_requests -= 1
        self.loads[replica].num_tokens -= num_tokens
