"""What an operator waits for and what it then reads, against the merge of whole layers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lamas_local.dataflow import Inputs, Node, dependency_graph, graph_without, inputs, merge_layers, nodes
from lamas_local.operators.base import Reads, Update, visible

KINDS: tuple[Reads, ...] = ("problem", "solution", "solution_if_any", "solutions")
Layers = list[list[Reads]]

layers_of_reads = st.lists(st.lists(st.sampled_from(KINDS), min_size=0, max_size=3), min_size=1, max_size=4)
updates = st.builds(Update, st.lists(st.sampled_from("abc"), max_size=2).map(tuple), st.integers(0, 3))


@st.composite
def ended(draw: st.DrawFn) -> tuple[Layers, dict[Node, Update]]:
    """An architecture, and what each of its operators did: anything."""
    reads: Layers = draw(layers_of_reads)
    return reads, {node: draw(updates) for node in nodes(reads)}


@given(ended())
def test_what_is_read_is_what_it_would_be_in_layers(case: tuple[Layers, dict[Node, Update]]) -> None:
    reads, results = case
    for layer, position in nodes(reads):
        found = inputs(reads, (layer, position), results)
        assert found is not None
        assert found.solutions == visible(reads[layer][position], merge_layers(reads[:layer], results))
        assert all(one < layer for one, _ in found.after)


@given(ended(), st.data())
def test_it_is_known_when_all_it_waits_for_have_ended_and_not_before(
    case: tuple[Layers, dict[Node, Update]], data: st.DataObject
) -> None:
    reads, results = case
    node = data.draw(st.sampled_from(nodes(reads) or [(0, 0)]))
    if node not in results:
        return
    whole = inputs(reads, node, results)
    assert whole is not None
    alone = {one: results[one] for one in whole.after}
    assert inputs(reads, node, alone) == whole
    for missing in whole.after:
        assert inputs(reads, node, {one: update for one, update in results.items() if one != missing}) is None


@given(ended())
def test_nobody_waits_for_what_cannot_matter(case: tuple[Layers, dict[Node, Update]]) -> None:
    """Whatever those do that a reader of the current solution does not wait for, it reads the same."""
    reads, results = case
    for layer, position in nodes(reads):
        if reads[layer][position] not in ("solution", "solution_if_any"):
            continue
        found = inputs(reads, (layer, position), results)
        assert found is not None
        others = [node for node in nodes(reads[:layer]) if node not in found.after]
        for update in (Update(()), Update(("x", "y")), Update((), 2)):
            changed = {**results, **dict.fromkeys(others, update)}
            assert inputs(reads, (layer, position), changed) == found


def test_the_graph_by_hand() -> None:
    reads: Layers = [["problem", "problem"], ["solution", "problem"], ["solutions"], ["solution_if_any", "problem"]]
    assert dependency_graph(reads) == {
        (0, 0): (),
        (0, 1): (),
        (1, 0): ((0, 1),),
        (1, 1): (),
        (2, 0): ((0, 0), (0, 1), (1, 0), (1, 1)),
        (3, 0): ((2, 0),),
        (3, 1): (),
    }


def test_the_graph_of_what_came_of_it() -> None:
    reads: Layers = [["problem", "problem"], ["problem"], ["solution"]]
    one, none = Update(("a",)), Update(())
    for last, second, first, after in (
        (one, one, one, ((1, 0),)),
        (none, one, one, ((1, 0), (0, 1))),
        (none, none, one, ((1, 0), (0, 1), (0, 0))),
        (none, none, none, ((1, 0), (0, 1), (0, 0))),
    ):
        assert dependency_graph(reads, {(0, 0): first, (0, 1): second, (1, 0): last})[2, 0] == after


@given(ended(), st.data())
def test_without_one_the_others_wait_as_if_it_had_not_been_drawn(
    case: tuple[Layers, dict[Node, Update]], data: st.DataObject
) -> None:
    reads, results = case
    if not results:
        return
    left_out = data.draw(st.sampled_from(nodes(reads)))
    found = graph_without(dependency_graph(reads, results), left_out, reads, results)
    anew = dependency_graph(reads, {**results, left_out: Update(())})
    assert found == {node: after for node, after in anew.items() if node != left_out}


def test_what_was_replaced_without_an_addition_leaves_the_one_before_it() -> None:
    reads: Layers = [["problem", "problem"], ["solution"], ["solution"]]
    results = {(0, 0): Update(("a",)), (0, 1): Update(("b",)), (1, 0): Update((), num_replaced=1)}
    assert inputs(reads, (2, 0), results) == Inputs(("a",), ((1, 0), (0, 1), (0, 0)))


def test_in_layer_1_there_is_nothing_to_wait_for() -> None:
    for kind in KINDS:
        assert inputs([[kind]], (0, 0), {}) == Inputs((), ())


def test_an_operator_without_a_result_changes_nothing() -> None:
    layers: Layers = [["problem", "problem"], ["solutions"]]
    some = {(0, 1): Update(("b",))}
    assert merge_layers(layers, some) == ("b",)
    assert merge_layers(layers, {**some, (1, 0): Update(("c",), 1)}) == ("c",)
    assert merge_layers([], {}) == ()
