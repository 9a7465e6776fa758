"""SVG elements as strings. Numbers and class names are ours; texts, titles and labels are escaped here.

Colours come from CSS classes, so that a drawing follows the reader's light or dark scheme.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from lamas_local.report.markup import escape

Anchor = Literal["start", "middle", "end"]


def svg(width: float, height: float, label: str, body: Iterable[str], class_name: str) -> str:
    """A drawing that scales with its container; `label` is what a screen reader says instead of it."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="{class_name}" role="img" aria-label="{escape(label)}" '
        f'viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}">{"".join(body)}</svg>'
    )


def rect(x: float, y: float, width: float, height: float, class_name: str, title: str = "", radius: float = 0) -> str:
    """A rectangle, with a hover title if there is one."""
    corner = f' rx="{radius:g}"' if radius else ""
    return (
        f'<rect class="{class_name}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"{corner}>'
        f"{_title(title)}</rect>"
    )


def line(x1: float, y1: float, x2: float, y2: float, class_name: str) -> str:
    """A straight line."""
    return f'<line class="{class_name}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def circle(x: float, y: float, radius: float, class_name: str, title: str = "") -> str:
    """A dot, with a hover title if there is one."""
    return f'<circle class="{class_name}" cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}">{_title(title)}</circle>'


def polyline(points: Iterable[tuple[float, float]], class_name: str) -> str:
    """A line through `points`."""
    return f'<polyline class="{class_name}" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in points)}"/>'


def text(x: float, y: float, content: str, class_name: str = "", anchor: Anchor = "start", title: str = "") -> str:
    """One line of text with its baseline at `y`."""
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text class="{class_name}" {place}>{_title(title)}{escape(content)}</text>'


def _title(title: str) -> str:
    return f"<title>{escape(title)}</title>" if title else ""
