"""The ablation's table, and whether its targets are met."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from bench.replicates import Estimate, Figures, Floats, Replicates
from bench.result import print_table

COLUMNS: dict[str, tuple[str, Callable[[Figures], Floats], int]] = {
    "score": ("score", lambda figures: figures.score, 3),
    "cost_usd": ("USD / 1000", lambda figures: figures.cost_usd * 1000, 3),
    "cp_tokens": ("CP tokens", lambda figures: figures.cp_tokens, 1),
    "seconds": ("s mean", lambda figures: figures.seconds, 2),
    "seconds_p50": ("s p50", lambda figures: figures.seconds_p50, 2),
    "seconds_p95": ("s p95", lambda figures: figures.seconds_p95, 2),
}
"""Figure -> its heading, how it is read and its digits. The cost is in USD per 1,000 queries."""


@dataclass(frozen=True, slots=True)
class Row:
    """One policy."""

    name: str
    estimates: dict[str, Estimate]
    """By the names of `COLUMNS`."""
    score_against: dict[str, Estimate]
    """Paired difference of score to each reference of `TARGETS`."""
    seconds_against: dict[str, Estimate]
    """Paired relative difference of mean seconds to each: -0.6 is 60% fewer."""


@dataclass(frozen=True, slots=True)
class Target:
    """Of the best of ours: at least this share fewer mean seconds than a reference, at a score not lower."""

    reference: str
    share: float


TARGETS = (Target("maas-layered", 0.60), Target("lamas", 0.15))


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a target."""

    best: str
    target: Target
    seconds: Estimate
    score: Estimate
    are_seconds_met: bool
    is_score_kept: bool
    """The score is not lower beyond its interval: the interval of the difference does not lie below 0."""

    @property
    def is_met(self) -> bool:
        """Both."""
        return self.are_seconds_met and self.is_score_kept


def make_rows(replicates: Replicates, names: Sequence[str]) -> list[Row]:
    """A row a policy, in the given order."""
    return [
        Row(
            name,
            {
                key: replicates.estimate(lambda seen, read=read, name=name: read(seen[name]))  # type: ignore[misc]
                for key, (_, read, _) in COLUMNS.items()
            },
            {target.reference: score_difference(replicates, name, target.reference) for target in TARGETS},
            {target.reference: seconds_difference(replicates, name, target.reference) for target in TARGETS},
        )
        for name in names
    ]


def score_difference(replicates: Replicates, name: str, reference: str) -> Estimate:
    """Paired."""
    return replicates.estimate(lambda seen: seen[name].score - seen[reference].score)


def seconds_difference(replicates: Replicates, name: str, reference: str) -> Estimate:
    """Of mean seconds, relative to the reference's; paired."""
    return replicates.estimate(lambda seen: seen[name].seconds / seen[reference].seconds - 1)


def judge(replicates: Replicates, best: str, target: Target) -> Verdict:
    """Whether a policy meets a target."""
    seconds = seconds_difference(replicates, best, target.reference)
    score = score_difference(replicates, best, target.reference)
    return Verdict(best, target, seconds, score, seconds.value <= -target.share, score.high >= 0)


def describe_target(verdict: Verdict) -> str:
    """The verdict in a sentence."""
    score = f"score {show(verdict.score, 3, signed=True)}"
    score += "" if verdict.is_score_kept else ", which is lower"
    target = verdict.target
    return (
        f"{verdict.best} against {target.reference}: seconds {show_share(verdict.seconds)}, {score}: target (at least "
        f"{target.share:.0%} fewer seconds, score not lower) {'met' if verdict.is_met else 'missed'}."
    )


def show_half(estimate: Estimate, digits: int, *, signed: bool = False) -> str:
    """`value ± half the interval's width`."""
    sign = "+" if signed else ""
    return f"{estimate.value:{sign}.{digits}f} ± {(estimate.high - estimate.low) / 2:.{digits}f}"


def show(estimate: Estimate, digits: int, *, signed: bool = False) -> str:
    """`value [low, high]`."""
    sign = "+" if signed else ""
    value, low, high = (f"{number:{sign}.{digits}f}" for number in (estimate.value, estimate.low, estimate.high))
    return f"{value} [{low}, {high}]"


def show_share(estimate: Estimate) -> str:
    """`-62% [-70%, -54%]`."""
    return f"{estimate.value:+.0%} [{estimate.low:+.0%}, {estimate.high:+.0%}]"


def show_half_share(estimate: Estimate) -> str:
    """`-62% ± 8`."""
    return f"{estimate.value:+.0%} ± {50 * (estimate.high - estimate.low):.0f}"


HEADINGS = ("policy", *(heading for heading, _, _ in COLUMNS.values()))
DIFFERENCES = (
    "policy",
    *(f"{what} against {target.reference}" for target in TARGETS for what in ("seconds", "score")),
)


def cells(row: Row) -> list[str]:
    """Of the first table."""
    return [row.name, *(show_half(row.estimates[key], digits) for key, (_, _, digits) in COLUMNS.items())]


def difference_cells(row: Row) -> list[str]:
    """Of the second."""
    return [
        row.name,
        *(
            text
            for target in TARGETS
            for text in (
                show_half_share(row.seconds_against[target.reference]),
                show_half(row.score_against[target.reference], 3, signed=True),
            )
        ),
    ]


def print_rows(rows: Sequence[Row], notes: Iterable[str]) -> None:
    """Both tables, then the notes."""
    print_table("each idea on its own: value ± half of its 95% interval", HEADINGS, map(cells, rows))
    print_table("paired differences", DIFFERENCES, map(difference_cells, rows), notes)


def markdown(rows: Sequence[Row], notes: Iterable[str]) -> str:
    """The same for a page of documentation."""
    tables = [(HEADINGS, [cells(row) for row in rows]), (DIFFERENCES, [difference_cells(row) for row in rows])]
    parts = [
        "\n".join("| " + " | ".join(line) + " |" for line in (headings, ["---"] * len(headings), *lines))
        for headings, lines in tables
    ]
    return "\n\n".join([*parts, *(f"- {note}" for note in notes)]) + "\n"
