"""Wrong answers made from right ones, by rules that change their value for certain."""

from __future__ import annotations

import re

from lamas_local.tasks.latex import clean_latex, plain_words

_OPEN = re.compile(r"^\\left\s*[(\[]|^[(\[]|^\\\{|^\\begin\{pmatrix\}")
_BASE = re.compile(r"(\d+)(_\{?\d+\}?)")


def corrupt_math(gold: str, change: str = "+1") -> str:
    """A gold answer of MATH, changed: a number or expression plus 1, another word or letter, another first endpoint,
    coordinate, entry or member, another right-hand side, another last digit of a numeral with a base.

    With `change="+1-1"` it is the same answer written in another way, but for words and numerals with a base.
    """
    gold = clean_latex(gold)
    words = plain_words(gold)
    if "\\text" in gold and words is not None:
        return _other_word(words)
    if numeral := _BASE.fullmatch(gold):
        last = int(numeral[1][-1])
        return f"{numeral[1][:-1]}{last - 1 if last else 1}{numeral[2]}"
    if relation := re.search(r"=|\\in(?![a-z])", gold):
        return f"{gold[: relation.end()]} {corrupt_math(gold[relation.end() :], change)}"
    if opening := _OPEN.match(gold):
        return opening[0] + _other_member(gold[opening.end() :], change)
    if r"\pm" in gold and "," not in gold:
        left, sign, right = gold.partition(r"\pm")
        return f"{left}{change} {sign}{right}"
    if "," in gold:
        return _other_member(gold, change)
    return f"({gold}){change}"


def _other_word(words: str) -> str:
    """The next letter of the alphabet where it is one letter, else a word that nobody means."""
    return chr(ord(words) + 1) if len(words) == 1 else f"\\text{{un{words}}}"


def _other_member(members: str, change: str) -> str:
    """The first member that is finite, changed; what closes the list stays."""
    first, separator, rest = re.split(r"(,|&|\\\\|\)|\]|\\\}|\\end)", members, maxsplit=1)
    if r"\infty" in first:
        return first + separator + _other_member(rest, change)
    return f"{first.strip()}{change}{separator}{rest}"
