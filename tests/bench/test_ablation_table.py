"""Differences, verdicts and the table's text, by hand."""

from __future__ import annotations

import pytest

from bench.ablation_table import TARGETS, Target, describe_target, judge, make_rows, markdown
from bench.replicates import Replicates, replicate
from tests.bench.outcomes import outcomes


def seeds(quick: float, quick_scores: list[float]) -> Replicates:
    """Three seeds that differ a little, four queries each; the references take 10 and 4 seconds at score 0.5."""
    half = [1.0, 0.0, 1.0, 0.0]
    return replicate(
        [
            outcomes("maas-layered", [10 * drift] * 4, half)
            + outcomes("lamas", [4 * drift] * 4, half)
            + outcomes("ours", [quick * drift] * 4, quick_scores)
            for drift in (0.9, 1.0, 1.1)
        ]
    )


def test_met_with_fewer_seconds_at_the_same_score() -> None:
    replicates = seeds(3.4, [0.0, 1.0, 1.0, 0.0])
    verdicts = [judge(replicates, "ours", target) for target in TARGETS]
    assert [verdict.is_met for verdict in verdicts] == [True, True]
    assert verdicts[0].seconds.value == pytest.approx(-0.66)
    assert "seconds -66% [-66%, -66%], score +0.000" in describe_target(verdicts[0])
    assert describe_target(verdicts[0]).endswith("met.")


def test_missed_where_seconds_or_score_fall_short() -> None:
    slow = judge(seeds(4.1, [1.0, 0.0, 1.0, 0.0]), "ours", Target("maas-layered", 0.6))
    assert (slow.are_seconds_met, slow.is_score_kept, slow.is_met) == (False, True, False)
    wrong = judge(seeds(1.0, [1.0, 0.0, 0.0, 0.0]), "ours", Target("maas-layered", 0.6))
    assert (wrong.are_seconds_met, wrong.is_score_kept, wrong.is_met) == (True, False, False)
    assert describe_target(wrong).endswith("missed.")
    assert "which is lower" in describe_target(wrong)


def test_the_page_has_a_line_a_policy_in_each_table() -> None:
    rows = make_rows(seeds(2.0, [1.0] * 4), ["maas-layered", "ours"])
    text = markdown(rows, ["A note."])
    assert text.count("\n| ours |") == text.count("\n| maas-layered |") == 2
    assert "| ours | 1.000 ± 0.000 |" in text
    assert "| -80% ± 0 |" in text
    assert text.endswith("- A note.\n")
    widths = {line.count("|") for line in text.splitlines() if line.startswith("| ours") or line.startswith("| policy")}
    assert widths == {8, 6}
