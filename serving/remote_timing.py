"""Stamps of a request that ran in another process, as its caller's clock would have made them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from serving.types import RequestTiming


@dataclass(frozen=True, slots=True)
class Interval:
    """From one moment of a clock to a later one, in seconds."""

    start: float
    end: float


def as_seen_by_caller(timing: RequestTiming, caller: Interval, *, is_same_clock: bool) -> RequestTiming:
    """A request's timing with `submitted` and `returned` of the caller.

    Stamps of the caller's own clock stay, within the caller's interval. Those of another machine are moved as a whole,
    so that `submitted` and `returned` as the engine's process saw them lie in the middle of the caller's: both ways are
    taken to be equally long, as NTP does.

    Args:
        timing: as stamped in the engine's process.
        caller: from handing the request over to having the completion.
        is_same_clock: whether both processes read the same clock.
    """
    shift = 0.0 if is_same_clock else (caller.start + caller.end - timing.submitted - timing.returned) / 2

    def place(stamp: float) -> float:
        return min(max(stamp + shift, caller.start), caller.end)

    return replace(
        timing,
        submitted=caller.start,
        queued=place(timing.queued),
        scheduled=place(timing.scheduled),
        first_token=place(timing.first_token),
        last_token=place(timing.last_token),
        returned=caller.end,
        is_shifted=not is_same_clock,
    )
