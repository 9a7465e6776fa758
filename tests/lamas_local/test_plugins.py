"""The user's own tasks and operators, by import path and by entry point, and what is said of those that are none."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from lamas_local.config import ConfigError, PythonTaskConfig
from lamas_local.operators import load_operators
from lamas_local.plugins import load_plugin_operator, load_plugin_task
from lamas_local.tasks import load_task

SOURCE = """
from lamas_local.operators import Update
from lamas_local.tasks import Example, Query, TaskPrompts

class Trivia:
    prompts = TaskPrompts("One word.")
    def __init__(self, level=1):
        self.level = level
    def num_examples(self, split): return 3
    def example(self, split, index): return Example(Query("q", "?"), "a")
    def extract_answer(self, solution): return solution
    async def score(self, example, solution): return 1.0
    async def close(self): pass

class Unfinished:
    prompts = TaskPrompts("One word.")

class Debate:
    name, description, reads = "Debate", "Argues.", "problem"
    async def run(self, call): return Update(added=())

class Odd(Debate):
    name = "De+bate"

class Reader(Debate):
    reads = "everything"

class Fewest(Debate):
    max_added = -1

class Group:
    Inner = Debate

NUMBER = 3
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory holds a module and a package; nothing else says where they are."""
    (tmp_path / "my_own.py").write_text(SOURCE)
    (tmp_path / "broken.py").write_text("def f(:\n")
    (tmp_path / "needy.py").write_text("import no_such_dependency\n")
    (tmp_path / "my_pkg").mkdir()
    (tmp_path / "my_pkg" / "ops.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    for name in ("my_own", "my_pkg", "my_pkg.ops"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    importlib.invalidate_caches()
    return tmp_path


def test_a_task_by_import_path_gets_its_arguments() -> None:
    task = load_task(PythonTaskConfig(target="my_own:Trivia", args={"level": 4}), 0)
    assert task.num_examples("test") == 3
    assert vars(task) == {"level": 4}


@pytest.mark.parametrize("target", ["my_own:Debate", "my_pkg.ops:Debate", "my_own:Group.Inner"])
def test_an_operator_by_import_path(target: str) -> None:
    assert [operator.name for operator in load_operators(["Generate", target])] == ["Generate", "Debate"]


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("no_such:Debate", "operators: 'no_such:Debate' cannot be imported: No module named 'no_such'"),
        ("my_own:Debat", "'my_own:Debat': my_own has no 'Debat' (did you mean 'Debate'?)"),
        ("my_own:Group.Outer", "my_own has no 'Group.Outer'"),
        ("broken:X", "'broken:X' cannot be imported: "),
        ("needy:X", "'needy:X' cannot be imported: No module named 'no_such_dependency'"),
        (":Debate", "':Debate' cannot be imported: "),
        ("my_own:", "my_own has no ''"),
        ("my_own:NUMBER", "'my_own:NUMBER' is 3, which cannot be called"),
        ("my_own:Trivia", "'my_own:Trivia' is no Operator: it lacks name, description, reads, run"),
        ("my_own:Odd", "'my_own:Odd' has the name 'De+bate'; letters, digits and _ are allowed"),
        ("my_own:Reader", "reads 'everything'; allowed: problem, solution, solutions, solution_if_any"),
        ("my_own:Fewest", "has the max_added -1; a whole number from 0 is allowed"),
    ],
)
def test_what_is_no_operator(target: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_plugin_operator(target, "operators")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("target", "args", "message"),
    [
        ("my_own:Unfinished", {}, "is no Task: it lacks num_examples, example, extract_answer, score, close"),
        ("my_own:Trivia", {"size": 1}, "cannot be made with the arguments {'size': 1}: "),
        ("Trivia", {}, "task.target: 'Trivia' is neither an import path such as 'my_pkg.my_module:MyClass' nor"),
    ],
)
def test_what_is_no_task(target: str, args: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_plugin_task(target, args)
    assert message in str(caught.value)


@pytest.fixture
def _distribution(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed distribution that offers a task, an operator and one that is broken."""
    info = folder / "my_dist-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-dist\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[lamas_local.tasks]\ntrivia = my_own:Trivia\n"
        "[lamas_local.operators]\nDebate = my_own:Debate\nGone = my_own:Missing\n"
    )
    monkeypatch.syspath_prepend(str(folder))


@pytest.mark.usefixtures("_distribution")
def test_entry_points_by_bare_name() -> None:
    assert [operator.name for operator in load_operators(["Debate", "Generate"])] == ["Debate", "Generate"]
    assert vars(load_task(PythonTaskConfig(target="trivia", args={"level": 2}), 0)) == {"level": 2}


@pytest.mark.usefixtures("_distribution")
def test_an_entry_point_that_is_unknown_or_broken() -> None:
    with pytest.raises(ConfigError, match=r"'Debat' is unknown \(did you mean 'Debate'\?\); known: Generate, .*Debate"):
        load_operators(["Debat"])
    with pytest.raises(ConfigError, match=r"operators: the entry point 'Gone' \(my_own:Missing\) cannot be imported"):
        load_operators(["Gone"])
    with pytest.raises(ConfigError, match=r"'trivi' is neither .* \(did you mean 'trivia'\?\); entry points.*: trivia"):
        load_plugin_task("trivi", {})
