"""The program on a fake engine, and its arithmetic by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.case import FIXED_WIDE, WIDE, Case
from bench.execution_modes import WIDE_GROUP, Comparison, Run, compare, compare_groups, main, order_of_modes
from lamas_local.policy import parse_fixed
from lamas_local.tasks.base import Example, Query
from lamas_local.trace import Architecture, ExecutionMode
from serving.fake_engine import FakeEngine
from serving.types import EngineError

EXAMPLE = Example(Query("q", "How many?"), "1")


def make_run(case: int, repeat: int, mode: ExecutionMode, seconds: float, tokens: int = 10, cached: int = 5) -> Run:
    cp_tokens = 8.0 if mode == "sequential" else 2.0 + 2 * case
    return Run(case, repeat, mode, mode == "sequential", seconds, cp_tokens, tokens, 10, cached, 0, None)


def make_runs(sequential: list[list[float]], layered: list[list[float]]) -> list[Run]:
    """Seconds by case and repeat."""
    tables: list[tuple[ExecutionMode, list[list[float]]]] = [("sequential", sequential), ("layered", layered)]
    return [
        make_run(case, repeat, mode, seconds)
        for mode, table in tables
        for case, row in enumerate(table)
        for repeat, seconds in enumerate(row)
    ]


def test_comparison_by_hand() -> None:
    # Two cases, three repeats. Ratios: case 0 0.5 0.5 1.0, case 1 0.25 0.75 0.25.
    runs = make_runs([[2.0, 4.0, 2.0], [8.0, 8.0, 8.0]], [[1.0, 2.0, 2.0], [2.0, 6.0, 2.0]])
    comparison: Comparison = compare(runs)
    assert comparison.num_cases == 2
    assert comparison.seconds == {"sequential": 6.0, "layered": 2.0}
    assert comparison.ratio_of_medians == pytest.approx(1 / 3)
    assert comparison.paired_ratio.median == pytest.approx((0.5 + 0.25) / 2)
    assert comparison.paired_ratio.num_pairs == 2
    # Medians over cases: sequential 5 6 5, layered 1.5 4 2.
    by_repeat = comparison.seconds_by_repeat
    assert (by_repeat["sequential"].median, by_repeat["sequential"].min, by_repeat["sequential"].max) == (5, 5, 6)
    assert (by_repeat["layered"].median, by_repeat["layered"].min, by_repeat["layered"].max) == (2, 1.5, 4)
    # Case 0: 2 of 8, case 1: 4 of 8.
    assert comparison.cp_tokens_ratio == pytest.approx((0.25 + 0.5) / 2)
    assert comparison.output_tokens == {"sequential": 10, "layered": 10}
    assert comparison.cached_share == {"sequential": 0.5, "layered": 0.5}


def test_groups_split_by_width_and_origin() -> None:
    narrow: Architecture = (("Generate", "GenerateCoT"), ("SelfRefine", "EarlyStop"))
    wide = parse_fixed(FIXED_WIDE[0]).layers
    cases = [Case("drawn", EXAMPLE, narrow), Case("fixed", EXAMPLE, wide), Case("drawn", EXAMPLE, wide)]
    groups = compare_groups(cases, make_runs([[1.0]] * 3, [[1.0]] * 3))
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


def test_each_mode_goes_first_as_often() -> None:
    firsts = [order_of_modes(case, repeat)[0] for case in range(4) for repeat in range(3)]
    assert firsts.count("sequential") == firsts.count("layered")
    assert order_of_modes(0, 0) != order_of_modes(1, 0)
    assert order_of_modes(0, 0) != order_of_modes(0, 1)


def test_the_program(config_file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--num-architectures", "4", "--repeats", "2", "--sampling.max-tokens", "32"]
    assert main(["--config", config_file, "--output", str(tmp_path), *flags]) == 0
    result = json.loads((tmp_path / "execution_modes" / "result.json").read_text())
    assert result["name"] == "execution_modes"
    assert {"figures", "raw", "command", "environment", "config", "load_average_before"} <= result.keys()
    assert {"commit", "num_cpus", "versions"} <= result["environment"].keys()
    assert result["config"]["sampling"]["max_tokens"] == 32
    assert len(result["raw"]["runs"]) == 4 * 2 * 2
    assert [case["origin"] for case in result["raw"]["cases"]] == ["fixed", "drawn", "drawn", "fixed"]
    assert any(len(layer) >= WIDE for layer in result["raw"]["cases"][0]["architecture"])
    figures = result["figures"]
    assert figures["num_failed_rollouts"] == 0
    assert figures["is_target_met"] == (figures["groups"][WIDE_GROUP]["ratio_of_medians"] <= figures["target_ratio"])
    output = capsys.readouterr().out
    assert "target m" in output
    assert "2 architectures drawn" in output


def test_same_seed_same_cases_and_tokens(config_file: str, tmp_path: Path) -> None:
    def tokens(output: str) -> list[int]:
        folder = tmp_path / output
        assert main(["--config", config_file, "--output", str(folder), "--repeats", "1"]) == 0
        runs = json.loads((folder / "execution_modes" / "result.json").read_text())["raw"]["runs"]
        return [run["output_tokens"] for run in runs]

    assert tokens("a") == tokens("b")


def test_a_failed_rollout_fails_the_run(
    config_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failing = FakeEngine(fail=lambda request: EngineError("no luck"))
    monkeypatch.setattr(FakeEngine, "generate", failing.generate)
    assert main(["--config", config_file, "--output", str(tmp_path), "--num-architectures", "1"]) == 1
    assert "no luck" in capsys.readouterr().err
    figures = json.loads((tmp_path / "execution_modes" / "result.json").read_text())["figures"]
    assert figures["num_failed_rollouts"] == 6
    assert figures["is_target_met"] is False
