"""The program on a fake engine, and its arithmetic by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.case import FIXED_WIDE, WIDE, Case
from bench.comparison import compare
from bench.execution_modes import TARGETS, WIDE_GROUP, Target, compare_groups, describe_target, is_met, main
from bench.way import WAYS
from lamas_local.policy import parse_fixed
from lamas_local.tasks.base import Example, Query
from lamas_local.trace import Architecture
from serving.fake_engine import FakeEngine
from serving.types import EngineError
from tests.bench.runs import make_runs

EXAMPLE = Example(Query("q", "How many?"), "1")


def test_a_target_is_about_one_pair_and_one_group() -> None:
    groups = {"drawn": compare(make_runs({"layered": [[4.0]], "sequential": [[4.0]], "dataflow": [[3.0]]}))}
    assert is_met(Target(("dataflow", "layered"), "drawn", 0.75), groups)
    assert not is_met(Target(("dataflow", "layered"), "drawn", 0.74), groups)
    assert not is_met(Target(("layered", "sequential"), "drawn", 0.9), groups)
    assert not is_met(Target(("dataflow", "layered"), "fixed", 0.75), groups)
    assert describe_target(Target(("dataflow", "layered"), "fixed", 0.75), groups).startswith("target not measured")


def test_groups_split_by_width_and_origin() -> None:
    narrow: Architecture = (("Generate", "GenerateCoT"), ("SelfRefine", "EarlyStop"))
    wide = parse_fixed(FIXED_WIDE[0]).layers
    cases = [Case("drawn", EXAMPLE, narrow), Case("fixed", EXAMPLE, wide), Case("drawn", EXAMPLE, wide)]
    groups = compare_groups(cases, make_runs({"layered": [[1.0]] * 3}))
    sizes = {name: group.num_cases for name, group in groups.items()}
    assert sizes == {"all": 3, "a layer of 3 or more": 2, "no layer of 3 or more": 1, "drawn": 2, "fixed": 1}
    assert next(iter(groups)) == WIDE_GROUP


def test_early_stop_is_no_operator() -> None:
    case = Case("drawn", EXAMPLE, (("Generate", "GenerateCoT"), ("SelfRefine", "ScEnsemble", "EarlyStop")))
    assert case.widths == (2, 2)
    assert case.num_operators == 4
    assert not case.is_wide


@pytest.mark.parametrize("name", FIXED_WIDE)
def test_every_fixed_architecture_is_wide(name: str) -> None:
    assert Case("fixed", EXAMPLE, parse_fixed(name).layers).is_wide


def test_the_program(config_file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--num-architectures", "4", "--repeats", "2", "--sampling.max-tokens", "32"]
    assert main(["--config", config_file, "--output", str(tmp_path), *flags]) == 0
    result = json.loads((tmp_path / "execution_modes" / "result.json").read_text())
    assert result["name"] == "execution_modes"
    assert {"figures", "raw", "command", "environment", "config", "load_average_before"} <= result.keys()
    assert {"commit", "num_cpus", "versions"} <= result["environment"].keys()
    assert result["config"]["sampling"]["max_tokens"] == 32
    runs = result["raw"]["runs"]
    assert len(runs) == 4 * 2 * len(WAYS)
    assert {run["way"] for run in runs if run["num_aborted_requests"]} <= {"dataflow"}
    assert {(run["case"], run["answer"]) for run in runs if run["way"] == "layered"} == {
        (run["case"], run["answer"]) for run in runs if run["way"] == "dataflow-whole"
    }
    assert [case["origin"] for case in result["raw"]["cases"]] == ["fixed", "drawn", "drawn", "fixed"]
    assert any(len(layer) >= WIDE for layer in result["raw"]["cases"][0]["architecture"])
    figures = result["figures"]
    assert figures["num_failed_rollouts"] == 0
    assert [target["is_met"] for target in figures["targets"]] == [
        figures["groups"][target.group]["pairs"]["/".join(target.pair)]["ratio_of_medians"] <= target.ratio
        for target in TARGETS
    ]
    assert figures["groups"]["all"]["pairs"]["dataflow/layered"]["num_other_answers"] == 0
    output = capsys.readouterr().out
    assert "target m" in output
    assert "2 architectures drawn" in output


def test_same_seed_same_cases_and_tokens(config_file: str, tmp_path: Path) -> None:
    def tokens(output: str) -> list[int]:
        folder = tmp_path / output
        assert main(["--config", config_file, "--output", str(folder), "--repeats", "1"]) == 0
        runs = json.loads((folder / "execution_modes" / "result.json").read_text())["raw"]["runs"]
        return [run["output_tokens"] for run in runs if run["way"] != "dataflow"]  # where time decides what is aborted

    assert tokens("a") == tokens("b")


def test_a_failed_rollout_fails_the_run(
    config_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failing = FakeEngine(fail=lambda request: EngineError("no luck"))
    monkeypatch.setattr(FakeEngine, "generate", failing.generate)
    assert main(["--config", config_file, "--output", str(tmp_path), "--num-architectures", "1"]) == 1
    assert "no luck" in capsys.readouterr().err
    figures = json.loads((tmp_path / "execution_modes" / "result.json").read_text())["figures"]
    assert figures["num_failed_rollouts"] == 3 * len(WAYS)
    assert [target["is_met"] for target in figures["targets"]] == [False, False]
