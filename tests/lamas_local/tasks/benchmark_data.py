"""The published files that some tests read: not part of the project, and often absent."""

from __future__ import annotations

from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[4] / "shared" / "data"


def benchmark_file(name: str) -> Path:
    """Its path; skips the test where it is absent."""
    file = FOLDER / name
    if not file.is_file():
        pytest.skip(f"{file} is absent; this test needs the published file")
    return file
