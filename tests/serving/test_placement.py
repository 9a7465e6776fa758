from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from serving.placement import Load, Placement, least_loaded

loads = st.lists(
    st.builds(Load, num_requests=st.integers(0, 300), num_tokens=st.integers(0, 100_000), is_ready=st.booleans()),
    min_size=1,
    max_size=6,
)


def test_fewer_requests_win_at_equal_tokens_and_fewer_tokens_at_equal_requests() -> None:
    assert least_loaded([Load(3, 100), Load(2, 100)]) == 1
    assert least_loaded([Load(2, 300), Load(2, 100)]) == 1


def test_one_long_prompt_outweighs_a_few_short_ones() -> None:
    assert least_loaded([Load(1, 4000), Load(2, 200)]) == 1


def test_none_where_none_is_ready() -> None:
    placement = Placement(2)
    for load in placement.loads:
        load.is_ready = False
    assert placement.choose() is None


def test_idle_replicas_are_used_in_turn() -> None:
    placement = Placement(3)
    chosen = []
    for _ in range(3):
        index = placement.choose()
        assert index is not None
        placement.add(index, 10)
        chosen.append(index)
    assert chosen == [0, 1, 2]


@given(loads)
def test_nobody_ready_has_less_of_both(several: list[Load]) -> None:
    chosen = least_loaded(several)
    if chosen is None:
        assert not any(load.is_ready for load in several)
        return
    assert several[chosen].is_ready
    best = several[chosen]
    ready = [load for load in several if load.is_ready]
    assert not any(load.num_requests < best.num_requests and load.num_tokens < best.num_tokens for load in ready)


@given(st.lists(st.tuples(st.integers(1, 500), st.booleans()), max_size=200))
def test_what_left_is_not_counted(arrivals: list[tuple[int, bool]]) -> None:
    placement = Placement(3)
    running: list[tuple[int, int]] = []
    for num_tokens, one_ends in arrivals:
        index = placement.choose()
        assert index is not None
        placement.add(index, num_tokens)
        running.append((index, num_tokens))
        if one_ends:
            placement.remove(*running.pop(0))
    for index, num_tokens in running:
        placement.remove(index, num_tokens)
    assert [(load.num_requests, load.num_tokens) for load in placement.loads] == [(0, 0)] * 3
