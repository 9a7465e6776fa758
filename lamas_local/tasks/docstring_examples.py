"""The examples that a problem's own docstring shows. (Minimal version; under way.)"""

from __future__ import annotations

import doctest


def docstring_examples(problem: str, entry_point: str) -> tuple[tuple[str, str], ...]:
    """(call expression, expected expression) of each example, in order."""
    found = doctest.DocTestParser().get_examples(problem)
    return tuple(
        (example.source.strip(), example.want.strip())
        for example in found
        if example.source.startswith(f"{entry_point}(") and example.want.strip()
    )
