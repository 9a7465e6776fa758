"""Finding the program in what a model writes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamas_local.operators.code_block import code_block

CODE = "def solve():\n    return '{0}'"


@pytest.mark.parametrize(
    "text",
    [
        CODE,
        f"```python\n{CODE}\n```",
        f"```\n{CODE}\n```",
        f"Here it is:\n\n```py\n{CODE}\n```\nIt returns {{0}}.",
        f"```python\n{CODE}",  # cut by max_tokens
        f"First:\n```python\nprint(1)\n```\nthen\n```python\n{CODE}\n```",
        f"Here is the code:\n{CODE}",
    ],
)
def test_the_program_is_found(text: str) -> None:
    assert code_block(text, "solve") == CODE


@given(st.text(), st.text(), st.sampled_from(["", "python", "py"]))
def test_what_a_fence_holds_is_taken_to_the_letter(before: str, code: str, language: str) -> None:
    before, code = before.replace("`", "'"), code.replace("`", "'")
    assert code_block(f"{before}\n```{language}\n{code}\n```\nDone.", "solve") == code.strip("\n")


def test_imports_belong_to_it() -> None:
    assert code_block(f"Sure.\nfrom math import pi\n{CODE}", "solve") == f"from math import pi\n{CODE}"


def test_the_first_block_where_none_defines_the_function() -> None:
    assert code_block("```\na = 1\n```\n```\nb = 2\n```", "solve") == "a = 1"


@pytest.mark.parametrize("text", ["", "I cannot.", "``` {x} ```"])
def test_a_reply_without_code_is_taken_as_it_is(text: str) -> None:
    assert code_block(text, "solve") == text
