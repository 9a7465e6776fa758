"""The public examples of a docstring, in the notations that HumanEval uses."""

from __future__ import annotations

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamas_local.tasks.docstring_examples import docstring_examples
from lamas_local.tasks.rows import read_file
from tests.lamas_local.tasks.answer_programs import canonical_programs
from tests.lamas_local.tasks.benchmark_data import benchmark_file

WRONG_IN_THE_DATA = {
    ("median", "median([-10, 4, 6, 1000, 10, 20])"),  # 8.0
    ("sort_array", "sort_array([1, 5, 2, 3, 4])"),  # [1, 2, 4, 3, 5]
    ("sort_array", "sort_array([-2, -3, -4, -5, -6])"),  # [-4, -2, -6, -5, -3]
    ("bf", "bf('Earth', 'Mercury')"),  # ("Venus",)
}
"""Examples of the published docstrings that the published solutions contradict."""


def examples(docstring: str, parameters: str = "a") -> list[tuple[str, str]]:
    return list(docstring_examples(f'def f({parameters}):\n    """ Does it.\n{docstring}\n    """\n', "f"))


@pytest.mark.parametrize(
    ("docstring", "pairs"),
    [
        ("    >>> f(1)\n    2", [("f(1)", "2")]),
        ("    >>> f(1)\n    2\n    >>> f(2)\n    3", [("f(1)", "2"), ("f(2)", "3")]),
        ("    >>> f(1) == 2", [("f(1)", "2")]),
        ("    >>> f([])\n\n    >>> f(['a'])\n    'a'", [("f([])", "None"), ("f(['a'])", "'a'")]),
        ("    >>> f(1)\n    ['a',\n     'b']", [("f(1)", "['a', 'b']")]),
        ("    >>> round(f(1), 2) # f(x) = 1 + 2x\n    -0.5", [("round(f(1), 2)", "-0.5")]),
        ("    >>> f('a\\nb')\n    'ab'", [("f('a\\nb')", "'ab'")]),
        ("    >>> f(1) [0, 1]", []),
        ("    >>> f(1)\n    2\n    f(3) should return 4", [("f(1)", "2")]),
        ("    f(2) == 4", [("f(2)", "4")]),
        ("    f(2)  ➞ 4 \n    # since it is", [("f(2)", "4")]),
        ("    f(2) => 4", [("f(2)", "4")]),
        ("    f(2) ==>4", [("f(2)", "4")]),
        ("    f(2) ==> true", [("f(2)", "True")]),
        ("    f(2) -> 4", [("f(2)", "4")]),
        ("    * f(2) -> [4, 1]", [("f(2)", "[4, 1]")]),
        ("    f(2) = 4", [("f(2)", "4")]),
        ('    f(2)   # returns "db"', [("f(2)", "'db'")]),
        ("    f(2) # => 'No' (because it is even)", [("f(2)", "'No'")]),
        ("    f(2) returns 4", [("f(2)", "4")]),
        ("    f(2) returns [1, 5] # The sequence is [5, 1], so only those.", [("f(2)", "[1, 5]")]),
        ("    f(2) should return 4.", [("f(2)", "4")]),
        ("    for f(2) == 4", [("f(2)", "4")]),
        ("    f(2) -> 10 - 5 - 1 = 4", [("f(2)", "4")]),
        ("    f([\n      [1],\n      [2]\n    ]) == [(0, 0)]", [("f([[1], [2]])", "[(0, 0)]")]),
        ("    f(['()(', ')']) == 'Yes'", [("f(['()(', ')'])", "'Yes'")]),
        ("    For a = 1 the output should be 2", [("f(1)", "2")]),
        ("    For a = 1, the sum will be 3 the output should be \"11\".", [("f(1)", "'11'")]),
        ("    Example 1:\n        Input: [4,2]\n        Output: [2, 1]\n        Why: it is", [("f([4, 2])", "[2, 1]")]),
        ("    f(1) = 3\n    f(n) = f(n-1), else.\n    Examples:\n    f(3) = [1, 3]", [("f(3)", "[1, 3]")]),
        ("    f(b) == 1", []),
        ("    f(open('x')) == 1", []),
        ("    f(1) == g(1)", []),
        ('    f(1) == ""a"', []),
        ("    g(1) == 2", []),
        ("    Nothing to see.", []),
    ],
)  # fmt: skip
def test_notations(docstring: str, pairs: list[tuple[str, str]]) -> None:
    assert examples(docstring) == pairs


@pytest.mark.parametrize(
    ("docstring", "pairs"),
    [
        ('    For a = "x", b = "y", the result should be (\'z\', True)', [("f('x', 'y')", "('z', True)")]),
        ("    Input: a = [1, 2], b = 3\n    Output: 4 # sum", [("f([1, 2], 3)", "4")]),
        ("    Input: b = 3, a = [1, 2]\n    Output: 4", [("f([1, 2], 3)", "4")]),
        ("    Input:\n        grid : [[1], [2]]\n        size : 3\n    Output: 4", [("f([[1], [2]], 3)", "4")]),
        ("    Input: a = 1\n    Output: 2", []),
    ],
)
def test_notations_with_two_parameters(docstring: str, pairs: list[tuple[str, str]]) -> None:
    assert examples(docstring, "a, b") == pairs


@given(st.text(max_size=200), st.sampled_from(["f(1) == {}", ">>> f({})\n2", "Input: {}\nOutput: 1", "f({}) -> 1"]))
def test_only_calls_with_literals_survive(text: str, notation: str) -> None:
    for call, expected in docstring_examples(f"def f(a):\n    '''{notation.format(text)}'''\n", "f"):
        names = {node.id for node in ast.walk(ast.parse(call)) if isinstance(node, ast.Name)}
        assert "f" in names
        assert names <= {"f", "round", "sorted", "list", "tuple", "set", "len", "abs"}
        assert not any(isinstance(node, (ast.Name, ast.Call)) for node in ast.walk(ast.parse(expected)))


def test_published_docstrings() -> None:
    """The published solutions give what the examples say, but for four examples that are wrong in the data."""
    num_with_examples, wrong = 0, set()
    for entry_point, prompt, program in canonical_programs(read_file(benchmark_file("humaneval.jsonl.gz"))):
        found = docstring_examples(prompt, entry_point)
        num_with_examples += bool(found)
        wrong |= {(entry_point, call) for call, expected in found if eval(call, dict(program)) != eval(expected)}
    assert num_with_examples == 155
    assert wrong == WRONG_IN_THE_DATA
