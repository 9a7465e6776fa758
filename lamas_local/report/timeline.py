"""One rollout as bars over time: where each operator's seconds went, and which of them the answer waited for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lamas_local.critical_path import CriticalPath, critical_path
from lamas_local.report.axes import tick_step
from lamas_local.report.markup import format_number, format_unit, shorten
from lamas_local.report.svg import line, polyline, rect, svg, text
from lamas_local.trace import LayerSpan, OperatorSpan, RequestSpan, RolloutTrace, Span, ToolSpan

WIDTH, GUTTER, RIGHT = 960.0, 186.0, 22.0
TOP, HEADER, ROW, GAP, BOTTOM = 92.0, 24.0, 17.0, 11.0, 14.0
FINALISER = "Finaliser"
# Class name, which is also the name in the legend, and the room it takes there: SVG cannot measure text.
_PHASES = (("queue", 68), ("prefill", 68), ("decode", 75), ("tool", 56), ("failed", 70), ("aborted", 82))

# Literal colours: programs that draw SVG outside a browser know no CSS variables. The background is part of the
# drawing so that a dark page around a light picture (or the other way round) leaves it readable.
_STYLE = """<style>
.timeline text{font:12px system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif;fill:#23262b}
.timeline .back{fill:#fff}.timeline .band{fill:#f2f4f7}.timeline .edge{stroke:#c3c8d0;stroke-width:1}
.timeline .grid{stroke:#dfe3e8;stroke-width:1}.timeline .muted{fill:#626973}.timeline .strong{font-weight:650}
.timeline .span{fill:#e2e6ec}.timeline .queue{fill:#a9b0ba}.timeline .prefill{fill:#e9a23b}
.timeline .decode{fill:#2f6fd0}.timeline .tool{fill:#2f9467}
.timeline .failed{fill:#fff;stroke:#b3261e;stroke-width:1.5;stroke-dasharray:4 3}
.timeline .aborted{fill:#fff;stroke:#626973;stroke-width:1.5;stroke-dasharray:1 3}
.timeline .inside{fill:#fff;font-size:11px}
.timeline .seconds{fill:none;stroke:#c2185b;stroke-width:3;stroke-linejoin:round}
.timeline .tokens{fill:none;stroke:#7a3db8;stroke-width:3;stroke-dasharray:2 4}
.timeline text.critical{fill:#c2185b}.timeline text.proxy{fill:#7a3db8}
@media (prefers-color-scheme:dark){
.timeline text{fill:#e6e8eb}.timeline .back{fill:#1c1f24}.timeline .band{fill:#23272d}.timeline .edge{stroke:#4b525c}
.timeline .grid{stroke:#343a42}.timeline .muted{fill:#a0a8b2}
.timeline .span{fill:#343a43}.timeline .queue{fill:#737c88}.timeline .prefill{fill:#d99a3e}
.timeline .decode{fill:#3f7fdd}.timeline .tool{fill:#2f9a6c}.timeline .failed{fill:#1c1f24;stroke:#f2766d}
.timeline .inside{fill:#fff}.timeline .aborted{fill:#1c1f24;stroke:#a0a8b2}
.timeline .seconds{stroke:#ff6f9f}.timeline .tokens{stroke:#c29bf2}
.timeline text.critical{fill:#ff6f9f}.timeline text.proxy{fill:#c29bf2}}
</style>"""


@dataclass(frozen=True, slots=True)
class Lane:
    """Where one operator is drawn: its rows start at `y`, one for each span that ran at the same time."""

    operator: OperatorSpan
    y: float
    num_rows: int
    by_seconds: bool
    by_tokens: bool

    @property
    def underline(self) -> float:
        """Height of the line under the rows that marks the critical path."""
        return self.y + self.num_rows * ROW + 3


@dataclass(frozen=True, slots=True)
class Stage:
    """Where one layer (or the finaliser) is drawn, and what it has of both paths."""

    name: str
    layer: LayerSpan
    y: float
    lanes: tuple[Lane, ...]
    seconds: float
    tokens: float

    @property
    def is_passed_by(self) -> bool:
        """Whether it has operators, but neither path goes through them."""
        return bool(self.lanes) and not any(lane.by_seconds or lane.by_tokens for lane in self.lanes)


@dataclass(frozen=True, slots=True)
class Clock:
    """Turns the trace's stamps into horizontal positions."""

    started: float
    num_seconds: float

    def x(self, stamp: float) -> float:
        """The position of a stamp of the trace."""
        return GUTTER + (WIDTH - GUTTER - RIGHT) * (stamp - self.started) / self.num_seconds


def timeline_svg(trace: RolloutTrace, tokens_per_second: float = 50.0, num_seconds: float | None = None) -> str:
    """One rollout as a self-contained SVG: a row for every request, the critical path marked.

    `num_seconds` is the length of the time axis, the rollout's own when absent: give two rollouts the longer one's
    to compare them.
    """
    by_seconds = critical_path(trace, "seconds", tokens_per_second)
    by_tokens = critical_path(trace, "tokens", tokens_per_second)
    stages, height = _place(trace, by_seconds, by_tokens)
    clock = Clock(trace.started, max(num_seconds or 0.0, trace.ended - trace.started, 1e-9))
    body = [
        rect(0, 0, WIDTH, height, "back", radius=6),
        *_title(trace, by_tokens),
        *_legend(trace, is_same=by_seconds.critical == by_tokens.critical),
        *_axis(clock, height),
        *(part for stage in stages for part in _draw_stage(stage, clock)),
        *_path_by_seconds(stages, clock),
        *_path_by_tokens(stages, clock, is_same=by_seconds.critical == by_tokens.critical),
    ]
    return svg(WIDTH, height, _label(trace, stages), [_STYLE, *body], "timeline")


def stage_names(trace: RolloutTrace) -> tuple[str, ...]:
    """What each layer and the finaliser are called."""
    return (*(f"Layer {index}" for index in range(1, len(trace.layers) + 1)), FINALISER)


def _place(trace: RolloutTrace, by_seconds: CriticalPath, by_tokens: CriticalPath) -> tuple[list[Stage], float]:
    """Every stage and operator with its place, and the height of the whole."""
    stages: list[Stage] = []
    y = TOP
    nothing: frozenset[int] = frozenset()
    for name, layer, critical_s, critical_t, seconds, tokens in zip(
        stage_names(trace),
        (*trace.layers, trace.finaliser),
        (*by_seconds.critical, nothing),
        (*by_tokens.critical, nothing),
        by_seconds.stages,
        by_tokens.stages,
        strict=True,
    ):
        top, lanes = y, []
        y += HEADER
        for position, operator in enumerate(layer.operators):
            num_rows = max((len(step) for step in operator.steps), default=1) or 1
            lanes.append(Lane(operator, y, num_rows, position in critical_s, position in critical_t))
            y += num_rows * ROW + GAP
        stages.append(Stage(name, layer, top, tuple(lanes), seconds, tokens))
    return stages, y + BOTTOM


def _title(trace: RolloutTrace, by_tokens: CriticalPath) -> Iterator[str]:
    outcome = f"score {format_number(trace.score)}" if trace.failure is None else f"failed: {trace.failure.kind}"
    yield text(14, 24, shorten(f"{trace.policy}, query {trace.query_id}", 60), "strong", title=trace.query_id)
    num_aborted = sum(operator.is_aborted for layer in trace.layers for operator in layer.operators)
    facts = (
        format_unit(trace.ended - trace.started, "s"),
        f"critical path {by_tokens.length:,.0f} tokens",
        shorten(outcome, 40),
        trace.mode,
        *([f"{num_aborted} aborted"] if num_aborted else []),
    )
    yield text(WIDTH - RIGHT, 24, " · ".join(facts), "muted", "end")


def _legend(trace: RolloutTrace, is_same: bool) -> Iterator[str]:
    x, y = 14.0, 48.0
    present = {phase for span in _spans(trace) for phase, *_ in _pieces(span)}
    for phase, room in _PHASES:
        if phase in present:
            yield rect(x, y - 9, 12, 10, phase)
            yield text(x + 17, y, phase, "muted")
            x += room
    for phase, name in (
        [("seconds", "critical path, by seconds and by tokens")]
        if is_same
        else [("seconds", "critical by seconds"), ("tokens", "critical by tokens")]
    ):
        yield line(x, y - 4, x + 22, y - 4, phase)
        yield text(x + 27, y, name, "muted")
        x += 41 + 6.4 * len(name)


def _axis(clock: Clock, height: float) -> Iterator[str]:
    step = tick_step(clock.num_seconds, 8)
    for index in range(int(clock.num_seconds / step * (1 + 1e-9)) + 1):
        x = clock.x(clock.started + index * step)
        yield line(x, TOP - 10, x, height - BOTTOM, "grid")
        yield text(x, TOP - 15, f"{index * step:.10g} s", "muted", "middle")


def _draw_stage(stage: Stage, clock: Clock) -> Iterator[str]:
    left, right = clock.x(stage.layer.started), clock.x(stage.layer.ended)
    bottom = stage.lanes[-1].underline + GAP - 5 if stage.lanes else stage.y + HEADER - 3
    yield rect(left, stage.y + 2, right - left, bottom - stage.y, "band")
    yield line(left, stage.y + 2, left, bottom + 2, "edge")
    yield line(right, stage.y + 2, right, bottom + 2, "edge")
    yield line(14, stage.y, WIDTH - RIGHT, stage.y, "grid")
    yield text(14, stage.y + 16, stage.name, "muted")
    yield text(GUTTER - 12, stage.y + 16, _stage_fact(stage), "muted", "end")
    for lane in stage.lanes:
        yield from _draw_lane(lane, clock)


def _stage_fact(stage: Stage) -> str:
    if stage.is_passed_by and stage.name != FINALISER:
        return "off the path"
    if stage.lanes or stage.name == FINALISER:
        return f"{format_unit(stage.seconds, 's')} · {stage.tokens:,.0f} tok"
    return "stopped early"


def _draw_lane(lane: Lane, clock: Clock) -> Iterator[str]:
    operator = lane.operator
    left, right = clock.x(operator.started), clock.x(operator.ended)
    state = f", failed: {operator.failure.kind}: {shorten(operator.failure.message, 200)}" if operator.failure else ""
    state = ", aborted: the vote was decided without it" if operator.is_aborted else state
    title = f"{operator.name}: {format_unit(operator.ended - operator.started, 's')}{state}"
    name_class = "strong critical" if lane.by_seconds else "strong proxy" if lane.by_tokens else ""
    name_class = "muted" if operator.is_aborted else name_class
    name = f"{shorten(operator.name, 20)}{' ✕' if operator.failure else ''}"
    yield text(22, lane.y + 13, name, name_class, title=title)
    yield rect(left, lane.y, max(right - left, 1), lane.num_rows * ROW, "span", title, radius=2)
    for step in operator.steps:
        for row, span in enumerate(step):
            yield from _draw_span(span, operator.name, lane.y + row * ROW, clock)


def _draw_span(span: Span, operator: str, y: float, clock: Clock) -> Iterator[str]:
    for phase, started, ended, title in _pieces(span):
        left = clock.x(started)
        width = max(clock.x(ended) - left, 1)
        yield rect(left, y + 2, width, ROW - 4, phase, f"{operator}, {title}")
        if phase == "decode" and isinstance(span, RequestSpan):
            note = f"{span.num_output_tokens} tok"
            if width > 8 * len(note):
                yield text(left + 5, y + 12.5, note, "inside")


def _pieces(span: Span) -> list[tuple[str, float, float, str]]:
    """The phases of a span: class name, start, end, hover title. Phases without duration are left out."""
    if isinstance(span, ToolSpan):
        outcome = span.status + (f": {shorten(span.output, 160)}" if span.output else "")
        pieces = [
            ("queue", span.asked, span.started, "waiting for a place in the sandbox"),
            (
                "aborted" if span.status == "aborted" else "tool",
                span.started,
                span.ended,
                f"tool {span.name}, {outcome}",
            ),
        ]
    elif span.is_aborted:
        pieces = [("aborted", span.started, span.ended, "aborted request")]
    elif span.timing is None:
        why = f"{span.failure.kind}: {shorten(span.failure.message, 200)}" if span.failure else "no completion"
        pieces = [("failed", span.started, span.ended, f"failed request, {why}")]
    else:
        timing = span.timing
        cached = f", {span.num_cached_tokens} of them cached" if span.num_cached_tokens else ""
        answer = f": {shorten(span.text, 160)}" if span.text else ""
        cached += ", waiting at the endpoint included" if timing.is_client_side else ""
        retried = ", after another one was lost with the request" if span.num_retries else ""
        pieces = [
            ("queue", timing.submitted, timing.scheduled, f"waiting for {span.replica or 'the engine'}{retried}"),
            ("prefill", timing.scheduled, timing.first_token, f"prefill of {span.num_prompt_tokens} tokens{cached}"),
            ("decode", timing.first_token, timing.last_token, f"decode of {span.num_output_tokens} tokens{answer}"),
        ]
    return [
        (phase, started, ended, f"{format_unit(ended - started, 's')} {title}")
        for phase, started, ended, title in pieces
        if ended > started or phase in ("tool", "failed", "aborted")
    ]


def _path_by_seconds(stages: list[Stage], clock: Clock) -> Iterator[str]:
    """One line through the operators the answer waited for, stepping down where the next one begins."""
    lanes = [lane for stage in stages for lane in stage.lanes if lane.by_seconds]
    points: list[tuple[float, float]] = []
    for lane in lanes:
        start = clock.x(lane.operator.started)
        if points:
            points.append((start, points[-1][1]))
        points += [(start, lane.underline), (clock.x(lane.operator.ended), lane.underline)]
    if points:
        yield polyline(points, "seconds")


def _path_by_tokens(stages: list[Stage], clock: Clock, is_same: bool) -> Iterator[str]:
    for lane in (lane for stage in stages for lane in stage.lanes if lane.by_tokens and not is_same):
        y = lane.underline + (4 if lane.by_seconds else 0)
        yield line(clock.x(lane.operator.started), y, clock.x(lane.operator.ended), y, "tokens")


def _spans(trace: RolloutTrace) -> Iterator[Span]:
    for layer in (*trace.layers, trace.finaliser):
        for operator in layer.operators:
            for step in operator.steps:
                yield from step


def _label(trace: RolloutTrace, stages: list[Stage]) -> str:
    parts = (
        f"{stage.name}, {format_unit(stage.seconds, 'seconds')}: "
        f"{', '.join(_lane_label(lane) for lane in stage.lanes) or 'no operators'}."
        for stage in stages
    )
    length = format_unit(trace.ended - trace.started, "seconds")
    return f"Timeline of query {trace.query_id}, policy {trace.policy}, {length}. {' '.join(parts)}"


def _lane_label(lane: Lane) -> str:
    if lane.operator.is_aborted:
        return f"{lane.operator.name} (aborted)"
    measures = [name for name, holds in (("seconds", lane.by_seconds), ("tokens", lane.by_tokens)) if holds]
    return lane.operator.name + (f" (critical by {' and '.join(measures)})" if measures else "")
