"""The vote over the solutions that remain."""

from __future__ import annotations

import pytest

from lamas_local.finaliser import vote


def last_word(solution: str) -> str | None:
    """A solution's last word; none where it ends in a question mark."""
    return None if solution.endswith("?") else solution.split()[-1]


@pytest.mark.parametrize(
    ("solutions", "winner"),
    [
        (["only 1"], "only 1"),
        (["a 1", "b 2", "c 1"], "c 1"),  # the newest that gives the winning answer
        (["a 1", "b 2"], "b 2"),  # of equal answers the newest
        (["a 1", "b 2", "c 1", "d 2"], "d 2"),
        (["a 1", "no?", "none?", "nor?"], "a 1"),  # no answer is no vote
        (["no?", "none?"], "none?"),  # unless nobody has one
    ],
)
def test_the_commonest_answer_wins(solutions: list[str], winner: str) -> None:
    assert vote(solutions, last_word) == winner


def test_an_empty_answer_is_an_answer() -> None:
    assert vote(["", "", "x"], lambda solution: solution) == ""
