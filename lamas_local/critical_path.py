"""The chain of operators that decides when the answer is ready, by tokens or by seconds: pure functions over traces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from lamas_local.dataflow import Graph, Node, Results, dependency_graph, graph_without, reads_and_results
from lamas_local.longest_path import finish_times, walk_back
from lamas_local.trace import ExecutionMode, OperatorSpan, Reads, RolloutTrace, Span

Measure = Literal["tokens", "seconds"]
Lengths = tuple[tuple[float, ...], ...]
"""Per layer, each operator's own length."""


@dataclass(frozen=True, slots=True)
class CriticalPath:
    """The longest chain through one rollout."""

    length: float
    """Output tokens or seconds, by the measure asked for."""
    stages: tuple[float, ...]
    """What each layer, then the finaliser, has of the path; they sum to `length`. In `dataflow`, the path's operator in
    that layer, 0 where the path passes the layer by; otherwise the layer's own length."""
    critical: tuple[frozenset[int], ...]
    """Per layer, the positions (drawn order) of its operators on the path. The finaliser is never credited."""
    operators: Lengths
    """Per layer, each operator's own length."""
    slack: tuple[tuple[float, ...], ...]
    """Per layer and operator, what leaving that operator out would save; 0 off the path. In `dataflow` others may then
    wait for something else, so that it is more than the operator's own length, or below 0 where that is slower."""
    to_go: tuple[float, ...]
    """Per layer, what all later layers and the finaliser add to the path of the layers up to it."""

    def slack_of(self, layer: int, position: int) -> float:
        """Slack of the draw at a position of a layer; an EarlyStop stands last, runs nothing and has none."""
        slack = self.slack[layer]
        return slack[position] if position < len(slack) else 0.0


def critical_path(trace: RolloutTrace, measure: Measure, tokens_per_second: float = 50.0) -> CriticalPath:
    """The critical path of a rollout (LAMaS sec. 3).

    In layers: the longest operator of each layer, plus the finaliser; operators that ran one after another are all on
    it. In `dataflow`: the longest path of the dependency graph, plus the finaliser. `tokens_per_second` turns the
    seconds of a tool into tokens and is not used for `seconds`.
    """
    operators = tuple(
        tuple(operator_length(span, measure, tokens_per_second) for span in layer.operators) for layer in trace.layers
    )
    if measure == "tokens":
        finaliser = sum(operator_length(span, measure, tokens_per_second) for span in trace.finaliser.operators)
        return path_of_lengths(trace, operators, finaliser)
    # A stage's own stamps, so that what passes between its operators is counted and the stages fill the rollout.
    if trace.mode == "dataflow":
        return _stamped_path(trace, operators)
    stages = [layer.ended - layer.started for layer in (*trace.layers, trace.finaliser)]
    return _path_of_stages(stages, operators, trace.mode)


def path_of_lengths(trace: RolloutTrace, operators: Lengths, finaliser: float) -> CriticalPath:
    """The critical path if the rollout's operators had these lengths, in any unit, and its finaliser that one.

    In `dataflow`, what was aborted is no part of it.
    """
    if trace.mode == "dataflow":
        flow = _flow(trace)
        return _path_of_graph(flow, operators, {(i, j): operators[i][j] for i, j in flow.ended}, finaliser)
    stages = [*(_stage_length(lengths, trace.mode) for lengths in operators), finaliser]
    return _path_of_stages(stages, operators, trace.mode)


def operator_length(operator: OperatorSpan, measure: Measure, tokens_per_second: float) -> float:
    """An operator's own longest chain: its steps add, the spans of one step count as their longest."""
    if measure == "seconds":
        return operator.ended - operator.started
    return sum(max((_span_tokens(span, tokens_per_second) for span in step), default=0.0) for step in operator.steps)


def _span_tokens(span: Span, tokens_per_second: float) -> float:
    if span.kind == "tool":
        return (span.ended - span.started) * tokens_per_second
    return float(span.num_output_tokens)


