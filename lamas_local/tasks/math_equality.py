"""Whether two mathematical answers are the same: math-verify, wrapped where a careful person would decide otherwise."""

from __future__ import annotations

import re
from fractions import Fraction

from lamas_local.tasks.latex import clean_latex, normal_form, plain_words, rational

_BASE = re.compile(r"\(?([0-9A-Fa-f]+)\)?_\{?(\d+)\}?")
_ORDERED = re.compile(r"[(\[].*,.*[)\]]", re.DOTALL)
_SET = re.compile(r"\\\{.*\\\}", re.DOTALL)
_MEMBERSHIP = re.compile(r"^[a-zA-Z]\s*\\in(?![a-zA-Z])\s*")
_PERCENT = re.compile(r"\s*\\?%")
_EXPONENT = re.compile(r"(?<=\d)[eE]([-+]?\d+)\b")
_DECIMAL_PLACES = 12
"""math-verify rounds to 6 places by default, and then 0.333333 is 1/3 and 0.0000004 is 0.0000001."""


def is_equal(gold: str, answer: str) -> bool:
    """Whether `answer` says what `gold` says.

    Numbers are compared exactly, words by their letters, numerals with a base by digits and base. Everything else is
    math-verify's decision, after an ordered pair without its brackets got them back.
    """
    gold, answer = (_MEMBERSHIP.sub("", clean_latex(text)) for text in (gold, answer))
    if not answer:
        return False
    if normal_form(gold) == normal_form(answer):
        return True
    if "\\text" in gold or "\\mbox" in gold or len(plain_words(gold) or "") > 3:
        words = plain_words(gold)
        if words is not None:
            return words == plain_words(answer)
    if _BASE.fullmatch(gold) or _BASE.fullmatch(answer):
        return _is_equal_numeral(gold, answer)
    expected, given = _values(gold), _values(answer)
    if expected and given:
        return not expected.isdisjoint(given)
    gold, answer = _PERCENT.sub("", gold), _PERCENT.sub("", answer)
    if _ORDERED.fullmatch(gold):
        if _SET.fullmatch(answer):
            return False
        if "," in answer and not re.match(r"[(\[]|\\begin", answer) and "=" not in answer:
            answer = gold[0] + answer + gold[-1]
    return _verify(gold, answer)


def _values(text: str) -> set[Fraction]:
    """The number that a text is; with a percent sign also a hundredth of it; nothing where it is no number."""
    number = rational(_PERCENT.sub("", text))
    if number is None:
        return set()
    return {number, number / 100} if _PERCENT.search(text) else {number}


def _is_equal_numeral(gold: str, answer: str) -> bool:
    """`52_8`: the base may be left out where gold has one; a numeral with a base is a number where gold is one."""
    expected, given = _BASE.fullmatch(gold), _BASE.fullmatch(answer)
    if expected and given:
        return (expected[1].lstrip("0"), expected[2]) == (given[1].lstrip("0"), given[2])
    if expected:
        return expected[1] == answer
    number = rational(gold)
    try:
        return given is not None and number is not None and int(given[1], int(given[2])) == number
    except ValueError:
        return False


def _verify(gold: str, answer: str) -> bool:
    from math_verify import LatexExtractionConfig, parse, verify

    parsed = [
        # Time limits are the worker's.
        parse("\\boxed{" + _for_parser(text) + "}", [LatexExtractionConfig()], parsing_timeout=None)
        for text in (gold, answer)
    ]
    return bool(verify(*parsed, float_rounding=_DECIMAL_PLACES, allow_set_relation_comp=True, timeout_seconds=None))


def _for_parser(text: str) -> str:
    """Plain notations that its LaTeX parser reads as products of letters."""
    text = _EXPONENT.sub(r"\\times 10^{\1}", text)
    text = re.sub(r"(?<![\\a-zA-Z])sqrt\s*\(([^()]*)\)", r"\\sqrt{\1}", text)
    text = re.sub(r"(?<![\\a-zA-Z])(pi|theta|infty|sin|cos|tan|cot|ln|log)(?![a-zA-Z])", r"\\\1 ", text)
    return re.sub(r",?\s*(?:\\(?:text|mbox)\{\s*(?:and|or)\s*\}|\b(?:and|or)\b)", ", ", text)
