"""Whole runs through the command line, on the fake engine: stopped, killed, out of disk, and gone on with."""

from __future__ import annotations

import html
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from lamas_local import checkpoint, run_folder
from lamas_local.calibration import load_cost_model
from lamas_local.checkpoint import load_checkpoint
from lamas_local.cli import main
from lamas_local.commands import check_same_run
from lamas_local.config import ConfigError
from lamas_local.critical_path import critical_path
from lamas_local.latency import requests
from lamas_local.run_folder import RunFolder
from lamas_local.trace import RolloutTrace, read_traces
from serving.fake_engine import FakeEngine
from serving.types import Completion, EngineDeadError, GenerationRequest
from tests.lamas_local.builders import OneProblemTask, make_config, write_config

RUN: dict[str, Any] = {"trainer": {"num_steps": 6, "checkpoint_every": 2}}
LONG_RUN: dict[str, Any] = {"trainer": {"num_steps": 50, "checkpoint_every": 3}}


def trained(run: Path, **changes: Any) -> Path:
    """A run that was never stopped."""
    assert main(write_config(run, **changes)) == 0
    return run


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("whole") / "run", **RUN)


def key(trace: RolloutTrace) -> tuple[object, ...]:
    return trace.policy, trace.step, trace.query_id, trace.rollout


def assert_same_run(run: Path, expected: Path) -> None:
    """Weights and optimiser to the bit, every step and every rollout exactly once."""
    got, want = (load_checkpoint(RunFolder(path).checkpoints) for path in (run, expected))
    assert (got.step, got.ema_mean, got.ema_std) == (want.step, want.ema_mean, want.ema_std)
    for ours, theirs in ((got.controller, want.controller), (got.adam, want.adam)):
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    steps = [json.loads(line)["step"] for line in RunFolder(run).metrics.read_text().splitlines()]
    assert steps == list(range(1, want.step + 1))
    rollouts, others = (
        {key(trace): (trace.architecture, trace.answer, trace.score) for trace in read_traces(RunFolder(path).traces)}
        for path in (run, expected)
    )
    assert rollouts == others
    assert len(read_traces(RunFolder(run).traces)) == len(rollouts)
    assert (run / "summary.json").exists()


def test_a_run_leaves_everything_the_design_names(whole: Path) -> None:
    assert {path.name for path in whole.iterdir()} == {
        "config.yaml", "environment.json", "metrics.jsonl", "traces.jsonl", "checkpoints", "tensorboard",
        "summary.json", "report.html", "calibration.json", ".lock",
    }  # fmt: skip
    assert len((whole / "metrics.jsonl").read_text().splitlines()) == 6
    assert len(read_traces(whole / "traces.jsonl")) == 6 * 2 * 2 + 2 * 2
    summary = json.loads((whole / "summary.json").read_text())
    assert summary["policies"].keys() == {"trained", "fixed:Generate"}
    assert load_cost_model(whole / "calibration.json") is not None
    assert summary["comparison"]["calibrated_mape"] > 0
    assert [path.name for path in (whole / "checkpoints").iterdir()]
    assert any((whole / "tensorboard").iterdir())


def test_the_same_config_gives_the_same_run(tmp_path: Path, whole: Path) -> None:
    assert_same_run(trained(tmp_path / "run", **RUN), whole)


def test_a_finished_run_resumed_changes_nothing(tmp_path: Path, whole: Path) -> None:
    run = trained(tmp_path / "run", **RUN)
    before = (run / "traces.jsonl").read_bytes()
    assert main([*write_config(run, **RUN), "--resume"]) == 0
    assert (run / "traces.jsonl").read_bytes() == before
    assert_same_run(run, whole)


# Stopped


class InterruptingEngine(FakeEngine):
    """Presses Ctrl-C at the request whose id begins so."""

    at = ""

    async def generate(self, request: GenerationRequest) -> Completion:
        if self.at and request.request_id.startswith(self.at):
            type(self).at = ""
            os.kill(os.getpid(), signal.SIGINT)
        return await super().generate(request)


