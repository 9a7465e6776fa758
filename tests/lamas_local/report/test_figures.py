from __future__ import annotations

import pytest

from lamas_local.report.axes import log_axis, step_axis, value_axis
from lamas_local.report.figures import MAX_DOTS, Dot, learning_curves, probability_figures, scatter_figure, smooth
from tests.lamas_local.report.markup_check import check_html


def test_smoothing_starts_at_the_first_value_and_keeps_a_constant() -> None:
    assert smooth([4.0])[0] == pytest.approx(4.0)
    assert smooth([2.0] * 9) == pytest.approx([2.0] * 9)
    assert smooth([0.0, 1.0])[1] == pytest.approx(0.1 / 0.19)


@pytest.mark.parametrize("values", [[0.0], [0.3], [-1.0, 0.0], [1e-9], [123456.0, 3.0]])
def test_a_value_axis_holds_its_values_and_zero(values: list[float]) -> None:
    axis = value_axis(values)
    assert axis.low <= min(0.0, *values) < axis.high
    assert max(values) <= axis.high
    assert 2 <= len(axis.ticks) <= 8


@pytest.mark.parametrize("values", [[2.2, 2.3], [0.01, 90.0], [1e-5, 1e5], [7.0]])
def test_a_log_axis_has_ticks_inside(values: list[float]) -> None:
    axis = log_axis(values)
    assert len(axis.ticks) >= 2
    assert all(axis.low <= tick <= axis.high for tick in axis.ticks)


@pytest.mark.parametrize("steps", [[0.0], [0.0, 1.0], [0.0, 7.0], [3.0, 999.0]])
def test_training_steps_have_whole_ticks(steps: list[float]) -> None:
    axis = step_axis(steps)
    assert axis.ticks
    assert all(tick == int(tick) for tick in axis.ticks)


def test_gaps_in_a_curve_are_left_out() -> None:
    rows: list[dict[str, float | None]] = [
        {"step": 0, "score": None},
        {"step": 1, "score": float("nan")},
        {"step": 2, "score": 0.5},
    ]
    drawing = learning_curves(rows)
    check_html(drawing)
    assert drawing.count("<circle") == 1
    assert drawing.count("<figure>") == 1
    assert learning_curves([{"step": 0}]) == ""


def test_many_dots_are_thinned_and_zeros_dropped() -> None:
    dots = [Dot(1.0 + i / 1000, 2.0, True, "") for i in range(3 * MAX_DOTS)] + [Dot(0.0, 1.0, False, "{<b>}")]
    drawing = scatter_figure(dots, {True: 0.5})
    check_html(drawing)
    assert drawing.count("<circle") <= MAX_DOTS
    assert f"training: {3 * MAX_DOTS} rollouts, r = 0.500" in drawing
    assert "evaluation" not in drawing
    assert scatter_figure(dots[-1:], {}) == ""


def test_probabilities_before_and_after() -> None:
    rows = [
        {"operator_probabilities": [{"Generate": 0.5, "{<i>}": 0.5}, None, None]},
        {"operator_probabilities": [{"Generate": 0.9, "{<i>}": 0.1}, {"EarlyStop": 1.0}, None]},
    ]
    drawing = probability_figures(rows)
    text = check_html(drawing)
    assert "50% → 90%" in text
    assert "– → 100%" in text
    assert "first step: not reached" in text
    assert "Never reached" in text
    assert probability_figures([{}]) == ""
