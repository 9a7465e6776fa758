"""The figures over a whole run: learning curves, proxy against clock, operator probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lamas_local.report.axes import Axis, Frame, log_axis, step_axis, value_axis
from lamas_local.report.markup import ABSENT, figure, format_number, shorten
from lamas_local.report.run_folder import number
from lamas_local.report.svg import circle, line, polyline, rect, svg, text

SMOOTHING = 0.9
MAX_DOTS = 1500


@dataclass(frozen=True, slots=True)
class Curve:
    """One quantity over training: its name, its colour class, and (step, value) where it was finite."""

    name: str
    colour: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Dot:
    """One rollout by both clocks."""

    proxy_s: float
    measured_s: float
    is_training: bool
    title: str


def learning_curves(metrics: Sequence[Mapping[str, Any]]) -> str:
    """Score, seconds, tokens and team size at every step, as figures; those without a value are left out."""
    charts = (
        ("Score", "", (("score", "score", "accent"),)),
        (
            "Seconds per query",
            " s",
            (("wall_latency_s", "measured", "accent"), ("proxy_latency_s", "token proxy", "contrast")),
        ),
        (
            "Output tokens per query",
            " tokens",
            (("cp_tokens", "on the critical path", "accent"), ("output_tokens", "all", "contrast")),
        ),
        ("Operators per query", "", (("num_operators", "operators", "accent"),)),
    )
    return "".join(
        curve_figure(title, unit, [_curve(metrics, key, name, colour) for key, name, colour in keys])
        for title, unit, keys in charts
    )


def _curve(metrics: Sequence[Mapping[str, Any]], key: str, name: str, colour: str) -> Curve:
    pairs = ((number(row, "step"), number(row, key)) for row in metrics)
    return Curve(name, colour, tuple((step, value) for step, value in pairs if step is not None and value is not None))


def curve_figure(title: str, unit: str, curves: Sequence[Curve]) -> str:
    """Curves over training steps in the same axes: every step as a faint dot, and their smoothed course."""
    curves = [curve for curve in curves if curve.points]
    if not curves:
        return ""
    frame = Frame(
        step_axis(step for curve in curves for step, _ in curve.points),
        value_axis(value for curve in curves for _, value in curve.points),
        "training step",
    )
    body, course = frame.draw(), []
    for curve in curves:
        smoothed = smooth([value for _, value in curve.points])
        steps = [step for step, _ in curve.points]
        body += [circle(frame.x(step), frame.y(value), 2, f"raw {curve.colour}") for step, value in curve.points]
        body.append(polyline(((frame.x(s), frame.y(v)) for s, v in zip(steps, smoothed, strict=True)), curve.colour))
        course.append(
            f"{curve.name} {format_number(smoothed[0])}{unit} at step {steps[0]:g}, "
            f"{format_number(smoothed[-1])}{unit} at step {steps[-1]:g}"
        )
    label = f"{title} by training step, smoothed: {'; '.join(course)}."
    legend = [(curve.colour, curve.name) for curve in curves] if len(curves) > 1 else []
    return figure(title, legend, svg(frame.width, frame.height, label, body, "chart"))


def smooth(values: Sequence[float]) -> list[float]:
    """Exponential moving average without the pull of a start at 0."""
    average, weight, smoothed = 0.0, 0.0, []
    for value in values:
        average = SMOOTHING * average + (1 - SMOOTHING) * value
        weight = SMOOTHING * weight + (1 - SMOOTHING)
        smoothed.append(average / weight)
    return smoothed


def scatter_figure(dots: Sequence[Dot], correlations: Mapping[bool, float | None]) -> str:
    """Proxy seconds against measured seconds, one dot a rollout; `correlations` by whether in training."""
    drawn = [dot for dot in dots if dot.proxy_s > 0 and dot.measured_s > 0]
    if not drawn:
        return ""
    axis = log_axis(value for dot in drawn for value in (dot.proxy_s, dot.measured_s))
    frame = Frame(axis, axis, "seconds by the token proxy", height=410)
    body = [*frame.draw(), *_diagonal(frame, axis)]
    legend = []
    for is_training, colour, name in ((True, "training", "training"), (False, "accent", "evaluation")):
        group = [dot for dot in drawn if dot.is_training is is_training]
        for dot in group[:: -(-len(group) // MAX_DOTS) or 1]:
            radius = 2.5 if is_training else 3.5
            title = "" if is_training else dot.title
            body.append(circle(frame.x(dot.proxy_s), frame.y(dot.measured_s), radius, f"dot {colour}", title))
        if group:
            r = correlations.get(is_training)
            legend.append((colour, f"{name}: {len(group)} rollouts, r = {format_number(r)}"))
    title = "Measured seconds against the token proxy"
    label = f"{title}, logarithmic axes. {'; '.join(text for _, text in legend)}. The dashed line is equality."
    return figure(title, legend, svg(frame.width, frame.height, label, body, "chart square"))


def _diagonal(frame: Frame, axis: Axis) -> list[str]:
    start, end = (frame.x(axis.low), frame.y(axis.low)), (frame.x(axis.high), frame.y(axis.high))
    return [
        line(*start, *end, "diagonal"),
        text(end[0] - 18, end[1] + 10, "equal", "tick", "end"),
        text(frame.left + 6, frame.top + 12, "measured seconds ↑", "tick"),
    ]


def probability_figures(metrics: Sequence[Mapping[str, Any]]) -> str:
    """Each layer's distribution over operators at the first and at the last step, a figure a layer."""
    before, after = _layers(metrics[0]), _layers(metrics[-1])
    num_layers = max(len(before), len(after))
    return "".join(
        _probability_figure(
            index + 1,
            before[index] if index < len(before) else None,
            after[index] if index < len(after) else None,
        )
        for index in range(num_layers)
    )


