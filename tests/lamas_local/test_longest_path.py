"""The longest path, by hand and against all paths."""

from __future__ import annotations

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from lamas_local.dataflow import Node
from lamas_local.longest_path import finish_times, walk_back

GraphOf = dict[Node, tuple[Node, ...]]


def all_paths(graph: Mapping[Node, tuple[Node, ...]], node: Node) -> list[list[Node]]:
    """Every path that ends at a node."""
    return [[node]] + [[*path, node] for before in graph[node] for path in all_paths(graph, before)]


@st.composite
def graphs(draw: st.DrawFn) -> tuple[GraphOf, dict[Node, float]]:
    widths = draw(st.lists(st.integers(0, 3), min_size=1, max_size=4))
    every = [(layer, position) for layer, width in enumerate(widths) for position in range(width)]
    graph = {
        node: tuple(draw(st.lists(st.sampled_from(before), unique=True)))
        if (before := [one for one in every if one[0] < node[0]])
        else ()
        for node in every
    }
    return graph, {node: float(draw(st.integers(0, 9))) for node in every}


@given(graphs())
def test_against_all_paths(case: tuple[GraphOf, dict[Node, float]]) -> None:
    graph, lengths = case
    ends = finish_times(graph, lengths)
    for node in graph:
        assert ends[node] == max(sum(lengths[one] for one in path) for path in all_paths(graph, node))
    path = walk_back(graph, ends)
    if graph:
        assert sum(lengths[node] for node in path) == max(ends.values())
        assert path in all_paths(graph, path[-1])
        assert graph[path[0]] == ()
    else:
        assert path == []


def test_of_equals_the_first_drawn() -> None:
    graph: GraphOf = {(0, 0): (), (0, 1): (), (1, 0): ((0, 1), (0, 0)), (2, 0): ()}
    assert walk_back(graph, {(0, 0): 2.0, (0, 1): 2.0, (1, 0): 5.0, (2, 0): 5.0}) == [(0, 0), (1, 0)]


def test_what_has_no_length_does_not_run() -> None:
    graph: GraphOf = {(0, 0): (), (0, 1): (), (1, 0): ((0, 0), (0, 1))}
    ends = finish_times(graph, {(0, 0): 2.0, (1, 0): 3.0})
    assert ends == {(0, 0): 2.0, (1, 0): 5.0}
    assert walk_back(graph, ends) == [(0, 0), (1, 0)]
