"""What is kept of a rollout, and its file."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.outcome import append_outcome, describe_outcome, take_up_outcomes
from lamas_local.trace import Failure
from tests.bench.outcomes import outcome
from tests.lamas_local.builders import layer, make_config, operator, request, trace


def test_figures_of_a_rollout() -> None:
    spans = layer(operator(request(5, prompt_tokens=100), seconds=1.0), operator(8, seconds=0.5, name="GenerateCoT"))
    one = describe_outcome(trace(spans, wall_s=1.5, policy="slack", score=0.5), make_config())
    assert (one.policy, one.score, one.seconds, one.cp_tokens) == ("slack", 0.5, 1.5, 8.0)
    assert one.cost_usd == pytest.approx((100 * 0.15 + 13 * 0.60) / 1e6)
    assert one.operators == ("Generate", "GenerateCoT")
    assert one.critical_agreement == 0.0  # tokens name the second one, the clock the first
    assert not one.is_failed


def test_a_layer_of_one_leaves_no_choice_and_a_failure_scores_0() -> None:
    one = describe_outcome(trace(layer(operator(5)), failure=Failure("NoSolution", "none")), make_config())
    assert (one.critical_agreement, one.score, one.is_failed) == (None, 0.0, True)


def test_a_line_that_a_kill_cut_short_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "outcomes.jsonl"
    assert take_up_outcomes(path) == []
    append_outcome(path, outcome("a", 0))
    whole = path.read_text()
    path.write_text(whole + whole[:20])
    assert take_up_outcomes(path) == [outcome("a", 0)]
    append_outcome(path, outcome("a", 1))
    assert take_up_outcomes(path) == [outcome("a", 0), outcome("a", 1)]
