"""A simulated run in the real one's place: fitted to itself, a simulation says what it took."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.simulated_vs_real import main
from lamas_local.cli import main as lamas_local
from tests.lamas_local.builders import write_config


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = tmp_path_factory.mktemp("runs") / "real"
    settings = write_config(
        run_dir,
        engine={"kind": "simulated", "profile": "cpu-2-cores"},
        trainer={"num_steps": 4, "queries_per_step": 4},
        evaluation={"policies": ["initial", "fixed:MultiGenerateCoT+ScEnsemble"], "num_queries": 20},
    )
    assert lamas_local(settings) == 0
    return run_dir


def test_what_is_fitted_to_training_predicts_the_evaluation(
    run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = ["--fit", str(run_dir), "--fit-part", "train", "--against", str(run_dir), "--against-part", "evaluation"]
    assert main([*parts, "--output", str(tmp_path)]) == 0
    result = json.loads((tmp_path / "simulated_vs_real" / "result.json").read_text())
    [fixed, initial, every] = result["figures"]["predictions"]
    assert [one["group"] for one in (fixed, initial, every)] == ["fixed:MultiGenerateCoT+ScEnsemble", "initial", "all"]
    assert [one["at_once"] for one in (fixed, initial, every)] == [1, 1, 1]
    assert every["num_rollouts"] == 40
    for one in (fixed, initial, every):
        assert abs(one["errors"]["replayed_p50"]) < 0.1
        assert abs(one["errors"]["drawn_p50"]) < 0.25
    assert len(result["raw"]["seconds"]) == 40
    assert (tmp_path / "simulated_vs_real" / "scatter.png").stat().st_size > 1000
    assert "target met" in capsys.readouterr().out


def test_a_folder_without_rollouts_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--fit", str(tmp_path), "--against", str(tmp_path), "--output", str(tmp_path)]) == 2
    assert "not a run folder" in capsys.readouterr().err
