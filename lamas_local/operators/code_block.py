"""The program in a model's reply."""

from __future__ import annotations

import re

FENCE = re.compile(r"```[^\n]*\n(.*?)(?:```|\Z)", re.DOTALL)
BEGINNING = re.compile(r"^(?:def |async def |class |import |from \w[\w.]* import|@)", re.MULTILINE)


def code_block(text: str, function: str) -> str:
    """The first fenced block that defines `function`, else the first block; without fences, from the first line of
    code on. A fence that is not closed (the reply was cut) reaches to the end."""
    blocks: list[str] = FENCE.findall(text)
    defining = [block for block in blocks if f"def {function}(" in block]
    if blocks:
        return (defining or blocks)[0].strip("\n")
    beginning = BEGINNING.search(text)
    return text[beginning.start() if beginning else 0 :].strip("\n")
