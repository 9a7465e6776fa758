from __future__ import annotations

import pytest

from lamas_local.simulation.occasion import Occasion, occasion_of
from tests.lamas_local.builders import OneProblemTask, ScriptedEngine, run_to_the_end
from tests.lamas_local.builders import run as run_rollout


@pytest.mark.parametrize(
    ("request_id", "occasion"),
    [
        ("train-3/arithmetic-train-7/0/1/Generate/0/2", Occasion("arithmetic-train-7", 0, "Generate")),
        ("fixed:A+B-0/HumanEval/12@3/1/0/GenerateCoT#2/0/0", Occasion("HumanEval/12", 3, "GenerateCoT")),
        ("train-3/mail@home/0/1/Generate/0/2", Occasion("mail@home", 0, "Generate")),
    ],
)
def test_what_stands_in_an_id(request_id: str, occasion: Occasion) -> None:
    assert occasion_of(request_id) == occasion


def test_the_executor_writes_such_ids() -> None:
    engine = ScriptedEngine()
    run_to_the_end(run_rollout(engine, (("Generate", "Generate"),), task=OneProblemTask()))
    assert [occasion_of(request.request_id) for request in engine.requests] == [Occasion("test-0", 0, "Generate")] * 2
