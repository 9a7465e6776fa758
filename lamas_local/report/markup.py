"""Text for HTML and SVG: everything that was not written in this package goes through `escape`."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterable, Sequence

ABSENT = "–"
# Characters that XML forbids even when escaped; lone surrogates could not be written as UTF-8 either.
_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def escape(value: object) -> str:
    """`value` as text that is safe in an element and in a quoted attribute, of HTML and of XML."""
    return html.escape(_ILLEGAL.sub("\N{REPLACEMENT CHARACTER}", str(value)))


def shorten(text: str, num_characters: int) -> str:
    """`text`, or its beginning and an ellipsis, in at most `num_characters` characters."""
    return text if len(text) <= num_characters else text[: num_characters - 1] + "…"


def format_number(value: float | None) -> str:
    """About three significant digits, without exponents; a dash for None."""
    if value is None:
        return ABSENT
    size = abs(value)
    num_decimals = 0 if size >= 100 or value == 0 else 1 if size >= 10 else 2 if size >= 1 else 3
    return f"{value:,.{num_decimals}f}".replace("-", "−")


def format_unit(value: float | None, unit: str) -> str:
    """`value` with its unit, or a dash alone."""
    return ABSENT if value is None else f"{format_number(value)} {unit}"


def format_usd(value: float | None) -> str:
    """Dollars with three significant digits, however small, without exponents."""
    if value is None:
        return ABSENT
    num_decimals = 3 if value == 0 or abs(value) >= 1 else min(12, 2 - math.floor(math.log10(abs(value))))
    return f"${value:,.{num_decimals}f}"


def format_change(new: float, old: float) -> str:
    """The relative change from `old` to `new` as a signed percentage; empty when `old` is 0."""
    return f"{100 * (new - old) / abs(old):+.0f}%".replace("-", "−") if old else ""


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table that scrolls sideways on a narrow screen; the first column names the row. Escapes every cell."""
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in header)
    body = "".join(
        f'<tr><th scope="row">{escape(first)}</th>' + "".join(f"<td>{escape(cell)}</td>" for cell in rest) + "</tr>"
        for first, *rest in rows
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def details(summary: str, body: str) -> str:
    """A collapsed block; `body` is markup, `summary` text."""
    return f"<details><summary>{escape(summary)}</summary>{body}</details>"


def figure(title: str, legend: Iterable[tuple[str, str]], drawing: str) -> str:
    """A drawing under its title and legend; `legend` pairs a colour class with its text, `drawing` is markup."""
    keys = "".join(
        f'<span class="key"><span class="swatch {name}"></span>{escape(text)}</span>' for name, text in legend
    )
    caption = f'<figcaption><strong>{escape(title)}</strong><span class="keys">{keys}</span></figcaption>'
    return f"<figure>{caption}{drawing}</figure>"
