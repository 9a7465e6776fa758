"""Whole numbers written in English words."""

from __future__ import annotations

import re
from fractions import Fraction

_SMALL = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_VALUES = {word: value for value, word in enumerate(_SMALL)} | {word: 10 * i for i, word in enumerate(_TENS, 2)}
_SCALES = {"thousand": 1000, "million": 1_000_000}
_WORDS = (*_VALUES, "hundred", *_SCALES)
_NUMBER = re.compile(rf"\b(?:{'|'.join(_WORDS)})\b(?:(?:[\s-]+and)?[\s-]+(?:{'|'.join(_WORDS)})\b)*", re.IGNORECASE)


def word_number(text: str) -> Fraction | None:
    """The last number in words, such as `two hundred and five`; None without one."""
    found = _NUMBER.findall(text)
    if not found:
        return None
    total, part = 0, 0
    for word in re.findall(r"[a-z]+", found[-1].lower()):
        if word in _SCALES:
            total, part = total + max(part, 1) * _SCALES[word], 0
        elif word == "hundred":
            part = max(part, 1) * 100
        else:
            part += _VALUES.get(word, 0)
    return Fraction(total + part)
