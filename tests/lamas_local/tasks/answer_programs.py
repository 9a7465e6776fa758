"""The published solutions as running programs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from lamas_local.tasks.rows import Row


def canonical_programs(rows: Iterable[Row]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Entry point, prompt, and the namespace of the prompt with its canonical solution, for each row."""
    for row in rows:
        program: dict[str, Any] = {}
        exec(row.text("prompt") + row.text("canonical_solution"), program)
        yield row.text("entry_point"), row.text("prompt"), program