@pytest.mark.parametrize(("at", "num_steps"), [("train-3/", 3), ("fixed:Generate-0/arithmetic-test-1/", 6)])
def test_ctrl_c_finishes_the_step_saves_and_exits_with_130(
    tmp_path: Path,
    whole: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    at: str,
    num_steps: int,
) -> None:
    monkeypatch.setattr("lamas_local.engines.FakeEngine", InterruptingEngine)
    monkeypatch.setattr(InterruptingEngine, "at", at)
    run, arguments = tmp_path / "run", write_config(tmp_path / "run", **RUN)
    assert main(arguments) == 130
    assert "Ctrl-C again ends at once" in capsys.readouterr().err
    assert load_checkpoint(run / "checkpoints").step == num_steps
    assert len((run / "metrics.jsonl").read_text().splitlines()) == num_steps
    assert not (run / "summary.json").exists()
    evaluated = [trace for trace in read_traces(run / "traces.jsonl") if trace.policy != "train"]
    assert len(evaluated) == (0 if num_steps < 6 else 3)
    assert main([*arguments, "--resume"]) == 0
    assert_same_run(run, whole)


# Killed


class Killed(BaseException):
    """Stands for a SIGKILL at a chosen moment: nothing catches it."""


@pytest.mark.parametrize(
    ("module", "writer", "call"),
    [
        (run_folder, "append_lines", 1),  # the first step's traces: no checkpoint yet
        (run_folder, "append_lines", 9),  # the fifth step's traces, after a checkpoint
        (run_folder, "append_lines", 10),  # its metrics
        (checkpoint, "write_synced", 1),  # the first checkpoint
        (checkpoint, "write_synced", 4),  # the second's facts, after its tensors
        (run_folder, "append_lines", 14),  # an evaluation's second rollout
    ],
)
def test_killed_in_the_middle_of_a_write_it_goes_on_as_if_it_had_not_been(
    tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch, module: Any, writer: str, call: int
) -> None:
    write, calls = getattr(module, writer), iter(range(1, 1000))

    def half(path: Path, content: Any) -> None:
        if next(calls) < call:
            return write(path, content)  # type: ignore[no-any-return]
        data = content if isinstance(content, bytes) else "\n".join(content).encode()
        with path.open("ab") as file:
            file.write(data[: len(data) // 2])
        raise Killed

    run, arguments = tmp_path / "run", write_config(tmp_path / "run", **RUN)
    with monkeypatch.context() as patch:
        patch.setattr(module, writer, half)
        with pytest.raises(Killed):
            main(arguments)
    assert main([*arguments, "--resume"]) == 0
    assert_same_run(run, whole)


def test_sigkill_at_a_random_moment_and_then_resume(tmp_path: Path) -> None:
    run, arguments = tmp_path / "run", write_config(tmp_path / "run", **LONG_RUN)
    process = subprocess.Popen(
        [sys.executable, "-m", "lamas_local.cli", *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 60
        while not (run / "metrics.jsonl").exists() and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(random.uniform(0.0, 0.8))
    finally:
        process.kill()
        process.wait()
    assert main([*arguments, "--resume"]) == 0
    assert_same_run(run, trained(tmp_path / "whole", **LONG_RUN))


# Out of disk


@contextmanager
def largest_file(num_bytes: int) -> Iterator[None]:
    """A larger file fails to grow, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_one_sentence_and_keeps_what_was_saved(
    tmp_path: Path, whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = trained(tmp_path / "run", trainer={**RUN["trainer"], "num_steps": 2})
    saved = load_checkpoint(run / "checkpoints")
    arguments = [*write_config(run, **RUN), "--resume"]
    capsys.readouterr()
    with largest_file(400_000):
        assert main(arguments) == 2
    *_, sentence = capsys.readouterr().err.splitlines()
    assert sentence.startswith("lamas-local: ")
    assert "too large" in sentence
    assert "what was saved before is intact" in sentence
    after = load_checkpoint(run / "checkpoints")
    assert after.step == saved.step == 2
    assert all(torch.equal(after.controller[name], value) for name, value in saved.controller.items())
    assert main(arguments) == 0
    assert torch.equal(
        load_checkpoint(run / "checkpoints").controller["log_scales"],
        load_checkpoint(whole / "checkpoints").controller["log_scales"],
    )


# A failing engine


class FailingEngine(FakeEngine):
    error: Exception = EngineDeadError("the core process died")

    async def generate(self, request: GenerationRequest) -> Completion:
        raise self.error


def test_a_dead_engine_is_one_sentence_and_status_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("lamas_local.engines.FakeEngine", FailingEngine)
    assert main(write_config(tmp_path / "run")) == 1
    *_, sentence = capsys.readouterr().err.splitlines()
    assert sentence == "lamas-local: the engine stopped: the core process died"


def test_a_batch_that_fails_is_one_sentence_and_status_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # A prompt budget of 2 words: even the instruction is too long, so every request fails.
    assert main(write_config(tmp_path / "run", engine={"max_model_len": 50})) == 1
    *_, sentence = capsys.readouterr().err.splitlines()
    assert sentence.startswith("lamas-local: 4 of 4 rollouts failed, ")
    assert "RequestRefusedError: the prompt has" in sentence


# Before anything is replaced


@pytest.mark.parametrize(
    "changes",
    [
        {"operators": ["Generat"]},
        {"operators": ["ScEnsemble", "EarlyStop"]},
        {"evaluation": {"policies": ["trainde"]}},
        {"sampling": {"max_tokens": 5000}},
    ],
)
def test_a_bad_setting_neither_makes_nor_replaces_a_run(tmp_path: Path, changes: dict[str, Any]) -> None:
    new = tmp_path / "new"
    assert main(write_config(new, **changes)) == 2
    assert not new.exists()
    old = tmp_path / "old"
    RunFolder(old).create(make_config(old), resume=False, restart=False)
    RunFolder(old).append_metrics({"step": 1})
    assert main([*write_config(old, **changes), "--restart"]) == 2
    assert (old / "metrics.jsonl").exists()


def test_restart_replaces_a_run(tmp_path: Path) -> None:
    run, arguments = tmp_path / "run", write_config(tmp_path / "run", trainer={"num_steps": 1})
    assert main(arguments) == 0
    assert main([*arguments, "--restart", "--trainer.num-steps", "2"]) == 0
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 2
    assert len(read_traces(run / "traces.jsonl")) == 2 * 4 + 4


# Evaluating again


def test_evaluating_again_replaces_the_evaluation_and_keeps_the_training(tmp_path: Path) -> None:
    run = trained(tmp_path / "run")
    assert main(["evaluate", "--run", str(run), "--evaluation.policies", '["initial", "fixed:GenerateCoT"]']) == 0
    traces = read_traces(run / "traces.jsonl")
    assert sum(trace.policy == "train" for trace in traces) == 3 * 4
    assert {trace.policy for trace in traces} == {"train", "initial", "fixed:GenerateCoT"}
    assert json.loads((run / "summary.json").read_text())["policies"].keys() == {"initial", "fixed:GenerateCoT"}


@pytest.mark.parametrize(
    ("option", "value", "part"),
    [
        ("--controller.hidden-size", "8", "controller.hidden_size is 8"),
        ("--operators", '["Generate"]', "operators is ['Generate']"),
        ("--sampling.max-tokens", "5000", "sampling.max_tokens is 5000"),
        ("--evaluation.policies", '["maas"]', "no checkpoint"),
    ],
)
def test_an_evaluation_that_cannot_be_leaves_the_old_one(
    tmp_path: Path, whole: Path, capsys: pytest.CaptureFixture[str], option: str, value: str, part: str
) -> None:
    before = (whole / "traces.jsonl").read_bytes()
    capsys.readouterr()
    assert main(["evaluate", "--run", str(whole), option, value]) == 2
    assert part in capsys.readouterr().err
    assert (whole / "traces.jsonl").read_bytes() == before


def test_baselines_are_trained_with_their_own_objectives_beside_the_run(tmp_path: Path) -> None:
    policies = ["trained", "maas", "maas-parallel", "lamas", "initial-sequential"]
    run = trained(tmp_path / "run", evaluation={"policies": policies, "num_queries": 1})
    assert RunFolder(run).baseline("maas").load_config().objective.credit == "none"
    lamas = RunFolder(run).baseline("lamas").load_config()
    assert (lamas.objective.credit, lamas.latency.signal) == ("critical_path", "tokens")
    assert (
        load_checkpoint(run / "maas" / "checkpoints").step == load_checkpoint(run / "lamas" / "checkpoints").step == 3
    )
    modes = {trace.policy: trace.mode for trace in read_traces(run / "traces.jsonl")}
    assert modes == {
        "train": "layered", "trained": "layered", "maas": "sequential", "maas-parallel": "layered", "lamas": "layered",
        "initial-sequential": "sequential",
    }  # fmt: skip


def test_a_dataflow_run_from_training_to_report(tmp_path: Path) -> None:
    run = trained(
        tmp_path / "run",
        execution={"mode": "dataflow"},
        objective={"credit": "to_go"},
        latency={"signal": "measured"},
        controller={"threshold": 0.9},
        evaluation={"policies": ["trained", "initial"], "num_queries": 2},
    )
    traces = read_traces(run / "traces.jsonl")
    assert {trace.policy: trace.mode for trace in traces} == {
        "train": "dataflow", "trained": "dataflow", "initial": "layered",
    }  # fmt: skip
    assert "dataflow" in (run / "report.html").read_text()
    for trace in traces:
        path = critical_path(trace, "seconds")
        assert sum(path.stages) == pytest.approx(trace.ended - trace.started, rel=0.05, abs=1e-3)


BUDGET = {**RUN, "objective": {"kind": "latency_budget", "latency_budget_s": 0.5, "credit": "to_go"}}


def test_a_budget_is_judged_where_the_run_ends(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = trained(tmp_path / "run", **BUDGET)
    constraint = json.loads((run / "summary.json").read_text())["constraint"]
    assert (constraint["target"], constraint["statistic"]) == (0.5, "mean")
    assert constraint["is_kept"] == (constraint["value"] <= 0.5)
    assert constraint["sentence"] in " ".join(capsys.readouterr().out.split())
    assert constraint["sentence"] in html.unescape((run / "report.html").read_text())
    assert "mean seconds at most 0.5" in (run / "report.html").read_text()


def test_a_measured_floor_is_judged_by_what_the_run_was_trained_for(tmp_path: Path) -> None:
    floor = {"kind": "score_floor", "score_floor_share": 0.9, "score_floor_queries": 4}
    task = {"kind": "python", "target": f"{__name__}:TwoRows"}
    run = trained(tmp_path / "run", **{**RUN, "objective": floor, "task": task})
    assert json.loads((run / "summary.json").read_text())["constraint"]["target"] == pytest.approx(0.9)
    assert main(["evaluate", "--run", str(run), "--evaluation.num-queries", "1"]) == 0
    constraint = json.loads((run / "summary.json").read_text())["constraint"]
    assert (constraint["target"], constraint["is_kept"]) == (pytest.approx(0.9), True)


def test_a_floors_baseline_that_cannot_run_is_refused_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    floor = {"kind": "score_floor", "score_floor_share": 0.9, "score_floor_baseline": "fixed:Generat"}
    assert main(write_config(tmp_path / "run", objective=floor)) == 2
    assert "objective.score_floor_baseline: 'fixed:Generat' names an unknown operator" in capsys.readouterr().err


class TwoRows(OneProblemTask):
    """A finite split, by import path."""

    def __init__(self) -> None:
        super().__init__(size=2)


def test_a_training_split_that_starts_over_is_resumed_to_the_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lamas_local.engines.FakeEngine", InterruptingEngine)
    changes = {**RUN, "task": {"kind": "python", "target": f"{__name__}:TwoRows"}}
    whole = trained(tmp_path / "whole", **changes)
    monkeypatch.setattr(InterruptingEngine, "at", "train-3/")
    arguments = write_config(tmp_path / "run", **changes)
    assert main(arguments) == 130
    assert main([*arguments, "--resume"]) == 0
    assert_same_run(tmp_path / "run", whole)
    seeds = [
        span.seed
        for trace in read_traces(whole / "traces.jsonl")
        if trace.policy == "train"
        for span in requests(trace)
    ]
    assert len(set(seeds)) == len(seeds)


# Which settings may change


@pytest.mark.parametrize(
    "changes",
    [
        {"trainer": {"num_steps": 99, "checkpoint_every": 7, "keep_checkpoints": 1}},
        {"evaluation": {"policies": ["initial"], "num_queries": 7}},
        {"admission": {"requests_per_s": 3.0}},
        {"run_dir": "moved/elsewhere"},
    ],
)
def test_what_a_resumed_run_may_change(changes: dict[str, Any]) -> None:
    check_same_run(make_config(), make_config(**{"run_dir": "runs/test", **changes}))


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"seed": 1}, "seed is 1, but runs/test was started with 0"),
        ({"trainer": {"learning_rate": 0.5}}, "trainer.learning_rate is 0.5"),
        ({"operators": ["Generate"]}, "operators is ['Generate']"),
        ({"latency": {"signal": "measured"}}, "latency.signal is 'measured'"),
        ({"engine": {"kind": "vllm"}}, "engine."),
    ],
)
def test_what_it_may_not(changes: dict[str, Any], name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_same_run(make_config(), make_config(**changes))
    assert f"--resume: {name}" in str(caught.value)


def test_a_setting_changed_in_the_environment_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = write_config(tmp_path / "run")
    RunFolder(tmp_path / "run").create(make_config(tmp_path / "run"), resume=False, restart=False)
    monkeypatch.setenv("LAMAS_SEED", "7")
    assert main([*arguments, "--resume"]) == 2
