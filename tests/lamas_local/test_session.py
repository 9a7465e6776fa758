"""What is checked before an engine starts, and what is ended with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lamas_local.config import Config, ConfigError, SandboxConfig
from lamas_local.embedding import Embedder
from lamas_local.session import Session
from serving.fake_engine import FakeEngine
from serving.types import EngineStartError
from tests.lamas_local.builders import FakeSandbox, OneProblemTask, make_config


class AnnouncedSandbox(FakeSandbox):
    def __init__(self, config: SandboxConfig) -> None:
        super().__init__()
        self.config = config


async def refuse(config: Config, task: object) -> None:
    raise AssertionError("an engine was started")


@pytest.fixture
def task(monkeypatch: pytest.MonkeyPatch) -> OneProblemTask:
    """What `load_task` gives; it keeps the sandbox it was given."""
    task = OneProblemTask(size=5)

    def load_task(config: object, seed: int, sandbox: object) -> OneProblemTask:
        vars(task)["sandbox"] = sandbox
        return task

    monkeypatch.setattr("lamas_local.session.load_task", load_task)
    monkeypatch.setattr("lamas_local.session.Sandbox", AnnouncedSandbox)
    return task


@pytest.mark.parametrize(
    "changes",
    [
        {"operators": ["Generate", "Programmer"]},
        {"finaliser": ["Test"]},
        {"evaluation": {"policies": ["fixed:Programmer"]}},
        {"task": {"kind": "humaneval"}},
    ],
)
async def test_what_runs_code_gets_a_sandbox_and_one_line_says_which(
    task: OneProblemTask, capsys: pytest.CaptureFixture[str], changes: dict[str, Any]
) -> None:
    session = await Session.open(make_config(sandbox={"wall_s": 2.5}, **changes))
    sandbox = session.executor.sandbox
    assert isinstance(sandbox, AnnouncedSandbox)
    assert vars(task)["sandbox"] is sandbox
    assert sandbox.config.wall_s == 2.5
    assert capsys.readouterr().err == "sandbox: model-written code runs under fake\n"
    await session.close()


async def test_where_nothing_runs_code_there_is_none(task: OneProblemTask, capsys: pytest.CaptureFixture[str]) -> None:
    session = await Session.open(make_config())
    assert session.executor.sandbox is None
    assert capsys.readouterr().err == ""
    await session.close()
    assert task.is_closed


async def test_more_test_queries_than_there_are_is_an_error_before_an_engine_starts(
    task: OneProblemTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lamas_local.session.start_engine", refuse)
    message = "evaluation.num_queries is 6, but the test split of task.kind 'arithmetic' has 5 examples"
    with pytest.raises(ConfigError, match=message):
        await Session.open(make_config(evaluation={"num_queries": 6}))
    assert task.is_closed


async def test_an_empty_training_split_is_an_error(task: OneProblemTask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task, "size", 0)
    with pytest.raises(ConfigError, match=r"the training split of task\.kind 'arithmetic' has no examples"):
        await Session.open(make_config())


async def test_as_many_as_there_are_may_be_asked(task: OneProblemTask) -> None:
    session = await Session.open(make_config(evaluation={"num_queries": 5}))
    await session.close()


@pytest.mark.parametrize(
    "changes",
    [
        {"evaluation": {"policies": ["trainde"]}},
        {"evaluation": {"policies": ["fixed:Generat"]}},
        {"finaliser": ["Tset"]},
        {"operators": ["ScEnsemble"]},
        {"controller": {"encoder": "all-minilm"}},
    ],
)
async def test_bad_names_are_errors_before_an_engine_starts(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    monkeypatch.setattr("lamas_local.session.start_engine", refuse)
    with pytest.raises((ConfigError, EngineStartError)):
        await Session.open(make_config(**changes))


async def test_a_setting_that_only_the_engine_shows_to_be_wrong_ends_the_task_too(task: OneProblemTask) -> None:
    with pytest.raises(ConfigError, match=r"sampling\.max_tokens is 5000"):
        await Session.open(make_config(sampling={"max_tokens": 5000}))
    assert task.is_closed


async def test_the_executor_knows_what_the_configuration_names(task: OneProblemTask, tmp_path: Path) -> None:
    session = await Session.open(make_config(operators=["Generate"], finaliser=["Test", "Programmer"]))
    assert [operator.name for operator in session.operators] == ["Generate"]
    assert session.executor.finaliser == ("Test", "Programmer")
    assert {"Generate", "GenerateCoT", "Test", "Programmer"} <= session.executor.operators.keys()
    await session.close()


@pytest.mark.parametrize("abort", [True, False])
async def test_the_executor_is_told_whether_to_abort(task: OneProblemTask, abort: bool) -> None:
    config = make_config(execution={"mode": "dataflow", "abort": abort}, evaluation={"num_queries": 2})
    session = await Session.open(config)
    assert session.executor.abort is abort
    await session.close()


async def test_an_encoder_that_cannot_be_loaded_ends_the_engine_that_started_meanwhile(
    task: OneProblemTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = FakeEngine()
    closed = []

    async def start_engine(config: Config, task: object) -> FakeEngine:
        return engine

    async def close() -> None:
        closed.append(engine)

    def load() -> Embedder:
        raise OSError("weights cannot be read")

    monkeypatch.setattr("lamas_local.session.start_engine", start_engine)
    monkeypatch.setattr("lamas_local.session.find_embedder", lambda config: load)
    monkeypatch.setattr(engine, "close", close)
    with pytest.raises(OSError, match="weights cannot be read"):
        await Session.open(make_config(evaluation={"num_queries": 2}))
    assert closed == [engine]
    assert task.is_closed
