"""How rollouts of a run shared the engine: blocks of those that overlap in time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lamas_local.trace import RolloutTrace


@dataclass(frozen=True, slots=True)
class Block:
    """Rollouts that ran together, each overlapping with others; nothing else ran then."""

    traces: tuple[RolloutTrace, ...]
    """In order of their start."""
    at_once: int
    """Most that ran at the same moment."""


def blocks(traces: Sequence[RolloutTrace]) -> list[Block]:
    """The blocks of rollouts that are in order of their start; one that ran alone is a block of its own."""
    groups: list[list[RolloutTrace]] = []
    ended = float("-inf")
    for trace in traces:
        if not groups or trace.started >= ended:
            groups.append([])
        groups[-1].append(trace)
        ended = max(ended, trace.ended)
    return [Block(tuple(group), most_at_once(group)) for group in groups]


def most_at_once(traces: Sequence[RolloutTrace]) -> int:
    """The largest number of rollouts that run at the same moment; one that starts as another ends does not count."""
    changes = sorted([(trace.started, 1) for trace in traces] + [(trace.ended, -1) for trace in traces])
    running = most = 0
    for _, change in changes:
        running += change
        most = max(most, running)
    return max(most, 1)
