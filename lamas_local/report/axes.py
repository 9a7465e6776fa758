"""Axes: which numbers get a tick, and where a value lies."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from lamas_local.report.svg import line, text


@dataclass(frozen=True, slots=True)
class Axis:
    """A range of values with its ticks; `low < high`, and both are above 0 when `is_log`."""

    low: float
    high: float
    ticks: tuple[float, ...]
    is_log: bool = False

    def at(self, value: float, start: float, end: float) -> float:
        """Where `value` lies when `low` is drawn at `start` and `high` at `end`."""
        low, high = self._position(self.low), self._position(self.high)
        return start + (end - start) * (self._position(value) - low) / (high - low)

    def _position(self, value: float) -> float:
        return math.log10(value) if self.is_log else value


def value_axis(values: Iterable[float]) -> Axis:
    """From 0, or below where there are negative values, to a tick above the largest."""
    present = [0.0, *values]
    low, high = min(present), max(present)
    step = tick_step(high - low or 1.0, 5)
    first, last = math.floor(low / step), math.ceil(max(high, low + step) / step)
    return Axis(first * step, last * step, tuple(step * index for index in range(first, last + 1)))


def step_axis(values: Iterable[float]) -> Axis:
    """Training steps: whole-numbered ticks, no room left over."""
    present = list(values)
    low, high = min(present), max(present)
    if low == high:
        return Axis(low - 0.5, high + 0.5, (low,))
    return Axis(low, high, _even_ticks(low, high, min(6, math.floor(high - low) or 1)))


def log_axis(values: Iterable[float]) -> Axis:
    """Values above 0 on a logarithmic axis, ticks at 1, 2 and 5 times a power of ten."""
    present = list(values)
    low, high = min(present) / 1.15, max(present) * 1.15
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    mantissas = (1, 2, 5) if high / low < 300 else (1,)
    ticks = tuple(m * 10.0**decade for decade in decades for m in mantissas if low <= m * 10.0**decade <= high)
    return Axis(low, high, ticks if len(ticks) > 1 else _even_ticks(low, high, 4), is_log=True)


def _even_ticks(low: float, high: float, num_steps: int) -> tuple[float, ...]:
    step = tick_step(high - low, num_steps)
    return tuple(step * index for index in range(math.ceil(low / step), math.floor(high / step) + 1))


def tick_step(length: float, num_steps: int) -> float:
    """The least of 1, 2 and 5 times a power of ten that spans `length` in at most `num_steps` steps."""
    power = 10.0 ** math.floor(math.log10(length / num_steps))
    return next((m * power for m in (1, 2, 5, 10) if m * power * num_steps >= length * (1 - 1e-9)), 10 * power)


@dataclass(frozen=True, slots=True)
class Frame:
    """The plot area of a chart and its two axes; positions are SVG units from the top left."""

    x_axis: Axis
    y_axis: Axis
    x_label: str
    width: float = 440
    height: float = 260
    left: float = 48
    right: float = 14
    top: float = 10
    bottom: float = 40

    def x(self, value: float) -> float:
        """The horizontal position of `value`."""
        return self.x_axis.at(value, self.left, self.width - self.right)

    def y(self, value: float) -> float:
        """The vertical position of `value`."""
        return self.y_axis.at(value, self.height - self.bottom, self.top)

    def draw(self) -> list[str]:
        """Grid lines, tick labels and the name of the horizontal axis."""
        floor, end = self.height - self.bottom, self.width - self.right
        parts = [line(self.left, self.y(tick), end, self.y(tick), "grid") for tick in self.y_axis.ticks]
        parts += [text(self.left - 7, self.y(tick) + 4, _tick_text(tick), "tick", "end") for tick in self.y_axis.ticks]
        parts += [line(self.x(tick), floor, self.x(tick), floor + 4, "grid") for tick in self.x_axis.ticks]
        parts += [text(self.x(tick), floor + 17, _tick_text(tick), "tick", "middle") for tick in self.x_axis.ticks]
        return [*parts, text((self.left + end) / 2, self.height - 5, self.x_label, "tick", "middle")]


def _tick_text(value: float) -> str:
    return f"{value:.10g}".replace("-", "−") if abs(value) < 10_000 else f"{value / 1000:g}k"