def _path_of_stages(stages: Sequence[float], operators: Lengths, mode: ExecutionMode) -> CriticalPath:
    return CriticalPath(
        length=sum(stages),
        stages=tuple(stages),
        critical=tuple(_critical_positions(lengths, mode) for lengths in operators),
        operators=operators,
        slack=tuple(_slack(lengths, mode) for lengths in operators),
        to_go=tuple(sum(stages[layer + 1 :]) for layer in range(len(operators))),
    )


def _stage_length(lengths: tuple[float, ...], mode: ExecutionMode) -> float:
    return sum(lengths) if mode == "sequential" else max(lengths, default=0.0)


def _critical_positions(lengths: tuple[float, ...], mode: ExecutionMode) -> frozenset[int]:
    if mode == "sequential":
        return frozenset(range(len(lengths)))
    return frozenset({lengths.index(max(lengths))}) if lengths else frozenset()


def _slack(lengths: tuple[float, ...], mode: ExecutionMode) -> tuple[float, ...]:
    whole = _stage_length(lengths, mode)
    return tuple(whole - _stage_length(lengths[:i] + lengths[i + 1 :], mode) for i in range(len(lengths)))


@dataclass(frozen=True, slots=True)
class _Flow:
    """What a dataflow's operators read and what became of them."""

    reads: tuple[tuple[Reads, ...], ...]
    results: Results
    ended: Mapping[Node, OperatorSpan]
    """Those that were not aborted: the answer waited for no other."""
    graph: Graph


def _flow(trace: RolloutTrace) -> _Flow:
    reads, results = reads_and_results(trace)
    ended = {
        (i, j): span
        for i, layer in enumerate(trace.layers)
        for j, span in enumerate(layer.operators)
        if not span.is_aborted
    }
    return _Flow(reads, results, ended, dependency_graph(reads, results))


def _stamped_path(trace: RolloutTrace, operators: Lengths) -> CriticalPath:
    """By the operators' own ends. An operator's length begins where the last end it waited for was, so that what passes
    in between is counted and the stages fill the rollout."""
    flow = _flow(trace)
    ends = {node: span.ended - trace.started for node, span in flow.ended.items()}
    lengths = {node: end - max((ends[one] for one in flow.graph[node]), default=0.0) for node, end in ends.items()}
    finaliser = trace.finaliser.ended - trace.started - max(ends.values(), default=0.0)
    return _path_of_graph(flow, operators, lengths, finaliser)


def _path_of_graph(flow: _Flow, operators: Lengths, lengths: Mapping[Node, float], finaliser: float) -> CriticalPath:
    """The longest path of the dependency graph. `to_go` is what a layer's draws can still change by what follows
    them: an operator off the path of the layers up to it pays for later layers like any other."""
    ends = finish_times(flow.graph, lengths)
    path = dict(walk_back(flow.graph, ends))  # its one operator in each layer it does not pass by
    whole = max(ends.values(), default=0.0)
    num_layers = len(operators)
    stages = [*(lengths[layer, path[layer]] if layer in path else 0.0 for layer in range(num_layers)), finaliser]
    return CriticalPath(
        length=whole + finaliser,
        stages=tuple(stages),
        critical=tuple(frozenset({path[layer]} if layer in path else ()) for layer in range(num_layers)),
        operators=operators,
        slack=tuple(
            tuple(whole - _length_without(flow, lengths, (layer, i)) for i in range(len(operators[layer])))
            for layer in range(num_layers)
        ),
        to_go=tuple(
            finaliser + whole - max((end for node, end in ends.items() if node[0] <= layer), default=0.0)
            for layer in range(num_layers)
        ),
    )


def _length_without(flow: _Flow, lengths: Mapping[Node, float], left_out: Node) -> float:
    """The longest path had an operator not been drawn."""
    others = {node: length for node, length in lengths.items() if node != left_out}
    graph = graph_without(flow.graph, left_out, flow.reads, flow.results)
    return max(finish_times(graph, others).values(), default=0.0)
