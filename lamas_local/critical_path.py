"""The chain of operators that decides when the answer is ready, by tokens or by seconds: pure functions over traces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lamas_local.trace import ExecutionMode, OperatorSpan, RolloutTrace, Span

Measure = Literal["tokens", "seconds"]


@dataclass(frozen=True, slots=True)
class CriticalPath:
    """The longest chain through one rollout."""

    length: float
    """Output tokens or seconds, by the measure asked for."""
    stages: tuple[float, ...]
    """Length of each layer, then of the finaliser; they sum to `length`."""
    critical: tuple[frozenset[int], ...]
    """Per layer, the positions (drawn order) of its operators on the path. The finaliser is never credited."""
    operators: tuple[tuple[float, ...], ...]
    """Per layer, each operator's own length."""
    slack: tuple[tuple[float, ...], ...]
    """Per layer and operator, what leaving that operator out would save; 0 off the path."""

    def slack_of(self, layer: int, position: int) -> float:
        """Slack of the draw at a position of a layer; an EarlyStop stands last, runs nothing and has none."""
        slack = self.slack[layer]
        return slack[position] if position < len(slack) else 0.0


def critical_path(trace: RolloutTrace, measure: Measure, tokens_per_second: float = 50.0) -> CriticalPath:
    """The critical path of a rollout (LAMaS sec. 3): the longest operator of each layer, plus the finaliser.

    Operators that ran one after another are all on the path. `tokens_per_second` turns the seconds of a tool into
    tokens and is not used for `seconds`.
    """
    operators = tuple(
        tuple(operator_length(span, measure, tokens_per_second) for span in layer.operators) for layer in trace.layers
    )
    if measure == "seconds":
        # A stage's own stamps, so that what passes between its operators is counted and the stages fill the rollout.
        stages = [layer.ended - layer.started for layer in (*trace.layers, trace.finaliser)]
    else:
        finaliser = sum(operator_length(span, measure, tokens_per_second) for span in trace.finaliser.operators)
        stages = [*(_stage_length(lengths, trace.mode) for lengths in operators), finaliser]
    return CriticalPath(
        length=sum(stages),
        stages=tuple(stages),
        critical=tuple(_critical_positions(lengths, trace.mode) for lengths in operators),
        operators=operators,
        slack=tuple(_slack(lengths, trace.mode) for lengths in operators),
    )


def operator_length(operator: OperatorSpan, measure: Measure, tokens_per_second: float) -> float:
    """An operator's own longest chain: its steps add, the spans of one step count as their longest."""
    if measure == "seconds":
        return operator.ended - operator.started
    return sum(max((_span_tokens(span, tokens_per_second) for span in step), default=0.0) for step in operator.steps)


def _span_tokens(span: Span, tokens_per_second: float) -> float:
    if span.kind == "tool":
        return (span.ended - span.started) * tokens_per_second
    return float(span.num_output_tokens)


def _stage_length(lengths: tuple[float, ...], mode: ExecutionMode) -> float:
    return sum(lengths) if mode == "sequential" else max(lengths, default=0.0)


def _critical_positions(lengths: tuple[float, ...], mode: ExecutionMode) -> frozenset[int]:
    if mode == "sequential":
        return frozenset(range(len(lengths)))
    return frozenset({lengths.index(max(lengths))}) if lengths else frozenset()


def _slack(lengths: tuple[float, ...], mode: ExecutionMode) -> tuple[float, ...]:
    whole = _stage_length(lengths, mode)
    return tuple(whole - _stage_length(lengths[:i] + lengths[i + 1 :], mode) for i in range(len(lengths)))
