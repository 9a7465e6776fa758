"""The order of the ways."""

from __future__ import annotations

from bench.way import WAYS, order_of_ways
from tests.bench.runs import NAMES


def test_each_way_goes_first_as_often() -> None:
    firsts = [order_of_ways(case, repeat)[0] for case in range(4) for repeat in range(3)]
    assert {way.name: firsts.count(way) for way in WAYS} == dict.fromkeys(NAMES, 3)
    assert all(set(order_of_ways(case, 1)) == set(WAYS) for case in range(4))
    assert order_of_ways(0, 0) != order_of_ways(0, 1)
