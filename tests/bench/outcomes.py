"""Outcomes made by hand."""

from __future__ import annotations

from collections.abc import Sequence

from bench.outcome import Outcome


def outcome(policy: str, query: int, score: float = 1.0, seconds: float = 1.0, *, is_failed: bool = False) -> Outcome:
    return Outcome(policy, f"q{query}", score, 0.001, 10 * seconds, seconds, ("Generate",), None, is_failed)


def outcomes(policy: str, seconds: Sequence[float], scores: Sequence[float] | None = None) -> list[Outcome]:
    """One a query."""
    rights = [1.0] * len(seconds) if scores is None else scores
    return [outcome(policy, i, score, s) for i, (s, score) in enumerate(zip(seconds, rights, strict=True))]
