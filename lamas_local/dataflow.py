"""Which results an operator waits for in `execution.mode: dataflow`: pure functions, no clock and no engine.

The state an operator sees is that of `layered`: the solutions at its layer's start, merged in drawn order. What of it
the operator reads is often known before the layers before it have ended, and then nothing else is waited for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lamas_local.operators.base import Update, merge
from lamas_local.trace import Reads, RolloutTrace

Node = tuple[int, int]
"""A drawn operator: (layer, position in drawn order)."""
Results = Mapping[Node, Update]
"""The operators that have ended, and what they did to the solutions: nothing, where they failed."""
Graph = Mapping[Node, tuple[Node, ...]]
"""What each operator waits for. Edges only lead to earlier layers."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """What an operator reads, and whose ends decided it."""

    solutions: tuple[str, ...]
    after: tuple[Node, ...]


def nodes(layers: Sequence[Sequence[object]]) -> list[Node]:
    """All operators in (layer, drawn) order."""
    return [(layer, position) for layer, drawn in enumerate(layers) for position in range(len(drawn))]


def inputs(reads: Sequence[Sequence[Reads]], node: Node, results: Results) -> Inputs | None:
    """What an operator reads, as soon as it is decided; None as long as it is not.

    Args:
        reads: what each operator declares, by layer and position; an EarlyStop has no place in it.
        node: the operator.
        results: those that have ended so far.
    """
    layer, position = node
    kind = reads[layer][position]
    if kind == "problem":
        return Inputs((), ())
    if kind == "solutions":
        before = tuple(nodes(reads[:layer]))
        return Inputs(merge_layers(reads[:layer], results), before) if all(one in results for one in before) else None
    return _current(reads[:layer], results)


def merge_layers(layers: Sequence[Sequence[object]], results: Results) -> tuple[str, ...]:
    """The solutions after these layers; an operator without a result changes nothing."""
    solutions: tuple[str, ...] = ()
    for layer, drawn in enumerate(layers):
        solutions = merge(solutions, [results.get((layer, i), Update(())) for i in range(len(drawn))])
    return solutions


def _current(layers: Sequence[Sequence[object]], results: Results) -> Inputs | None:
    """The newest solution after these layers: the last of the last operator that added one, so a failed operator
    leaves it to the one drawn before it. Operators drawn before the one that decides are not waited for."""
    after: list[Node] = []
    num_passed = 0  # the newest solutions that a later layer replaced without adding any
    for layer in reversed(range(len(layers))):
        num_replaced = 0
        for position in reversed(range(len(layers[layer]))):
            update = results.get((layer, position))
            if update is None:
                return None
            after.append((layer, position))
            if num_passed < len(update.added):
                return Inputs((update.added[-1 - num_passed],), tuple(after))
            num_passed -= len(update.added)
            num_replaced = max(num_replaced, update.num_replaced)
        num_passed += num_replaced
    return Inputs((), tuple(after))


def dependency_graph(reads: Sequence[Sequence[Reads]], results: Results | None = None) -> Graph:
    """What each operator waits for, given how all ended; as if each added one solution where that is not given."""
    ends = {node: Update(("",)) for node in nodes(reads)} if results is None else results
    return {node: _after(reads, node, ends) for node in nodes(reads)}


def reads_and_results(trace: RolloutTrace) -> tuple[tuple[tuple[Reads, ...], ...], dict[Node, Update]]:
    """What a rollout's operators declared, and what they did to the solutions, in numbers only: the texts are empty."""
    reads = tuple(tuple(span.reads for span in layer.operators) for layer in trace.layers)
    results = {
        (i, j): Update(("",) * span.num_added, span.num_replaced)
        for i, layer in enumerate(trace.layers)
        for j, span in enumerate(layer.operators)
    }
    return reads, results


def waited_for(trace: RolloutTrace) -> Graph:
    """Who waits for whom where a rollout's operators run as dataflow; those of the finaliser are not in it."""
    return dependency_graph(*reads_and_results(trace))


def graph_without(graph: Graph, left_out: Node, reads: Sequence[Sequence[Reads]], results: Results) -> Graph:
    """What each other operator of `dependency_graph(reads, results)` waits for where one was not drawn: who was to read
    its result reads another one."""
    ends = {**results, left_out: Update(())}
    return {
        node: _after(reads, node, ends) if left_out in after else after
        for node, after in graph.items()
        if node != left_out
    }


def _after(reads: Sequence[Sequence[Reads]], node: Node, results: Results) -> tuple[Node, ...]:
    found = inputs(reads, node, results)
    return () if found is None else found.after
