from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from serving.placement import FREE_EXCESS, MAX_GROUPS, Load, Placement, is_overloaded, least_loaded

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
    assert placement.choose("q") is None


def test_idle_replicas_are_used_in_turn() -> None:
    placement = Placement(3)
    chosen = []
    for _ in range(3):
        index = placement.choose(None)
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


@given(st.lists(st.tuples(st.sampled_from("abcde"), st.integers(1, 500), st.booleans()), max_size=200))
def test_no_overloaded_replica_is_chosen_and_what_left_is_not_counted(arrivals: list[tuple[str, int, bool]]) -> None:
    placement = Placement(3)
    running: list[tuple[int, int]] = []
    for group, num_tokens, one_ends in arrivals:
        index = placement.choose(group)
        assert index is not None
        least = least_loaded(placement.loads)
        assert least is not None
        assert index == least or not is_overloaded(placement.loads[index], placement.loads[least])
        placement.add(index, num_tokens)
        running.append((index, num_tokens))
        if one_ends:
            placement.remove(*running.pop(0))
    for index, num_tokens in running:
        placement.remove(index, num_tokens)
    assert [(load.num_requests, load.num_tokens) for load in placement.loads] == [(0, 0)] * 3


def test_a_group_stays_until_its_replica_is_overloaded_and_then_moves() -> None:
    placement = Placement(2)
    chosen = []
    for _ in range(FREE_EXCESS + 2):
        index = placement.choose("q")
        assert index is not None
        placement.add(index, 10)
        chosen.append(index)
    assert chosen == [0] * (FREE_EXCESS + 1) + [1]
    assert placement.choose("q") == 1


def test_a_group_leaves_a_replica_that_is_not_ready() -> None:
    placement = Placement(2)
    assert placement.choose("q") == 0
    placement.loads[0].is_ready = False
    assert placement.choose("q") == 1
    placement.loads[0].is_ready = True
    assert placement.choose("q") == 1


def test_without_groups_only_loads_count() -> None:
    placement = Placement(2, by_group=False)
    assert placement.choose("q") == 0
    placement.add(0, 10)
    assert placement.choose("q") == 1


def test_the_oldest_groups_are_forgotten() -> None:
    placement = Placement(2)
    for number in range(MAX_GROUPS + 1):
        placement.choose(f"{number}")
    assert len(placement._homes) == MAX_GROUPS
    assert "0" not in placement._homes


def test_overload_is_relative_and_allows_a_few_more() -> None:
    assert not is_overloaded(Load(FREE_EXCESS), Load(0))
    assert is_overloaded(Load(FREE_EXCESS + 1), Load(0))
    assert not is_overloaded(Load(125 + FREE_EXCESS), Load(100))
    assert is_overloaded(Load(126 + FREE_EXCESS), Load(100))
