"""Whole runs on a simulated engine: the same trainer, equal seeds, and what is fitted to a run is what made it."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest

from lamas_local.calibration import Calibration
from lamas_local.cli import main
from lamas_local.config import Config, ConfigError
from lamas_local.engine_load import spans
from lamas_local.executor import Plan
from lamas_local.policy import parse_fixed
from lamas_local.run_folder import RunFolder
from lamas_local.session import Session, run
from lamas_local.simulation.fit import fit_profile
from lamas_local.simulation.profile import Profile, dump_profile, load_profile
from lamas_local.trace import RolloutTrace, read_traces, to_json
from tests.lamas_local.builders import make_config, write_config

SIMULATED: dict[str, Any] = {
    "engine": {"kind": "simulated", "profile": "cpu-2-cores"},
    "latency": {"signal": "measured"},
}
WIDE = "fixed:Generate,GenerateCoT,MultiGenerateCoT+SelfRefine,SelfRefine,MultiGenerateCoT+ScEnsemble"
NUM_QUERIES = 150


def test_train_evaluate_and_report_with_simulated_seconds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    started = time.monotonic()
    assert main(write_config(tmp_path / "run", **SIMULATED)) == 0
    assert "seconds are simulated" in capsys.readouterr().out
    folder = RunFolder(tmp_path / "run")
    assert json.loads(folder.summary.read_text())["clock"] == "simulated"
    assert "simulated" in (folder.path / "report.html").read_text()
    traces = read_traces(folder.traces)
    assert max(trace.ended for trace in traces) > time.monotonic() - started, "virtual seconds, more than real ones"
    assert all(trace.failure is None for trace in traces)
    steps = [json.loads(line) for line in folder.metrics.read_text().splitlines()]
    assert all(step["step_s"] < time.monotonic() - started for step in steps), "step_s stays real"
    assert main(["evaluate", "--run", str(folder.path), "--evaluation.num-queries", "3"]) == 0
    assert main(["report", str(folder.path)]) == 0


def simulate(config: Config, num_queries: int, at_once: int, architecture: str = WIDE) -> list[RolloutTrace]:
    async def main() -> list[RolloutTrace]:
        session = await Session.open(config)
        gate = asyncio.Semaphore(at_once)

        async def one(index: int) -> RolloutTrace:
            async with gate:
                example = session.task.example("train", index)
                return await session.executor.run(Plan(example, parse_fixed(architecture).layers, "layered", step=1))

        try:
            return list(await asyncio.gather(*(one(index) for index in range(num_queries))))
        finally:
            await session.close()

    return run(config, main())


def test_equal_seeds_give_equal_traces_and_every_stamp_is_in_order() -> None:
    config = make_config(**{**SIMULATED, "engine": {**SIMULATED["engine"], "noise": 0.2}})
    traces = simulate(config, 30, 10)
    assert [to_json(trace) for trace in traces] == [to_json(trace) for trace in simulate(config, 30, 10)]
    for trace in traces:
        for span in spans(trace):
            assert span.kind == "request"
            assert span.timing is not None
            stamps = span.timing.stamps
            order = [trace.started, span.started, *stamps, span.ended, trace.ended]
            assert order == sorted(order)


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Profile]:
    """A run folder, and the profile that made it."""
    profile = load_profile("cpu-2-cores")
    skill = profile.skill.model_copy(update={"correlation": 0.4, "num_distractors": 4})
    operators = {
        name: one.model_copy(
            update={"accuracy": {1: 0.7, 3: 0.4}, "consistent": 0.8} | ({"fixes": 0.4} if one.fixes else {})
        )
        for name, one in skill.operators.items()
    }
    profile = profile.model_copy(update={"skill": skill.model_copy(update={"operators": operators})})
    folder = tmp_path_factory.mktemp("truth")
    file = folder / "profile.yaml"
    file.write_text(dump_profile(profile), encoding="utf-8")
    config = make_config(
        folder / "run",
        task={"kind": "arithmetic", "levels": [1, 3]},
        engine={"kind": "simulated", "profile": str(file)},
        controller={"encoder": "fake"},
    )
    run_folder = RunFolder(config.run_dir)
    run_folder.create(config, resume=False, restart=False)
    run_folder.append_traces(simulate(config, NUM_QUERIES, at_once=6))
    return run_folder.path, profile


def test_the_cost_model_fitted_to_its_stamps_is_the_one_that_made_them(truth: tuple[Path, Profile]) -> None:
    folder, profile = truth
    model = Calibration.of(read_traces(RunFolder(folder).traces)).model
    assert model is not None
    assert model.step_s == pytest.approx(profile.cost.step_s, rel=0.05)
    assert model.running_s == pytest.approx(profile.cost.running_s, rel=0.05)
    assert model.prefill_token_s == pytest.approx(profile.cost.prefill_token_s, rel=0.05)
    assert model.return_s == pytest.approx(profile.cost.return_s, rel=0.05)


def test_a_profile_fitted_to_a_run_is_the_one_that_made_it(truth: tuple[Path, Profile]) -> None:
    folder, profile = truth
    fitted = asyncio.run(fit_profile(folder))
    assert fitted.tokens.characters_per_token == pytest.approx(profile.tokens.characters_per_token, rel=0.05)
    assert abs(fitted.tokens.template_tokens - profile.tokens.template_tokens) <= 1
    assert fitted.limits.block_size == profile.limits.block_size
    assert fitted.skill.correlation == pytest.approx(0.4, abs=0.15)
    assert 3 <= fitted.skill.num_distractors <= 5
    generate = fitted.skill.operators["MultiGenerateCoT"]
    assert generate.accuracy == pytest.approx({1: 0.7, 3: 0.4}, abs=0.12)
    assert sum(generate.output_tokens) / len(generate.output_tokens) == pytest.approx(
        _mean(profile.skill.operators["MultiGenerateCoT"].output_tokens), rel=0.1
    )
    refine = fitted.skill.operators["SelfRefine"]
    assert refine.keeps == pytest.approx(profile.skill.operators["SelfRefine"].keeps, abs=0.1)
    assert refine.fixes == pytest.approx(0.4, abs=0.12)
    assert fitted.skill.operators["ScEnsemble"].consistent == pytest.approx(0.8, abs=0.15)


def _mean(values: tuple[int, ...]) -> float:
    return sum(values) / len(values)


def test_a_run_can_stand_where_a_profile_does(truth: tuple[Path, Profile]) -> None:
    traces = simulate(make_config(engine={"kind": "simulated", "run": str(truth[0])}), 3, 3)
    assert all(trace.failure is None for trace in traces)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"operators": ["Generate", "Programmer"]},
            "'simulated', but an operator or the task runs code",
        ),
        ({"task": {"kind": "math"}}, "task.kind 'math' is scored by a process"),
        ({"engine": {"kind": "simulated", "profile": "tpu"}}, "engine.profile: 'tpu'"),
        ({"engine": {"kind": "simulated", "profile": None, "run": "no-such-run"}}, "no-such-run: not a run folder"),
    ],
)
def test_what_cannot_be_simulated_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        simulate(make_config(**{**SIMULATED, **changes}), 1, 1)


def test_a_profile_and_a_run_at_once_are_one_too_many(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = write_config(tmp_path / "run", **SIMULATED)
    assert main([*arguments, "--engine.run", "somewhere"]) == 2
    assert "only one may be given" in capsys.readouterr().err


def test_a_run_without_traces_says_so(tmp_path: Path) -> None:
    RunFolder(tmp_path / "run").create(make_config(tmp_path / "run"), resume=False, restart=False)
    with pytest.raises(ConfigError, match=r"no traces.jsonl"):
        asyncio.run(fit_profile(tmp_path / "run"))


def test_virtual_time_goes_on_where_the_run_was(tmp_path: Path) -> None:
    arguments = write_config(tmp_path / "run", **SIMULATED)
    assert main(arguments) == 0
    folder = RunFolder(tmp_path / "run")
    before = folder.last_stamp()
    assert main([*arguments, "--resume", "--trainer.num-steps", "4"]) == 0
    later = [trace for trace in read_traces(folder.traces) if trace.step == 4]
    assert later
    assert min(trace.started for trace in later) >= before > 0
