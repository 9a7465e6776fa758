"""The final answer that a mathematical text marks: what is in its box, or what its last sentence claims."""

from __future__ import annotations

import re

BOX = re.compile(r"\\f?boxed\b|\\fbox\b")
_ANSWER = re.compile(r"\banswer\b[^\S\n]*(?:is\b|:|=|would\s+be\b)\s*:?|####", re.IGNORECASE)
_MATH = re.compile(
    r"\$\$(.{1,1000}?)\$\$|\$((?:\\\$|[^$]){1,1000})\$|\\\((.{1,1000}?)\\\)|\\\[(.{1,1000}?)\\\]", re.DOTALL
)
_MAX_LENGTH = 1000
"""Longer mathematics is no answer; without a limit, hostile text would cost the square of its length."""
_NO_WORDS = re.compile(
    r"\\(?:text|mbox|mathrm|textbf)\s*\{[^{}]*\}|\\(?:begin|end)\{\w+\}|\\[a-zA-Z]+|\b(?:sqrt|sin|cos|tan|cot|log|and)\b"
)
_CHUNK = re.compile(r"[\d.,/\\()\[\]{}a-zA-Z^*+√π°%-]+")


def last_boxed(text: str) -> str | None:
    """What stands in the last `\\boxed{...}`, `\\fbox{...}` or `\\boxed 5` that is not empty; braces are balanced.

    A box that is never closed holds the rest of its line: the text was cut. None without such a box.
    """
    return next((found for box in reversed(list(BOX.finditer(text))) if (found := box_content(text, box.end()))), None)


def box_content(text: str, start: int) -> str:
    """What stands in the box whose command ends at `start`."""
    rest = text[start : start + _MAX_LENGTH].lstrip(" ")
    if not rest.startswith("{"):
        found = re.match(r"[^\s$\\{}]+|\\[a-zA-Z]+(?:\{[^{}]*\})*", rest)
        return found[0].rstrip(".,") if found else ""
    depth = 0
    for i, character in enumerate(rest):
        is_escaped = i > 0 and rest[i - 1] == "\\"
        depth += 0 if is_escaped else {"{": 1, "}": -1}.get(character, 0)
        if depth == 0:
            return rest[1:i].strip()
    return rest[1:].split("\n")[0].rstrip(" $.")


def final_expression(text: str) -> str | None:
    """The last box's content, else what follows the last 'answer is', else the last mathematics or number; or None."""
    found = last_boxed(text) if BOX.search(text) else _unboxed(text)
    return found if found and len(found) <= _MAX_LENGTH else None


def _unboxed(text: str) -> str | None:
    for marker in reversed(list(_ANSWER.finditer(text))):
        claim = text[marker.end() : marker.end() + _MAX_LENGTH].strip(" \n\t*_`").split("\n")[0]
        if found := _expression(claim, whole=True):
            return found
    if not _has_prose(text):
        return _expression(text, whole=True)
    *_, last = text.strip().split("\n")
    return _expression(last, whole=False) or _expression(text, whole=False)


def _has_prose(text: str) -> bool:
    """Whether there are sentences around the mathematics; up to three words without a number are the answer itself."""
    text = text.strip()
    words = re.findall(r"[^\W\d_]{3,}|\b(?:is|it|so)\b", _NO_WORDS.sub(" ", text))
    return "\n" in text or len(words) > (0 if re.search(r"\d", text) else 3)


def _expression(text: str, *, whole: bool) -> str | None:
    """Mathematics between dollar signs; else the whole text's first sentence, or its last word with a digit in it."""
    spans = list(_MATH.finditer(text))
    if spans and (whole or not _values(text[spans[-1].end() :])):
        span = spans[0] if whole else spans[-1]
        return next(part for part in span.groups() if part).strip()
    text = text.strip(" \n\t*_`$")
    if whole:
        sentence = re.split(r"\.(?:\s|$)", text)[0].strip(" *_`$")
        return sentence or None
    values = _values(text)
    return values[-1].strip(" .,*!?:") if values else None


def _values(text: str) -> list[str]:
    """Words with a digit in them."""
    return [chunk for chunk in _CHUNK.findall(text) if any(character.isdigit() for character in chunk)]
