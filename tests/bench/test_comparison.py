"""The arithmetic by hand."""

from __future__ import annotations

import pytest

from bench.comparison import Comparison, compare, compare_pair
from tests.bench.runs import NAMES, make_run, make_runs


def test_comparison_by_hand() -> None:
    # Two cases, three repeats. Layered over sequential: case 0 0.5 0.5 1.0, case 1 0.25 0.75 0.25.
    runs = make_runs(
        {
            "sequential": [[2.0, 4.0, 2.0], [8.0, 8.0, 8.0]],
            "layered": [[1.0, 2.0, 2.0], [2.0, 6.0, 2.0]],
            "dataflow": [[1.0, 1.0, 2.0], [1.0, 6.6, 2.2]],
        }
    )
    comparison: Comparison = compare(runs)
    assert comparison.num_cases == 2
    assert comparison.seconds == pytest.approx(
        {"sequential": 6.0, "layered": 2.0, "dataflow-whole": 2.0, "dataflow": 1.5}
    )
    pair = comparison.pairs["layered/sequential"]
    assert pair.ratio_of_medians == pytest.approx(1 / 3)
    assert pair.paired_ratio.median == pytest.approx((0.5 + 0.25) / 2)
    assert pair.paired_ratio.num_pairs == 2
    # Case 0: 2 of 8, case 1: 4 of 8.
    assert pair.cp_tokens_ratio == pytest.approx((0.25 + 0.5) / 2)
    # Dataflow over layered: case 0 1 0.5 1, case 1 0.5 1.1 1.1; the second is the worst case.
    pair = comparison.pairs["dataflow/layered"]
    assert pair.ratio_of_medians == pytest.approx(0.75)
    assert pair.paired_ratio.median == pytest.approx(1.05)
    assert pair.ratios_by_case.max == pytest.approx(1.1)
    # Medians over cases: sequential 5 6 5, layered 1.5 4 2.
    by_repeat = comparison.seconds_by_repeat
    assert (by_repeat["sequential"].median, by_repeat["sequential"].min, by_repeat["sequential"].max) == (5, 5, 6)
    assert (by_repeat["layered"].median, by_repeat["layered"].min, by_repeat["layered"].max) == (2, 1.5, 4)
    assert comparison.output_tokens == dict.fromkeys(NAMES, 10)
    assert comparison.cached_share == dict.fromkeys(NAMES, 0.5)
    assert comparison.aborted_requests == {**dict.fromkeys(NAMES, 0), "dataflow": 2}


def test_other_answers_are_counted_pair_by_pair() -> None:
    ones = [make_run(0, 0, "dataflow", 1.0, "1"), make_run(0, 1, "dataflow", 1.0, "2")]
    others = [make_run(0, 1, "layered", 1.0, "3"), make_run(0, 0, "layered", 1.0, "1")]
    assert compare_pair(ones, others).num_other_answers == 1
