from __future__ import annotations

from bench.rollout_blocks import blocks, most_at_once
from tests.lamas_local.builders import trace


def test_those_that_overlap_are_one_block() -> None:
    spans = [(0, 4), (1, 3), (3, 6), (6, 7), (8, 12), (9, 10), (10, 11)]
    traces = [trace(started=start, wall_s=end - start) for start, end in spans]
    found = blocks(traces)
    assert [len(block.traces) for block in found] == [3, 1, 3]
    assert [block.at_once for block in found] == [2, 1, 2]
    assert [one for block in found for one in block.traces] == traces


def test_one_that_takes_no_time_is_still_one() -> None:
    assert most_at_once([trace(started=1.0, wall_s=0.0)]) == 1
