"""The example of a user's own task and operator, on the fake engine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from configs.examples.trivia import QUESTIONS, Debate, Trivia
from lamas_local.cli import main
from lamas_local.executor import Plan
from lamas_local.operators import Update
from lamas_local.trace import read_traces
from tests.lamas_local.builders import ScriptedEngine, executor, operator_of
from tests.lamas_local.operators.call import Call

ROOT = Path(__file__).parents[2]
TASK = Trivia()


def test_the_command_of_the_readme_runs_to_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As shipped but for the engine and the encoder, which are fakes here."""
    settings = yaml.safe_load((ROOT / "configs/examples/trivia.yaml").read_text())
    settings |= {"run_dir": str(tmp_path / "run"), "engine": {"kind": "fake"}}
    settings["controller"]["encoder"] = "fake"
    (tmp_path / "trivia.yaml").write_text(yaml.safe_dump(settings))
    monkeypatch.chdir(ROOT)
    assert main(["train", "--config", str(tmp_path / "trivia.yaml")]) == 0
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert {name: row["num_failed"] for name, row in summary["policies"].items()} == {
        "trained": 0,
        "fixed:Generate": 0,
        "fixed:Debate": 0,
    }
    architectures = [trace.architecture for trace in read_traces(tmp_path / "run" / "traces.jsonl")]
    assert any("Debate" in layer for architecture in architectures for layer in architecture)


def test_the_questions_are_split_without_overlap() -> None:
    train = {TASK.example("train", i).query.problem for i in range(TASK.num_examples("train"))}
    test = {TASK.example("test", i).query.problem for i in range(TASK.num_examples("test"))}
    assert train | test == {question for question, _ in QUESTIONS}
    assert not train & test
    assert TASK.example("test", 0) == TASK.example("test", TASK.num_examples("test"))


@pytest.mark.parametrize(
    ("solution", "answer"),
    [("Answer: Paris.", "paris"), ("It is easy. Answer: **Paris** in France", "paris"), ("Paris", "paris"), ("", None)],
)
async def test_scoring(solution: str, answer: str | None) -> None:
    assert TASK.extract_answer(solution) == answer
    assert await TASK.score(TASK.example("test", 0), solution) == float(answer == "paris")


async def test_a_debate_is_two_requests_at_once_and_a_judge() -> None:
    call = Call("obvious {0}", "doubtful", "B", problem="Who?")
    assert await Debate().run(call) == Update(added=("doubtful",))
    assert [prompt.problem for prompt, _, _ in call.asked] == ["Who?"] * 3
    assert call.asked[2][0].solutions == (("A", "obvious {0}"), ("B", "doubtful"))
    assert call.asked[2][2] == ("A", "B")


async def test_a_debater_left_alone_wins() -> None:
    assert await Debate().run(Call("only")) == Update(added=("only",))


async def test_its_two_requests_are_one_step_of_the_trace() -> None:
    engine = ScriptedEngine(delay_s=lambda request: 0.01)
    runner = executor(engine, TASK)
    runner.operators["Debate"] = Debate()
    trace = await runner.run(Plan(TASK.example("test", 0), (("Debate",),), "layered"))
    assert [len(step) for step in trace.layers[0].operators[0].steps] == [2, 1]
    assert engine.max_in_flight == 2
    assert {operator_of(request) for request in engine.requests} == {"Debate"}
    assert len({request.request_id for request in engine.requests}) == 3
