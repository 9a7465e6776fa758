"""The rule that chooses a weight, by hand."""

from __future__ import annotations

import json
from pathlib import Path

from bench.sweep import TrainingEnd, choose_best, choose_weights, read_training_end
from bench.variant import VARIANTS, Candidate
from lamas_local.run_folder import RunFolder

REFERENCE = TrainingEnd(score=0.5, seconds=9.0, num_rollouts=100)  # one standard error is 0.05
SLACK, TO_GO = (variant for variant in VARIANTS if variant.name in ("slack", "to-go"))


def end(score: float, seconds: float) -> TrainingEnd:
    return TrainingEnd(score, seconds, 100)


def test_the_quickest_of_those_that_keep_the_score() -> None:
    candidates = [Candidate(SLACK, weight) for weight in (0.01, 0.03, 0.1)]
    ends = {"slack@0.01": end(0.52, 8.0), "slack@0.03": end(0.46, 4.0), "slack@0.1": end(0.44, 1.0)}
    [chosen] = choose_weights(candidates, ends, REFERENCE)
    assert chosen.name == "slack@0.03"


def test_where_none_keeps_it_the_highest_score() -> None:
    candidates = [Candidate(SLACK, weight) for weight in (0.03, 0.1)]
    ends = {"slack@0.03": end(0.30, 4.0), "slack@0.1": end(0.31, 6.0)}
    assert [one.name for one in choose_weights(candidates, ends, REFERENCE)] == ["slack@0.1"]


def test_each_variant_once_and_the_best_of_them() -> None:
    candidates = [Candidate(SLACK, 0.03), Candidate(TO_GO, 0.03), Candidate(TO_GO, 0.1)]
    ends = {"slack@0.03": end(0.6, 5.0), "to-go@0.03": end(0.5, 4.0), "to-go@0.1": end(0.5, 3.0)}
    chosen = choose_weights(candidates, ends, REFERENCE)
    assert [one.name for one in chosen] == ["slack@0.03", "to-go@0.1"]
    assert choose_best(chosen, ends, REFERENCE).name == "to-go@0.1"


def test_only_the_last_quarter_of_every_seed_counts(tmp_path: Path) -> None:
    folders = []
    for seed, last in enumerate((0.4, 0.6)):
        folder = RunFolder(tmp_path / str(seed))
        folder.path.mkdir()
        for step in range(8):
            folder.append_metrics({"score": last if step >= 6 else 0.0, "wall_latency_s": float(step)})
        folders.append(folder)
    assert json.loads(folders[0].metrics.read_text().splitlines()[-1])["score"] == 0.4
    assert read_training_end(folders, 32) == TrainingEnd(0.5, 6.5, 4 * 32)
