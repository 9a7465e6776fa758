from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

from lamas_local.report.rollouts import pick_rollouts
from lamas_local.report.run_folder import read_run
from lamas_local.trace import RolloutTrace, to_json
from tests.lamas_local.report.synthetic import make_trace

RNG = random.Random(0)
SHORT, MIDDLE, LONG = (("Generate",),), (("GenerateCoT",),), (("GenerateCoT",), ("GenerateCoT",))


def rollout(
    policy: str,
    layers: tuple[tuple[str, ...], ...],
    query_id: str,
    step: int = 9,
    answer: str | None = "4",
    rollout: int = 0,
) -> RolloutTrace:
    return make_trace(policy, layers, RNG, query_id, step, rollout, answer=answer)


def test_the_median_of_trained_with_initial_on_the_same_query() -> None:
    traces = [
        rollout("initial", LONG, "a", step=0),
        rollout("initial", LONG, "b", step=0),
        rollout("trained", LONG, "a"),
        rollout("trained", MIDDLE, "b"),
        rollout("trained", SHORT, "c"),
        rollout("trained", LONG, "d", answer=None),
    ]
    assert pick_rollouts(traces) == [traces[3], traces[1]]


def test_other_policies_stand_in_then_training() -> None:
    train = [rollout("train", SHORT, "a", step=1), rollout("train", MIDDLE, "b", step=2)]
    assert pick_rollouts(train) == [train[1]]
    fixed = rollout("fixed:Generate", SHORT, "a", step=0)
    assert pick_rollouts([*train, fixed]) == [fixed]
    initial = rollout("initial", SHORT, "a", step=0)
    assert pick_rollouts([*train, initial]) == [initial]
    assert pick_rollouts([rollout("trained", SHORT, "a", answer=None)]) == []


def test_a_resumed_run_counts_a_repeated_step_once(tmp_path: Path) -> None:
    first, again = rollout("train", SHORT, "a", step=3), rollout("train", LONG, "a", step=3)
    (tmp_path / "traces.jsonl").write_text(f"{to_json(first)}\n{to_json(again)}\n")
    (tmp_path / "metrics.jsonl").write_text('{"step": 4, "score": 1}\n{"step": 3, "score": 1}\n{"step": 4, "score": 2}')
    run = read_run(tmp_path)
    assert run.traces == (again,)
    assert [(row["step"], row["score"]) for row in run.metrics] == [(3, 1), (4, 2)]


def test_a_rollout_that_reused_runs_is_not_shown() -> None:
    live, other = rollout("train", LONG, "a", step=1), rollout("train", SHORT, "b", step=2)
    [only] = other.layers
    reused = replace(other, layers=(replace(only, operators=(replace(only.operators[0], is_reused=True),)),))
    assert pick_rollouts([live, reused]) == [live]
