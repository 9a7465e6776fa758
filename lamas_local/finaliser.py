"""The fixed step after the last layer: one answer from the solutions that remain. Timed, never credited."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence


def vote(solutions: Sequence[str], extract_answer: Callable[[str], str | None]) -> str:
    """The solution whose answer most of them give; the newest of equals, and of those that share the answer.

    Solutions without an answer vote only when none has one. `solutions` holds at least one.
    """
    answers = [extract_answer(solution) for solution in solutions]
    counts = Counter(answer for answer in answers if answer is not None)
    if not counts:
        return solutions[-1]
    best = max(counts.values())
    return next(
        solution
        for solution, answer in zip(reversed(solutions), reversed(answers), strict=True)
        if answer is not None and counts[answer] == best
    )
