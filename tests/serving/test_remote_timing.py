from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from serving.remote_timing import Interval, as_seen_by_caller
from serving.types import RequestTiming

REMOTE = RequestTiming(100.0, 100.5, 101.0, 102.0, 104.0, 104.5)


def stamps(timing: RequestTiming) -> list[float]:
    return [
        timing.submitted, timing.queued, timing.scheduled, timing.first_token, timing.last_token, timing.returned
    ]  # fmt: skip


def test_stamps_of_the_same_clock_stay() -> None:
    timing = as_seen_by_caller(REMOTE, Interval(99.0, 105.0), is_same_clock=True)
    assert stamps(timing) == [99.0, 100.5, 101.0, 102.0, 104.0, 105.0]
    assert not timing.is_shifted


def test_another_clock_s_are_moved_into_the_middle_and_marked() -> None:
    timing = as_seen_by_caller(REMOTE, Interval(7.0, 12.5), is_same_clock=False)
    assert stamps(timing) == [7.0, 8.0, 8.5, 9.5, 11.5, 12.5]
    assert timing.is_shifted


@given(
    st.lists(st.floats(0, 1e6), min_size=6, max_size=6).map(sorted),
    st.floats(-1e6, 1e6),
    st.floats(0, 1e3),
    st.booleans(),
)
def test_they_stay_in_order_whatever_the_clocks(
    remote: list[float], offset: float, on_the_way: float, is_same_clock: bool
) -> None:
    length = remote[-1] - remote[0] + 2 * on_the_way
    caller = Interval(offset, offset + length)
    seen = stamps(as_seen_by_caller(RequestTiming(*remote), caller, is_same_clock=is_same_clock))
    assert seen == sorted(seen)
    assert (seen[0], seen[-1]) == (caller.start, caller.end)
