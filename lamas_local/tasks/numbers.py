"""Numbers as models write them -> exact fractions."""

from __future__ import annotations

import re
import unicodedata
from fractions import Fraction

_SPACES = r"(?:[ \u00a0\u2009\u202f]|\\[,! ;:])"
_WHOLE = rf"""
    \d{{1,3}}(?:\{{?,\}}?(?:\\!\s*)?\d{{3}})+(?!\d)   # 1,234 and LaTeX's 1{{,}}234 and 1,\!234
  | \d{{1,3}}(?:{_SPACES}\d{{3}})+(?![\d/])           # 1 234
  | \d{{1,3}}(?:\.\d{{3}}){{2,}}(?!\d)                # 1.234.567, which is no decimal number
  | \d{{1,3}}(?:\.\d{{3}})+(?=,\d{{1,2}}(?!\d))       # 1.234,50
  | \d+
"""
_DECIMALS = r"\.\d+ | ,\d{1,2}(?![\d,])"
_LATEX_FRACTION = r"\\[dtc]?frac\s*(?:\{\s*-?\d+\s*\}|\d)\s*(?:\{\s*\d+\s*\}|\d)"
_NUMBER = re.compile(
    rf"""
    (?P<sign>(?<![\w)\]}}%.])[-+]\s?)?(?:\\?[$€£¥]\s?(?P<inner>-)?)?
    (?:
        (?P<top>\d+)\s?/\s?(?P<bottom>\d+)                                  # 3/4
      | (?:(?P<mixed>\d+)\s*)?(?P<latex>{_LATEX_FRACTION})                  # \frac{{3}}{{4}}, 1\frac34
      | (?P<units>\d+)\ (?P<over>\d+)/(?P<under>\d+)                        # 1 3/4
      | (?:(?P<whole>{_WHOLE})(?P<decimals>{_DECIMALS})?|(?P<point>\.\d+))
        (?:\s?(?:\\times|\\cdot|[x×*])\s?10\s?(?:\^|\*\*)\s?\{{?(?P<power>[-+]?\d+)\}}?|[eE](?P<exponent>[-+]?\d+))?
    )
    """,
    re.VERBOSE,
)
_MAX_LENGTH = 100
"""A longer number is no answer, and Python refuses to read thousands of digits."""
_MAX_EXPONENT = 100
"""A larger power of ten is no answer, and its digits would fill the memory."""


def find_numbers(text: str) -> list[tuple[Fraction, int, int]]:
    """Every number of a text with where it starts and ends (in `plain(text)`), exactly as it was written.

    `1,234`, `1 234` and `1.234.567` have thousands separators; `1.234` and `2,50` are decimals. Currency signs belong
    to the number, units and `%` do not change it.
    """
    found = []
    for match in _NUMBER.finditer(text):
        value = _value(match)
        if value is not None:
            negative = (match["sign"] or "").startswith("-") != bool(match["inner"])
            found.append((-value if negative else value, match.start(), match.end()))
    return found


def plain(text: str) -> str:
    """The text with one sign for each meaning: minus signs, fraction characters and bold markers."""
    text = re.sub(r"[−–](?=\s?[\d$.\\])", "-", text).replace("**", "").replace("__", "")
    return "".join(_spell_fraction(character) for character in text)


def _spell_fraction(character: str) -> str:
    """`½` becomes ` 1/2`."""
    spelled = unicodedata.normalize("NFKC", character) if unicodedata.category(character) == "No" else character
    return " " + spelled.replace("⁄", "/") if "⁄" in spelled else character


def _value(match: re.Match[str]) -> Fraction | None:
    if len(match[0]) > _MAX_LENGTH:
        return None
    if match["top"]:
        return _over(match["top"], match["bottom"])
    if match["latex"]:
        top, bottom = re.findall(r"-?\d+", match["latex"]) if "{" in match["latex"] else list(match["latex"][-2:])
        fraction = _over(top, bottom)
        return fraction and fraction + int(match["mixed"] or 0)
    if match["units"]:
        fraction = _over(match["over"], match["under"])
        return fraction and fraction + int(match["units"])
    exponent = int(match["power"] or match["exponent"] or 0)
    if abs(exponent) > _MAX_EXPONENT:
        return None
    whole = re.sub(r"\D", "", match["whole"] or "0")
    decimals = (match["decimals"] or match["point"] or "").replace(",", ".")
    return Fraction(whole + decimals) * Fraction(10) ** exponent


def _over(top: str, bottom: str) -> Fraction | None:
    return Fraction(int(top), int(bottom)) if int(bottom) else None
