"""One way of writing for LaTeX that means the same, cheaply and without mathematics."""

from __future__ import annotations

import re
from fractions import Fraction

from lamas_local.tasks.numbers import find_numbers

_SYMBOLS = {
    "−": "-", "–": "-", "×": r"\times ", "÷": r"\div ", "·": r"\cdot ", "π": r"\pi ", "∞": r"\infty ",
    "≤": r"\leq ", "≥": r"\geq ", "∪": r"\cup ", "∩": r"\cap ", "∈": r"\in ", "±": r"\pm ", "°": r"^\circ ",
    "θ": r"\theta ", "²": "^2", "³": "^3",
}  # fmt: skip
_WORD = r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mathit|mbox|operatorname|hbox)\s*"
_TEXT = re.compile(_WORD + r"\{([^{}]*)\}")
_UNIT = re.compile(rf"(?<=[\w}}) ])\s*{_WORD}\{{\s*(?!or\b|and\b)[a-zA-Z. /]*[a-zA-Z][^{{}}]*\}}(?:\^\{{?\d\}}?)?\s*$")
_SPACES = re.compile(r"(?<!\\)\\[,!;: ]|~|\\q?quad\b|\\hspace\{[^{}]*\}")
_THOUSANDS = re.compile(r"(?<![\d,.])\d{1,3}(?:,\d{3})+(?![\d,])")


def clean_latex(text: str) -> str:
    """LaTeX without what only decorates: dollar signs, sizes, thin spaces, degrees, currency, units, a full stop.

    Text keeps its `\\text{}`, a percent sign stays; both mean something to whoever compares.
    """
    text = re.sub(r"√\s*(?:\((\w+)\)|(\w+))", lambda found: rf"\sqrt{{{found[1] or found[2]}}}", text)
    for symbol, latex in _SYMBOLS.items():
        text = text.replace(symbol, latex)
    text = text.strip().strip("*").strip()
    text = re.sub(r"^\\[(\[]|\\[)\]]$", "", text)
    text = text.replace(r"\$", "").replace("$", "").replace("{,}", ",")
    text = re.sub(r"(?<=,)\\!\s*", "", text)  # 10,\! 080
    text = _SPACES.sub(" ", text)
    text = re.sub(r"\\(?:left|right|big|Big|bigg|Bigg)(?![a-zA-Z])[lr]?\s*\.?", "", text)
    text = re.sub(r"\\displaystyle(?![a-zA-Z])", "", text)
    text = re.sub(r"\\[dtc]frac", r"\\frac", text)
    text = re.sub(r"\s*\^\s*\{?\s*\\circ\s*\}?|\s*\\degree(?![a-zA-Z])|\s*\\?\bdegrees?$", "", text)
    text = re.sub(r"\\(?:le|ge)(?![a-zA-Z])", lambda found: found[0] + "q", text)
    text = re.sub(r"\\frac\s*(\d)\s*(\d)", r"\\frac{\1}{\2}", text)
    text = re.sub(r"\\frac\s*(\d)\s*(?=\{)", r"\\frac{\1}", text)
    text = re.sub(r"\\frac\s*(\{[^{}]*\})\s*([\da-zA-Z])", r"\\frac\1{\2}", text)
    text = re.sub(r"\\sqrt\s*([\da-zA-Z])", r"\\sqrt{\1}", text)
    text = _UNIT.sub("", text)
    if not re.search(r"[(\[{]", text):  # (12,102) is a pair
        text = _THOUSANDS.sub(lambda found: found[0].replace(",", ""), text)
    return " ".join(text.split()).rstrip(" .")


def normal_form(text: str) -> str:
    """A string that equal answers mostly share: cleaned, text unwrapped, no spaces, numbers as exact fractions."""
    text = clean_latex(text)
    text = _TEXT.sub(lambda found: found[1].strip(), text)
    text = re.sub(r"\\?%", "", text)
    number = rational(text)
    if number is not None:
        return str(number)
    text = re.sub(r"(?<=\d)\s*/\s*(?=\d)", "/", text)
    text = re.sub(r"(?<![\w}])(\d+)/(\d+)(?![\w{])", r"\\frac{\1}{\2}", text)
    return re.sub(r"\s+", "", re.sub(r"(\\[a-zA-Z]+)\s+(?=[a-zA-Z])", r"\1{}", text)).replace("{}", " ")


def rational(text: str) -> Fraction | None:
    """The number that a cleaned text is; None where it is more or other than one number."""
    text = text.strip().strip("()") if re.fullmatch(r"\(-?[\d./]+\)", text.strip()) else text.strip()
    sign, digits = (-1, text[1:].strip()) if text.startswith("-") else (1, text)
    found = find_numbers(digits)
    if len(found) == 1 and found[0][1:] == (0, len(digits)) and digits[:1] not in "+-":
        return sign * found[0][0]
    return None


def plain_words(text: str) -> str | None:
    """The words of an answer that is text, `\\text{Evelyn}` or `\\text{(C)}`, in lower case; None for mathematics."""
    unwrapped = _TEXT.sub(lambda found: found[1], text)
    words = re.sub(r"[\s().,:\"'`*-]+", " ", unwrapped).strip()
    return words.lower() if re.fullmatch(r"[^\W\d_]+(?: [^\W\d_]+)*", words) else None
