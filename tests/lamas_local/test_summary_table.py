"""Figures in the terminal: 0 is a figure, a dash is none."""

from __future__ import annotations

import pytest

from lamas_local.evaluation import summarise
from lamas_local.summary_table import number, print_summary, with_error
from lamas_local.trace import Failure
from tests.lamas_local.builders import layer, make_config, operator, trace


def test_a_score_of_zero_prints_as_zero() -> None:
    assert number(0.0, 2) == "0.00"
    assert number(None, 2) == "–"
    assert with_error(0.0, 0.0, 1) == "0.0 ± 0.0"
    assert with_error(0.5, None, 1) == "0.5"


def test_every_policy_has_a_row_even_one_that_only_failed(capsys: pytest.CaptureFixture[str]) -> None:
    traces = [
        trace(layer(operator(50)), wall_s=2.5, score=0.0, policy="fixed:Generate"),
        trace(failure=Failure("E", "e"), policy="lost"),
    ]
    print_summary(summarise(traces, ["fixed:Generate", "lost"], make_config()))
    rows = {line.split("│")[1].strip(): line for line in capsys.readouterr().out.splitlines() if "│" in line}
    assert "0.000" in rows["fixed:Generate"]
    assert "2.50" in rows["fixed:Generate"]
    assert "0/1" in rows["fixed:Generate"]
    assert "–" in rows["lost"]
    assert "1/1" in rows["lost"]
