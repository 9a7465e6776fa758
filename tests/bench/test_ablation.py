"""The program on a fake engine: a table, gone on with where it was stopped, and trained anew only when asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench import seed_run
from bench.ablation import main
from bench.outcome import Outcome, append_outcome
from bench.workers import stop_if_asked
from lamas_local.commands import INTERRUPTED
from lamas_local.run_folder import RunFolder
from lamas_local.trainer import Trainer

NAMES = ["maas-sequential", "maas-layered", "lamas", "slack@0.1", "fixed:Generate"]


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    settings = {
        "engine": {"kind": "fake"},
        "controller": {"encoder": "fake"},
        "sampling": {"max_tokens": 48},
        "trainer": {"num_steps": 2, "queries_per_step": 2, "rollouts_per_query": 2, "checkpoint_every": 1},
        "evaluation": {"policies": ["trained", "fixed:Generate"]},
    }
    file = tmp_path / "ablation.yaml"
    file.write_text(json.dumps(settings))
    variants = ["--variants", "slack", "maas-sequential", "--weights", "0.1", "--jobs", "1"]
    return ["--config", str(file), "--output", str(tmp_path), "--num-queries", "3", *variants]


def result(tmp_path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((tmp_path / "ablation" / "result.json").read_text())
    return content


def test_the_program(command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command, "--seeds", "2"]) == 0
    figures = result(tmp_path)["figures"]
    assert [row["name"] for row in figures["rows"]] == NAMES
    assert figures["best_of_ours"] == "slack@0.1"
    assert [verdict["target"]["reference"] for verdict in figures["targets"]] == ["maas-layered", "lamas"]
    assert {len(rows) for rows in result(tmp_path)["raw"]["by_seed"].values()} == {2}
    assert (tmp_path / "ablation" / "tradeoff.png").stat().st_size > 1000
    assert "| slack@0.1 |" in (tmp_path / "ablation" / "table.md").read_text()
    printed = capsys.readouterr().out
    assert "Student's t over 2 seeds" in " ".join(printed.split())
    first, second = (tmp_path / "ablation" / f"seed-{seed}" for seed in (0, 1))
    assert not (first / "maas-sequential").exists()  # it has another's controller
    assert RunFolder(first / "slack@0.1").load_config().seed == 0
    assert RunFolder(second / "slack@0.1").load_config().seed == 1
    assert not RunFolder(first / "slack@0.1").traces.exists()


def test_a_finished_run_is_not_trained_again(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main([*command, "--seeds", "1"]) == 0
    before = result(tmp_path)["figures"]
    (tmp_path / "ablation" / "seed-0" / "outcomes.jsonl").unlink()
    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "train_step", None)
        assert main([*command, "--seeds", "1"]) == 0
    after = result(tmp_path)["figures"]
    assert [row["estimates"]["score"] for row in after["rows"]] == [row["estimates"]["score"] for row in before["rows"]]
    assert main([*command, "--seeds", "1", "--restart"]) == 0


def test_other_settings_are_not_mixed_in(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, "--seeds", "1"]) == 0
    assert main([*command, "--seeds", "1", "--trainer.learning-rate", "0.5"]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "trained with trainer.learning_rate 0.01, which is 0.5 now; --restart trains all anew" in error


@pytest.mark.parametrize("rollouts", [1, 7])
def test_an_interrupted_evaluation_goes_on(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rollouts: int
) -> None:
    """As if Ctrl-C had come after some rollouts; the table is then that of a command that was never stopped."""
    seen: list[Outcome] = []

    def interrupt_later(path: Path, outcome: Outcome) -> None:
        append_outcome(path, outcome)
        seen.append(outcome)

    with monkeypatch.context() as patched:
        patched.setattr(seed_run, "append_outcome", interrupt_later)
        patched.setattr(
            seed_run, "stop_if_asked", lambda stop: stop.set() if len(seen) >= rollouts else stop_if_asked(stop)
        )
        assert main([*command, "--seeds", "1"]) == INTERRUPTED
    assert len(seen) == rollouts
    assert main([*command, "--seeds", "1"]) == 0
    lines = (tmp_path / "ablation" / "seed-0" / "outcomes.jsonl").read_text().splitlines()
    keys = [(json.loads(line)["policy"], json.loads(line)["query"]) for line in lines]
    assert len(keys) == len(set(keys)) == 3 * len(NAMES)


def test_an_interrupted_training_ends_as_one_that_was_not(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int] = []

    def after_a_step(stop: Any) -> None:
        steps.append(0)
        if len(steps) > 1:  # the first call is before the first step
            stop.set()

    with monkeypatch.context() as patched:
        patched.setattr(seed_run, "stop_if_asked", after_a_step)
        assert main([*command, "--seeds", "1"]) == INTERRUPTED
    assert main([*command, "--seeds", "1"]) == 0
    stopped = RunFolder(tmp_path / "ablation" / "seed-0" / "maas-layered").metrics.read_text()
    assert main([*command, "--seeds", "1", "--restart"]) == 0
    whole = RunFolder(tmp_path / "ablation" / "seed-0" / "maas-layered").metrics.read_text()
    for one, other in zip(stopped.splitlines(), whole.splitlines(), strict=True):
        assert json.loads(one)["utility_mean"] == json.loads(other)["utility_mean"]