def _layers(row: Mapping[str, Any]) -> list[dict[str, float] | None]:
    layers = row.get("operator_probabilities")
    return [
        {str(name): p for name in layer if (p := number(layer, name)) is not None} if isinstance(layer, dict) else None
        for layer in (layers if isinstance(layers, list) else [])
    ]


def _probability_figure(layer: int, before: dict[str, float] | None, after: dict[str, float] | None) -> str:
    names = list(dict.fromkeys([*(before or {}), *(after or {})]))
    if not names:
        return figure(f"Layer {layer}", [], '<p class="muted">Never reached at the first or the last step.</p>')
    width, gutter, row = 440.0, 144.0, 30.0
    scale = width - gutter - 88
    body = [line(gutter, 4, gutter, row * len(names), "grid")]
    for index, name in enumerate(names):
        y = index * row + 6
        old, new = (before or {}).get(name), (after or {}).get(name)
        body.append(text(gutter - 8, y + 14, shorten(name, 19), "tick", "end", title=name))
        if old is not None:
            body.append(rect(gutter, y + 1, scale * min(old, 1), 6, "before", f"{name}, first step: {old:.1%}"))
        if new is not None:
            body.append(rect(gutter, y + 8, scale * min(new, 1), 11, "after", f"{name}, last step: {new:.1%}"))
        longest = max(old or 0.0, new or 0.0)
        body.append(text(gutter + scale * min(longest, 1) + 6, y + 16, _change(before, after, name), "tick"))
    label = f"Layer {layer}, operator probabilities, first and last step: " + "; ".join(
        f"{name} {_change(before, after, name)}" for name in names
    )
    legend = [
        ("before", "first step" if before else "first step: not reached"),
        ("after", "last step" if after else "last step: not reached"),
    ]
    return figure(f"Layer {layer}", legend, svg(width, row * len(names) + 6, label, body, "chart"))


def _change(before: dict[str, float] | None, after: dict[str, float] | None, name: str) -> str:
    return " → ".join(f"{layer[name]:.0%}" if layer and name in layer else ABSENT for layer in (before, after))
