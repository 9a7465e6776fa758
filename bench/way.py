"""The ways to run an architecture that are compared."""

from __future__ import annotations

from dataclasses import dataclass

from lamas_local.trace import ExecutionMode


@dataclass(frozen=True, slots=True)
class Way:
    """One way to run an architecture."""

    name: str
    mode: ExecutionMode
    abort: bool = False
    """Whether what can no longer matter is stopped."""


WAYS = (
    Way("sequential", "sequential"),
    Way("layered", "layered"),
    Way("dataflow-whole", "dataflow"),
    Way("dataflow", "dataflow", abort=True),
)
"""A benchmark runs every case in each of them."""
PAIRS = (("layered", "sequential"), ("dataflow", "layered"), ("dataflow", "dataflow-whole"))
"""Which way is compared with which; the last is what aborting saves."""


def order_of_ways(case: int, repeat: int) -> tuple[Way, ...]:
    """Which way goes first changes from case to case and from repeat to repeat."""
    first = (case + repeat) % len(WAYS)
    return WAYS[first:] + WAYS[:first]
