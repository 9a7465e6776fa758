"""What an engine did with many requests that were there at once: how fast, and how full it was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate


@dataclass(frozen=True, slots=True)
class Served:
    """One pass over a set of requests."""

    seconds: float
    """From the first request handed over to the last answer in the caller's hands."""
    num_requests: int
    num_prompt_tokens: int
    num_cached_tokens: int
    num_output_tokens: int
    running: tuple[tuple[float, float], ...]
    """Per request, when it was first scheduled and when its last token was made, monotonic seconds."""

    @property
    def tokens_per_s(self) -> float:
        """Output tokens per second."""
        return self.num_output_tokens / self.seconds

    @property
    def mean_running(self) -> float:
        """Requests in the engine's batch, averaged over `seconds`."""
        return sum(ended - started for started, ended in self.running) / self.seconds

    def share_below(self, num_running: int) -> float:
        """Share of `seconds` with fewer than `num_running` requests in the batch: there batching gains less."""
        return 1.0 - seconds_with(self.running, num_running) / self.seconds


def seconds_with(running: Sequence[tuple[float, float]], at_least: int) -> float:
    """For how long at least so many (1 or more) of the intervals overlapped."""
    events = sorted([(started, 1) for started, _ in running] + [(ended, -1) for _, ended in running])
    depths = accumulate(change for _, change in events)
    times = [time for time, _ in events]
    return sum(
        after - before
        for before, after, depth in zip(times, times[1:], depths, strict=False)  # the last depth, 0, lasts no time
        if depth >= at_least
    )
