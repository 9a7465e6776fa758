"""HumanEval: Python functions from their docstrings, judged by tests that only the scorer sees (Chen et al. 2021)."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path

from lamas_local.config import ConfigError, SplitPaths
from lamas_local.sandbox import Sandbox
from lamas_local.tasks.answer_code import answer_code, any_code, find_function, parse_code, preamble
from lamas_local.tasks.base import Example, Query, Split, TaskPrompts
from lamas_local.tasks.rows import HubSplit, Row
from lamas_local.tasks.splits import Splits, load_splits

HUB: Mapping[Split, HubSplit] = {"test": HubSplit("openai/openai_humaneval", "test", ("openai_humaneval",))}
PROMPTS = TaskPrompts(
    answer_format="End with one ```python block that holds the complete function with all its imports.",
    direct="Complete the function. Reply with only a ```python block that holds all of it and its imports.",
    # The block's closing fence. Its opening one has the language behind it, or the text's start before it.
    direct_stop=("\n```\n",),
)


class HumanEvalTask(Splits):
    """HumanEval. A solution is right when the function it defines passes the hidden tests: pass@1 of one sample."""

    prompts = PROMPTS

    def __init__(self, path: Path | SplitPaths | None, seed: int, sandbox: Sandbox) -> None:
        """Load it; `sandbox` runs the tests.

        Raises:
            ConfigError: as `load_splits` does.
        """
        super().__init__(load_splits(path, HUB, seed, to_example))
        self._sandbox = sandbox

    def extract_answer(self, solution: str) -> str | None:
        """The code in normal form; None where the solution has no Python that defines a function."""
        return any_code(solution)

    async def score(self, example: Example, solution: str) -> float:
        """1 where every hidden test passes, else 0."""
        query = example.query
        assert query.entry_point is not None
        code = answer_code(solution, query.problem, query.entry_point)
        if code is None:
            return 0.0
        result = await self._sandbox.check(code, query.entry_point, hidden_tests(example))
        return float(result.status == "ok")

    async def close(self) -> None:
        """The sandbox belongs to the session."""


def to_example(row: Row, split: Split) -> Example:
    """A row `{"task_id", "prompt", "entry_point", "test"}`; gold is the test's source, which defines `check`.

    Raises:
        ConfigError: it is not such a row, or its code does not parse.
    """
    prompt, entry_point, test = row.text("prompt"), row.text("entry_point"), row.text("test")
    module = parse_code(prompt)
    if module is None or find_function(module, entry_point) is None:
        raise ConfigError(f"{row.place}: field 'prompt' must be Python that begins the function {entry_point!r}")
    module = parse_code(test)
    if module is None or find_function(module, "check") is None:
        raise ConfigError(f"{row.place}: field 'test' must be Python that defines check(candidate)")
    return Example(Query(row.text("task_id").replace("/", "-"), prompt, entry_point), test)


def hidden_tests(example: Example) -> str:
    """The program that tests a solution: the problem's own imports and helpers, which tests use too, then the tests."""
    query = example.query
    assert query.entry_point is not None
    helpers = ast.unparse(ast.Module(preamble(query.problem, query.entry_point), type_ignores=[]))
    return f"{helpers}\n\n{example.gold}\n\ncheck({query.entry_point})\n"
