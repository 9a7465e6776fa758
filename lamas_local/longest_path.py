"""The longest path of a dependency graph whose nodes have lengths: what layers become without barriers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from lamas_local.dataflow import Graph, Node


def finish_times(graph: Graph, lengths: Mapping[Node, float]) -> dict[Node, float]:
    """When each node ends if it starts as soon as all it waits for has ended; in the unit of `lengths`.

    Nodes without a length do not run: nobody waits for them.
    """
    ends: dict[Node, float] = {}
    for node in sorted(lengths):  # edges only lead to earlier layers
        ends[node] = max((ends[one] for one in graph[node] if one in ends), default=0.0) + lengths[node]
    return ends


def walk_back(graph: Graph, ends: Mapping[Node, float]) -> list[Node]:
    """From the node that ends last, each time to the one whose end its start had to wait for; in order of start.

    Of equals the first drawn.
    """
    path: list[Node] = []
    last = _last(ends, ends)
    while last is not None:
        path.append(last)
        last = _last(graph[last], ends)
    return path[::-1]


def _last(nodes: Iterable[Node], ends: Mapping[Node, float]) -> Node | None:
    return max(sorted(node for node in nodes if node in ends), key=lambda node: ends[node], default=None)
