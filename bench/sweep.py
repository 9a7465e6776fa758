"""Which latency weight a variant is shown with: chosen by what its training said, never by the test queries."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from bench.variant import Candidate
from lamas_local.run_folder import RunFolder

WINDOW = 0.25
"""The last share of a training run's steps, by which it is judged."""
RULE = (
    "Latency weight: of those with which the score over the last quarter of training, all seeds together, is at least "
    "that of maas-layered less one standard error, the one with the fewest seconds there; where there is none, the one "
    "with the highest score."
)


@dataclass(frozen=True, slots=True)
class TrainingEnd:
    """The rollouts of the last steps of one candidate's training, over all seeds."""

    score: float
    seconds: float
    """Wall clock under the load of a batch."""
    num_rollouts: int


def read_training_end(folders: Sequence[RunFolder], rollouts_per_step: int) -> TrainingEnd:
    """From the metrics of finished runs, one a seed."""
    ends = []
    for folder in folders:
        steps = [json.loads(line) for line in folder.metrics.read_text(encoding="utf-8").splitlines()]
        ends += steps[-max(1, round(len(steps) * WINDOW)) :]
    return TrainingEnd(
        score=fmean(step["score"] for step in ends),
        seconds=fmean(step["wall_latency_s"] for step in ends),
        num_rollouts=len(ends) * rollouts_per_step,
    )


def choose_weights(
    candidates: Sequence[Candidate], ends: Mapping[str, TrainingEnd], reference: TrainingEnd
) -> list[Candidate]:
    """One candidate a variant, in the given order; `ends` by the name of a candidate's run."""
    chosen: dict[str, Candidate] = {}
    for candidate in candidates:
        before = chosen.get(candidate.variant.name)
        better = before is None or _merit(ends[candidate.run], reference) > _merit(ends[before.run], reference)
        if better:
            chosen[candidate.variant.name] = candidate
    return list(chosen.values())


def choose_best(candidates: Sequence[Candidate], ends: Mapping[str, TrainingEnd], reference: TrainingEnd) -> Candidate:
    """The best of at least one candidate by the same rule."""
    return max(candidates, key=lambda candidate: _merit(ends[candidate.run], reference))


def _merit(end: TrainingEnd, reference: TrainingEnd) -> tuple[bool, float]:
    """Who keeps the reference's score comes first, then the quick; of those who do not, the higher score."""
    share = min(max(reference.score, 0.0), 1.0)
    floor = reference.score - (share * (1 - share) / reference.num_rollouts) ** 0.5
    keeps = end.score >= floor
    return keeps, -end.seconds if keeps else end.score
