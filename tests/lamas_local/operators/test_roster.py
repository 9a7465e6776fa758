"""Every operator of a configuration, ours and the user's."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from lamas_local.config import ConfigError
from lamas_local.operators import OPERATORS
from lamas_local.operators.roster import load_roster
from tests.lamas_local.builders import make_config

SOURCE = """
from lamas_local.operators import Update
class Debate:
    name, description, reads = "Debate", "Argues.", "problem"
    async def run(self, call):
        return Update(added=("x",))
class Other(Debate):
    description = "Argues otherwise."
class Generate(Debate):
    name = "Generate"
"""


@pytest.fixture(autouse=True)
def _module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "roster_ops.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "roster_ops", raising=False)


def test_drawn_and_finaliser_in_order_and_ours_besides() -> None:
    config = make_config(operators=["roster_ops:Debate", "Generate"], finaliser=["Test", "Programmer"])
    roster = load_roster(config)
    assert [operator.name for operator in roster.drawn] == ["Debate", "Generate"]
    assert [operator.name for operator in roster.finaliser] == ["Test", "Programmer"]
    assert roster.known.keys() == {*OPERATORS, "Debate"}
    assert all(name == operator.name for name, operator in roster.known.items())
    assert roster.known["Debate"] is roster.drawn[0]


def test_a_users_operator_of_our_name_stands_for_ours() -> None:
    roster = load_roster(make_config(operators=["roster_ops:Generate"]))
    assert roster.known["Generate"].description == "Argues."


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"finaliser": ["Programer"]}, r"finaliser: 'Programer' is unknown \(did you mean 'Programmer'\?\)"),
        ({"finaliser": ["Test", "Test"]}, "finaliser: Test, Test names one of them twice"),
        ({"finaliser": ["EarlyStop"]}, "finaliser: EarlyStop only ends the drawing"),
        ({"operators": ["Generate", "roster_ops:Generate"]}, "operators: .* names one of them twice"),
        (
            {"operators": ["roster_ops:Debate"], "finaliser": ["roster_ops:Other"]},
            "finaliser: 'Debate' is the name of another operator in `operators`",
        ),
    ],
)
def test_what_cannot_be(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_roster(make_config(**{"operators": ["Generate"], **changes}))


def test_the_same_operator_may_be_drawn_and_finalise() -> None:
    changes = ["Generate", "roster_ops:Debate"]
    roster = load_roster(make_config(operators=changes, finaliser=["roster_ops:Debate"]))
    assert [operator.name for operator in roster.finaliser] == ["Debate"]
