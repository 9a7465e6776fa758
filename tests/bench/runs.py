"""Measured runs made by hand."""

from __future__ import annotations

from bench.comparison import Run
from bench.way import WAYS

NAMES = [way.name for way in WAYS]
Table = dict[str, list[list[float]]]


def make_run(case: int, repeat: int, way: str, seconds: float, answer: str = "1") -> Run:
    cp_tokens = 8.0 if way == "sequential" else 2.0 + 2 * case
    aborted = 2 if way == "dataflow" else 0
    return Run(case, repeat, way, 0, seconds, cp_tokens, 10, 10, 5, 4, aborted, 0, answer, None)


def make_runs(table: Table) -> list[Run]:
    """Seconds by way, case and repeat; a way that is not named takes as long as layered."""
    return [
        make_run(case, repeat, way.name, seconds)
        for way in WAYS
        for case, row in enumerate(table.get(way.name, table["layered"]))
        for repeat, seconds in enumerate(row)
    ]
