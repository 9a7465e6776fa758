"""The program as its example configures it, on a fake engine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from bench.credit_signals import describe_choice, main
from bench.outcome import Outcome

ROOT = Path(__file__).parents[2]


def test_the_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    settings = yaml.safe_load((ROOT / "configs/examples/many_shot.yaml").read_text())
    settings["engine"] = {"kind": "fake", "max_model_len": 4096}
    settings["controller"]["encoder"] = "fake"
    settings["trainer"] |= {"num_steps": 2, "queries_per_step": 2}
    file = tmp_path / "many_shot.yaml"
    file.write_text(yaml.safe_dump(settings))
    monkeypatch.chdir(ROOT)
    flags = ["--num-queries", "4", "--seeds", "2", "--jobs", "1"]
    assert main(["--config", str(file), "--output", str(tmp_path), *flags]) == 0
    figures = json.loads((tmp_path / "credit_signals" / "result.json").read_text())["figures"]
    fixed = [f"fixed:{name}" for name in ("Generate", "GenerateCoT", "ManyShot")]
    assert list(figures["policies"]) == ["initial", *fixed, "tokens", "calibrated"]
    assert figures["choices"]["fixed:ManyShot"]["share_by_operator"] == {"ManyShot": 1.0}
    curves = figures["first_layer_probabilities"]
    assert {len(values) for by_operator in curves.values() for values in by_operator.values()} == {2}
    for by_operator in curves.values():
        assert sum(values[0] for values in by_operator.values()) == pytest.approx(1.0)
    assert curves["tokens"]["ManyShot"][0] == pytest.approx(curves["calibrated"]["ManyShot"][0])  # the same start
    assert (tmp_path / "credit_signals" / "probabilities.png").stat().st_size > 1000
    assert "calibrated against tokens" in capsys.readouterr().out
    runs = {
        signal: yaml.safe_load((tmp_path / "credit_signals" / "seed-1" / signal / "config.yaml").read_text())
        for signal in ("tokens", "calibrated")
    }
    assert {signal: run["latency"]["signal"] for signal, run in runs.items()} == {name: name for name in runs}


def test_an_operator_counts_once_a_query() -> None:
    def outcome(operators: tuple[str, ...], agreement: float | None) -> Outcome:
        return Outcome("a", "q", 1.0, 0.0, 1.0, 1.0, operators, agreement, False)

    choice = describe_choice(
        [outcome(("A", "A"), None), outcome(("A", "B"), 0.5), outcome(("B",), 1.0), outcome((), None)]
    )
    assert choice.share_by_operator == {"A": 0.5, "B": 0.5}
    assert choice.critical_agreement == 0.75
