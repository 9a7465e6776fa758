"""The final answer that a mathematical text marks: what is in its box, or what its last sentence claims."""

from __future__ import annotations

import re

_BOX = re.compile(r"\\f?boxed\b|\\fbox\b")
_ANSWER = re.compile(r"\banswer\b[^\S\n]*(?:is\b|:|=|would\s+be\b)\s*:?|####", re.IGNORECASE)
_MATH = re.compile(r"\$\$(.+?)\$\$|\$((?:\\\$|[^$])+)\$|\\\((.+?)\\\)|\\\[(.+?)\\\]", re.DOTALL)
_VALUE = re.compile(r"-?[\d.,/\\()\[\]{}a-zA-Z^*+√π°%-]*\d[\d.,/\\()\[\]{}a-zA-Z^*+√π°%-]*")


def boxed_contents(text: str) -> list[str]:
    """What stands in each `\\boxed{...}`, `\\fbox{...}` or `\\boxed 5` of a text, in order; braces are balanced.

    A box that is never closed holds the rest of its line: the text was cut.
    """
    return [content for box in _BOX.finditer(text) if (content := _content(text, box.end())).strip()]


def _content(text: str, start: int) -> str:
    rest = text[start:].lstrip(" ")
    if not rest.startswith("{"):
        found = re.match(r"[^\s$\\{}]+|\\[a-zA-Z]+(?:\{[^{}]*\})*", rest)
        return found[0].rstrip(".,") if found else ""
    depth = 0
    for i, character in enumerate(rest):
        is_escaped = i > 0 and rest[i - 1] == "\\"
        depth += 0 if is_escaped else {"{": 1, "}": -1}.get(character, 0)
        if depth == 0:
            return rest[1:i]
    return rest[1:].split("\n")[0].rstrip(" $.")


def final_expression(text: str) -> str | None:
    """The last box's content, else what follows the last 'answer is', else the last mathematics or number; or None."""
    boxed = boxed_contents(text)
    if boxed:
        return boxed[-1].strip()
    for marker in reversed(list(_ANSWER.finditer(text))):
        claim = text[marker.end() :].strip(" \n\t*_`").split("\n")[0]
        if found := _expression(claim, whole=True):
            return found
    lines = [line for line in text.strip().split("\n") if line.strip()]
    if len(lines) == 1 and len(lines[0].split()) <= 3 and (found := _expression(lines[0], whole=True)):
        return found
    return _expression(text, whole=False)


def _expression(text: str, *, whole: bool) -> str | None:
    """Mathematics between dollar signs; else the whole text or its last word with a digit in it."""
    math = [next(part for part in groups if part) for groups in _MATH.findall(text)]
    if math:
        return str(math[0] if whole else math[-1]).strip()
    text = text.strip(" \n\t*_`$")
    if whole:
        sentence = re.split(r"\.(?:\s|$)", text)[0].strip(" *_`$")
        return sentence or None
    values = [found.strip(" .,*") for found in _VALUE.findall(text)]
    return values[-1] if values else None
