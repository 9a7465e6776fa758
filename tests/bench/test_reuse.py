"""The program on a fake engine, and its verdicts by hand."""

from __future__ import annotations

import json
from dataclasses import astuple
from pathlib import Path
from typing import Any

import pytest

from bench.reuse import WITH, WITHOUT, Reached, compare, main
from bench.spending import Spent
from lamas_local.trace import read_traces
from serving.fake_engine import FakeEngine
from serving.types import EngineError
from tests.lamas_local.builders import layer, operator, trace

SETTINGS = [
    *("--latency.signal", "tokens", "--controller.num-layers", "2", "--evaluation.num-queries", "3"),
    *("--trainer.num-steps", "4", "--trainer.queries-per-step", "2"),
]
REUSE = ["--trainer.reuse.steps-per-query", "4"]


def result(output: Path) -> dict[str, Any]:
    tree: dict[str, Any] = json.loads((output / "reuse" / "result.json").read_text())
    return tree


def cost(tokens: int) -> Spent:
    return Spent(1, 1, 1, 0, prompt_tokens=tokens, cached_tokens=0, output_tokens=0)


def test_compare_pairs_queries() -> None:
    def rollouts(policy: str, scores: list[float], wall_s: float) -> Any:
        return [
            trace(layer(operator(1)), policy=policy, query_id=f"{i}", score=score, wall_s=wall_s)
            for i, score in enumerate(scores)
        ]

    evaluated = {WITHOUT: rollouts(WITHOUT, [1, 0, 1, 0], 2.0), WITH: rollouts(WITH, [1, 1, 0, 0], 1.5)[::-1]}
    reached = compare({WITHOUT: cost(400), WITH: cost(100)}, evaluated)
    assert astuple(reached) == pytest.approx((0.25, 0.0, (2 / 3) ** 0.5 / 2, (1 / 3) ** 0.5 / 2, 0.75))


@pytest.mark.parametrize(
    ("reached", "missed"),
    [
        (Reached(0.25, -0.04, 0.01, 0.04, 1.1), set()),
        (Reached(0.1, 0.2, 0.01, 0.04, 0.5), set()),
        (Reached(0.26, -0.041, 0.09, 0.04, 1.11), {"tokens", "score", "seconds"}),
        (Reached(0.1, -0.01, None, None, 1.0), {"score"}),
    ],
)
def test_targets(reached: Reached, missed: set[str]) -> None:
    assert {name for name, is_met in reached.is_met.items() if not is_met} == missed


def test_the_program(config_file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--config", config_file, "--output", str(tmp_path), *SETTINGS, *REUSE]) == 0
    figures = result(tmp_path)["figures"]
    training = figures["training"]
    assert training[WITHOUT]["num_reused_runs"] == 0 < training[WITH]["num_reused_runs"]
    assert training[WITHOUT]["num_rollouts"] == training[WITH]["num_rollouts"] == 4 * 2 * 4
    assert figures["reached"]["tokens_ratio"] == training[WITH]["tokens"] / training[WITHOUT]["tokens"] < 1
    assert figures["trainers"][WITHOUT]["reuse"] is None
    assert {name: policy["num_queries"] for name, policy in figures["policies"].items()} == {WITHOUT: 3, WITH: 3}
    curve = result(tmp_path)["raw"]["curves"][WITH]
    assert len(curve) == 4
    assert curve[-1]["tokens"] == training[WITH]["tokens"]
    assert (tmp_path / "reuse" / "curves.png").stat().st_size > 0
    assert "engine tokens, ratio" in capsys.readouterr().out

    # That run again, as the one without reuse: its tokens are those of its traces, and it is not trained again.
    run, before = tmp_path / "reuse" / "without", len(read_traces(tmp_path / "reuse" / "without" / "traces.jsonl"))
    again = ["--config", config_file, "--output", str(tmp_path / "again"), *SETTINGS, *REUSE, "--without-run", str(run)]
    assert main(again) == 0
    assert result(tmp_path / "again")["figures"]["training"] == training
    assert len(read_traces(run / "traces.jsonl")) == before
    assert main([*again, "--sampling.max-tokens", "47"]) == 2
    assert "--without-run: sampling.max_tokens is 48" in capsys.readouterr().err
    assert main([*again[:-1], str(tmp_path / "reuse" / "with")]) == 2
    assert "trainer.reuse is set there" in capsys.readouterr().err


def test_another_trainer_without_reuse(config_file: str, tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text("trainer: {num_steps: 2, queries_per_step: 3}\n")
    assert main(["--config", config_file, "--output", str(tmp_path), "--without", str(other), *SETTINGS, *REUSE]) == 0
    assert result(tmp_path)["figures"]["training"][WITHOUT]["num_rollouts"] == 2 * 3 * 4


def test_nothing_to_compare(config_file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--config", config_file, "--output", str(tmp_path), *SETTINGS]) == 2
    assert "trainer.reuse is absent" in capsys.readouterr().err


def test_a_failed_training_fails_the_run(
    config_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failing = FakeEngine(fail=lambda request: EngineError("no luck"))
    monkeypatch.setattr(FakeEngine, "generate", failing.generate)
    assert main(["--config", config_file, "--output", str(tmp_path), *SETTINGS, *REUSE]) == 1
    assert "no luck" in capsys.readouterr().err
