"""From what a model wrote to a program that defines the function."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamas_local.tasks.answer_code import answer_code, any_code

PROBLEM = '''from typing import List
import math

LIMIT = 3


def helper(x: int) -> int:
    """ One more. """
    return x + 1


def f(xs: List[int]) -> int:
    """ Sum of the list, each one more.
    >>> f([1])
    2
    """
'''
RIGHT = "def f(xs):\n    return sum(helper(x) for x in xs)\n"
WRONG = "def f(xs):\n    return 0\n"


def run(solution: str) -> object:
    """`f([1, 2])` of the program found; None where there is none."""
    code = answer_code(solution, PROBLEM, "f")
    if code is None:
        return None
    namespace: dict[str, object] = {}
    exec(code, namespace)
    function = namespace["f"]
    assert callable(function)
    return function([1, 2])


@pytest.mark.parametrize(
    "solution",
    [
        f"```python\n{RIGHT}```",
        f"```python\n{RIGHT}",
        f"```\n{RIGHT}```",
        f"```py\n{RIGHT}\n```\nIt adds them up.",
        f"  ```Python\n{RIGHT}  ```",
        f"Sure!\n\n```python\n{RIGHT}```\n\nTry it:\n\n```python\nprint(f([1, 2]))\n```",
        f"First try:\n```python\n{WRONG}```\nBetter:\n```python\n{RIGHT}```",
        f"```python\n{RIGHT}```\nRun it with\n```\npip install nothing\n```",
        f"```python\n{PROBLEM}    return sum(helper(x) for x in xs)\n```",
        f"1. Indented:\n   ```python\n   {RIGHT.replace(chr(10), chr(10) + '   ').rstrip(' ')}   ```",
        RIGHT,
        f"Here is the function.\n\n{RIGHT}\nThis adds them up, doesn't it?\nYes.",
        f"{RIGHT}\n# comment\n\nThat's all.",
        "    return sum(helper(x) for x in xs)\n",
        "return sum(helper(x) for x in xs)",
        "total = 0\n    for x in xs:\n        total += helper(x)\n    return total\n",
        "```python\n    total = 0\n    for x in xs:\n        total += helper(x)\n    return total\n```",
        "```python\nreturn sum(helper(x) for x in xs)\n```",
        f"```python\nfrom __future__ import annotations\n{RIGHT}```",
        "```python\nimport math\n\ndef helper(x):\n    return math.floor(x) + 1\n\n" + RIGHT + "```",
        "```python\nasync_ = 1\n" + WRONG + RIGHT + "```",
    ],
)
def test_programs_that_are_found(solution: str) -> None:
    assert run(solution) == 5


@pytest.mark.parametrize(
    "solution",
    [
        "",
        "I cannot write this function.",
        "```python\ndef g(xs):\n    return 5\n```",
        "```python\ndef f(xs:\n    return 5\n```",
        "class Solution:\n    def f(self, xs):\n        return 5\n",
        "def f(xs):\n    return '\x00'",
    ],
)
def test_no_program_that_gives_the_answer(solution: str) -> None:
    assert run(solution) != 5


def test_equal_programs_are_equal_texts() -> None:
    spaced = '```python\ndef f( xs ):   # sum\n\n    """Other words."""\n    return sum( xs )\n```'
    assert any_code(spaced) == any_code("def f(xs):\n    return sum(xs)") == "def f(xs):\n    return sum(xs)"
    assert any_code("no code at all") is None
    assert any_code("x = 1") is None
    assert any_code('def f():\n    """Only this."""') == "def f():\n    pass"


def test_what_the_problem_defines_is_not_defined_twice() -> None:
    code = answer_code(f"```python\n{PROBLEM}    return 5\n```", PROBLEM, "f")
    assert code is not None
    assert code.count("def helper") == code.count("import math") == 1


@given(st.text(max_size=200))
def test_no_text_breaks_it(text: str) -> None:
    answer_code(text, PROBLEM, "f")
    answer_code(f"```python\n{text}\n```", PROBLEM, "f")
    any_code(text)
