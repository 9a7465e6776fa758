"""HumanEval: scored by tests that nobody but the scorer sees."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import pytest

from lamas_local.config import ConfigError, HumanEvalTaskConfig, SandboxConfig
from lamas_local.sandbox import Sandbox
from lamas_local.tasks import Example, Query, load_task
from lamas_local.tasks.docstring_examples import docstring_examples
from lamas_local.tasks.humaneval import HumanEvalTask, to_example
from lamas_local.tasks.rows import Row, read_file
from tests.lamas_local.tasks.benchmark_data import benchmark_file
from tests.lamas_local.tasks.fake_sandbox import FakeSandboxWithoutIsolation

SECRET = "4711"
PROMPT = """import math


def twice(x):
    return 2 * x


def f{n}(x):
    ''' Four times x.
    >>> f{n}(1)
    4
    '''
"""


def row(n: int) -> dict[str, str]:
    return {
        "task_id": f"HumanEval/{n}",
        "prompt": PROMPT.format(n=n),
        "entry_point": f"f{n}",
        "canonical_solution": "    return twice(twice(x))\n",
        "test": f"def check(candidate):\n    assert candidate({SECRET}) == twice(twice({SECRET}))\n",
    }


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row(n)) + "\n" for n in range(10)))
    return path


@pytest.mark.parametrize(
    ("solution", "score"),
    [
        ("    return 4 * x\n", 1),
        ("```python\ndef f{n}(x):\n    return twice(twice(x))\n```", 1),
        ("```python\nimport math\n\ndef f{n}(x):\n    return math.floor(4 * x)", 1),
        ("```python\ndef f{n}(x):\n    return 4\n```", 0),
        ("    pass\n", 0),
        ("```python\ndef g(x):\n    return 4 * x\n```", 0),
        ("I do not know.", 0),
        ("", 0),
        ("```python\ndef f{n}(x):\n    return 4 * x\nraise ValueError\n```", 0),
    ],
)
async def test_solutions(file: Path, solution: str, score: float) -> None:
    task = HumanEvalTask(file, 0, FakeSandboxWithoutIsolation())
    for index in range(3):
        example = task.example("test", index)
        number = example.query.id.removeprefix("HumanEval-")
        assert await task.score(example, solution.replace("{n}", number)) == score


async def test_what_is_no_program_never_reaches_the_sandbox(file: Path) -> None:
    sandbox = FakeSandboxWithoutIsolation()
    task = HumanEvalTask(file, 0, sandbox)
    assert await task.score(task.example("test", 0), "def f(:") == 0
    assert sandbox.checked == []


async def test_the_tests_are_never_in_the_untrusted_code(file: Path) -> None:
    sandbox = FakeSandboxWithoutIsolation()
    task = HumanEvalTask(file, 0, sandbox)
    await task.score(task.example("test", 0), "    return 4 * x\n")
    [(code, entry_point, tests)] = sandbox.checked
    assert SECRET not in code
    assert SECRET in tests
    assert f"def {entry_point}(" not in tests  # the problem's empty one must not stand for the solution
    assert tests.rstrip().endswith(f"check({entry_point})")


def test_a_query_carries_nothing_that_is_hidden(file: Path) -> None:
    task = HumanEvalTask(file, 0, FakeSandboxWithoutIsolation())
    for example in (task.example(split, index) for split in ("train", "test") for index in range(10)):
        assert SECRET in example.gold
        assert SECRET not in repr(example.query)
        assert "canonical" not in repr(example)
        assert "twice(twice(x))" not in repr(example)


def test_the_published_rows_carry_nothing_that_is_hidden() -> None:
    """No assertion of the tests and no line of the solution is in a query that is not in its prompt already; and what
    may run public examples takes the prompt alone."""
    assert list(inspect.signature(docstring_examples).parameters) == ["problem", "entry_point"]
    for published in read_file(benchmark_file("humaneval.jsonl.gz")):
        example = to_example(published, "test")
        assert example.query == Query(
            published.text("task_id").replace("/", "-"), published.text("prompt"), published.text("entry_point")
        )
        assert example.gold == published.text("test")


def test_one_file_is_cut_as_maas_does(file: Path) -> None:
    task = load_task(HumanEvalTaskConfig(path=benchmark_file("humaneval.jsonl.gz")), 0, FakeSandboxWithoutIsolation())
    assert (task.num_examples("train"), task.num_examples("test")) == (33, 131)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("prompt", "def g(x):\n    ''' No. '''\n", "field 'prompt' must be Python that begins the function 'f0'"),
        ("prompt", "def f0(x:\n", "field 'prompt' must be Python"),
        ("test", "assert f0(1) == 4", "field 'test' must be Python that defines check(candidate)"),
        ("test", None, "field 'test' must be text"),
        ("task_id", "", "field 'task_id' must be text"),
    ],
)
def test_malformed_rows(field: str, value: object, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        to_example(Row({**row(0), field: value}, "rows.jsonl, line 7", 7), "test")
    assert "rows.jsonl, line 7" in str(error.value)
    assert said in str(error.value)


async def test_the_votes_form_of_an_answer(file: Path) -> None:
    task = HumanEvalTask(file, 0, FakeSandboxWithoutIsolation())
    assert task.extract_answer("```python\ndef f(x): return x  # it\n```") == "def f(x):\n    return x"
    assert task.extract_answer("It is x.") is None


def test_the_direct_answers_block_is_complete_where_it_stops(file: Path) -> None:
    """A stop string is not part of the text: what stands before it must still be found."""
    [stop] = HumanEvalTask.prompts.direct_stop
    for text in (
        "```python\ndef f0(x):\n    return 4 * x\n```\nDone.",
        "Sure:\n\n```python\ndef f0(x):\n    return 4 * x\n```\n",
    ):
        assert HumanEvalTask(file, 0, FakeSandboxWithoutIsolation()).extract_answer(text.split(stop)[0]) is not None
        assert "return" in text.split(stop)[0]


async def test_in_the_real_sandbox(file: Path) -> None:
    sandbox = Sandbox(SandboxConfig(wall_s=20, cpu_s=20))
    example = Example(Query("q", PROMPT.format(n=0), "f0"), row(0)["test"])
    task = HumanEvalTask(file, 0, sandbox)
    assert await task.score(example, "    return twice(twice(x))\n") == 1
    assert await task.score(example, "    return x\n") == 0
    assert await task.score(example, "    import os\n    os._exit(0)\n") == 0
