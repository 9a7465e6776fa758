"""The `lamas` field of responses: what was run for a query, in seconds since its admission."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict

from lamas_local.latency import Latency, requests
from lamas_local.trace import Architecture, ExecutionMode, LayerSpan, OperatorSpan, RequestSpan, RolloutTrace, Span

OperatorStatus = Literal["ok", "failed", "aborted"]


class View(BaseModel):
    """Part of a response."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class RequestView(View):
    """One request to the engine. What is not known is null: nothing of a failed or aborted one is but its seconds."""

    kind: Literal["request"] = "request"
    status: OperatorStatus
    queue_s: float | None
    """From its hand-over until the engine began with it."""
    prefill_s: float | None
    """Until its first token; at an OpenAI endpoint with its wait there, which cannot be told from it."""
    decode_s: float | None
    """Until its last token."""
    seconds: float
    """From start to end, as the operator saw it."""
    prompt_tokens: int
    cached_tokens: int
    output_tokens: int


class ToolView(View):
    """One run of a tool."""

    kind: Literal["tool"] = "tool"
    name: str
    seconds: float
    """Its wait for a place included."""
    status: str
    """`ok`, `aborted`, or why it failed."""


class OperatorView(View):
    """One run of an operator."""

    name: str
    started_s: float
    ended_s: float
    status: OperatorStatus
    is_critical_by_tokens: bool
    is_critical_by_seconds: bool
    steps: list[list[RequestView | ToolView]]
    """What of a step ran at the same time; steps follow one another."""


class LayerView(View):
    """Operators drawn together."""

    operators: list[OperatorView]


class PathView(View):
    """The critical path's length."""

    tokens: float
    seconds: float


class RolloutView(View):
    """Everything that was done for a query."""

    request_id: str
    architecture: Architecture
    execution_mode: ExecutionMode
    layers: list[LayerView]
    finaliser: LayerView
    """Operators that ran on the vote's answer, one after another."""
    critical_path: PathView
    proxy_s: float
    """The token proxy in seconds: `critical_path.tokens` at the configured tokens per second."""
    predicted_s: float | None
    """What the run's cost model had predicted for the load at admission; null without a model."""
    measured_s: float
    """From admission to the answer."""
    waited_s: float
    """From arrival to admission; a latency budget counts from arrival."""
    latency_budget_s: float | None
    budget_met: bool | None
    """Null without a budget."""
    num_aborted_requests: int


class ArchitectureEvent(View):
    """First event of a stream."""

    event: Literal["architecture"] = "architecture"
    layers: Architecture
    execution_mode: ExecutionMode
    predicted_s: float | None
    latency_budget_s: float | None


class StartedEvent(View):
    """An operator began. The finaliser's are in the layer after the last."""

    event: Literal["operator_started"] = "operator_started"
    layer: int
    position: int
    name: str
    at_s: float


class EndedEvent(View):
    """An operator has ended."""

    event: Literal["operator_ended"] = "operator_ended"
    layer: int
    position: int
    name: str
    at_s: float
    output_tokens: int
    status: OperatorStatus


class FinishedEvent(View):
    """Last event of a stream."""

    event: Literal["finished"] = "finished"
    rollout: RolloutView


LamasEvent = ArchitectureEvent | StartedEvent | EndedEvent | FinishedEvent


def operator_status(span: OperatorSpan | RequestSpan) -> OperatorStatus:
    """How it ended."""
    return "aborted" if span.is_aborted else "failed" if span.failure is not None else "ok"


def output_tokens(span: OperatorSpan) -> int:
    """Of all requests of an operator."""
    return sum(one.num_output_tokens for step in span.steps for one in step if one.kind == "request")


def layer_views(layers: Sequence[LayerSpan], admitted: float, latency: Latency) -> list[LayerView]:
    """The layers of a rollout, with who is on the critical paths."""
    return [
        layer_view(layer, admitted, tokens, seconds)
        for layer, tokens, seconds in zip(layers, latency.tokens.critical, latency.seconds.critical, strict=True)
    ]


def layer_view(layer: LayerSpan, admitted: float, by_tokens: frozenset[int], by_seconds: frozenset[int]) -> LayerView:
    """One layer; the sets hold positions of critical operators."""
    return LayerView(
        operators=[
            OperatorView(
                name=span.name,
                started_s=span.started - admitted,
                ended_s=span.ended - admitted,
                status=operator_status(span),
                is_critical_by_tokens=position in by_tokens,
                is_critical_by_seconds=position in by_seconds,
                steps=[[span_view(one) for one in step] for step in span.steps],
            )
            for position, span in enumerate(layer.operators)
        ]
    )


def span_view(span: Span) -> RequestView | ToolView:
    """One request or tool run."""
    if span.kind == "tool":
        return ToolView(name=span.name, seconds=span.ended - span.asked, status=span.status)
    timing = span.timing
    return RequestView(
        status=operator_status(span),
        queue_s=None if timing is None else timing.scheduled - timing.submitted,
        prefill_s=None if timing is None else timing.first_token - timing.scheduled,
        decode_s=None if timing is None else timing.last_token - timing.first_token,
        seconds=span.ended - span.started,
        prompt_tokens=span.num_prompt_tokens,
        cached_tokens=span.num_cached_tokens,
        output_tokens=span.num_output_tokens,
    )


def rollout_view(
    trace: RolloutTrace,
    latency: Latency,
    *,
    request_id: str,
    arrived: float,
    admitted: float,
    predicted_s: float | None,
    latency_budget_s: float | None,
) -> RolloutView:
    """The whole of it; `arrived` and `admitted` are `time.monotonic()` seconds."""
    everyone = frozenset(range(len(trace.finaliser.operators)))
    return RolloutView(
        request_id=request_id,
        architecture=trace.architecture,
        execution_mode=trace.mode,
        layers=layer_views(trace.layers, admitted, latency),
        finaliser=layer_view(trace.finaliser, admitted, everyone, everyone),
        critical_path=PathView(tokens=latency.tokens.length, seconds=latency.seconds.length),
        proxy_s=latency.proxy_s,
        predicted_s=predicted_s,
        measured_s=trace.ended - admitted,
        waited_s=admitted - arrived,
        latency_budget_s=latency_budget_s,
        budget_met=None if latency_budget_s is None else trace.ended - arrived <= latency_budget_s,
        num_aborted_requests=sum(span.is_aborted for span in requests(trace)),
    )
