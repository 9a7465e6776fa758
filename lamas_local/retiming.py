"""Rollouts as a cost model says they are: under the load they had, or at a reference load."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from lamas_local.cost_model import CostModel
from lamas_local.dataflow import Node, waited_for
from lamas_local.engine_load import observe, reference_work, timed_requests
from lamas_local.trace import LayerSpan, OperatorSpan, RolloutTrace


def at_reference(trace: RolloutTrace, model: CostModel, reference_load: int) -> RolloutTrace:
    """The rollout as the model says it would have been with so many other requests running; tools as measured."""
    predicted = iter(model.predict(reference_work(trace, reference_load)).total)
    return retime(trace, predicted, as_it_was=False)


def under_own_load(traces: Sequence[RolloutTrace], model: CostModel) -> list[RolloutTrace]:
    """The rollouts as the model says they were, from the load that each of their requests met.

    Args:
        traces: all that ran on one engine over some time, as for `observe`.
        model: preferably not fitted to any of them.
    """
    predicted = iter(model.predict(observe(timed_requests(traces))[0]).total)
    return [retime(trace, predicted, as_it_was=True) for trace in traces]


def retime(trace: RolloutTrace, seconds: Iterator[float], *, as_it_was: bool) -> RolloutTrace:
    """The same rollout with other seconds: steps add, spans of a step and operators of a layer count as their longest.

    In `dataflow` an operator starts when all it waited for have ended, and nothing waits for one that was aborted.

    Operators, layers and the rollout get new stamps, from 0 on; the spans in them keep what was measured. What passed
    between steps (0.03% of the seconds of a run on a CPU) is left out.

    Args:
        trace: what ran.
        seconds: of each request with stamps, in the order of layers, operators and steps. Failed requests and tools
            keep theirs.
        as_it_was: a tool's wait for a place counts, and what was reused took no time: `seconds` has none of it.
    """
    layers: list[LayerSpan] = []
    clock = 0.0  # when all so far has ended
    graph = waited_for(trace) if trace.mode == "dataflow" else None
    ends: dict[Node, float] = {}
    for index, layer in enumerate((*trace.layers, trace.finaliser)):
        in_turn = trace.mode == "sequential" or index == len(trace.layers)
        layer_start = clock
        operators: list[OperatorSpan] = []
        for position, operator in enumerate(layer.operators):
            started = clock if in_turn else layer_start
            if graph is not None and not in_turn:
                started = max((ends[node] for node in graph[index, position]), default=0.0)
            ended = started + _operator_seconds(operator, seconds, as_it_was)
            operators.append(replace(operator, started=started, ended=ended))
            ends[index, position] = ended
            clock = clock if operator.is_aborted else max(clock, ended)
        layers.append(
            LayerSpan(
                min((one.started for one in operators), default=layer_start),
                max((one.ended for one in operators), default=layer_start),
                tuple(operators),
            )
        )
    return replace(trace, started=0.0, ended=clock, layers=tuple(layers[:-1]), finaliser=layers[-1])


def _operator_seconds(operator: OperatorSpan, seconds: Iterator[float], as_it_was: bool) -> float:
    total = 0.0
    if as_it_was and operator.is_reused:
        return total
    for step in operator.steps:
        lengths = [0.0]
        for span in step:
            if span.kind == "tool":
                lengths.append(span.ended - (span.asked if as_it_was else span.started))
            else:
                lengths.append(span.ended - span.started if span.timing is None else float(next(seconds)))
        total += max(lengths)
    return total
