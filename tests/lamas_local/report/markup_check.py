"""Strict reading of what the report wrote: every tag closed, every drawing XML, nothing that runs or loads."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from xml.etree import ElementTree

VOID = {"meta", "br", "wbr", "link"}
ALLOWED = {
    *("html", "head", "meta", "title", "style", "body", "main", "header", "section", "h1", "h2", "p", "div", "span"),
    *("strong", "small", "figure", "figcaption", "details", "summary", "pre"),
    *("table", "thead", "tbody", "tr", "th", "td"),
    *("svg", "rect", "line", "circle", "polyline", "text"),
}


class _Checker(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in ALLOWED, f"<{tag}> is not ours"
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"<{tag}> repeats an attribute"
        assert not [name for name in names if name.startswith("on") or name in ("src", "href", "style")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def check_html(page: str) -> str:
    """Assert that `page` is well formed and made of our tags only; its text."""
    checker = _Checker()
    checker.feed(page)
    checker.close()
    assert checker.open == []
    for drawing in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        check_svg(drawing)
    assert "nan" not in " ".join(re.findall(r'(?:points|[xy][12]?|c[xy]|width|height)="([^"]*)"', page))
    return "".join(checker.text)


def check_svg(drawing: str) -> ElementTree.Element:
    """Assert that `drawing` is XML with a label; its root."""
    root = ElementTree.fromstring(drawing)
    assert root.get("role") == "img"
    assert root.get("aria-label")
    return root
