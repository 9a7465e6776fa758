"""A configuration that needs neither a model nor an encoder."""

from __future__ import annotations

from pathlib import Path

import pytest

FAKE = "engine: {kind: fake}\ncontroller: {encoder: fake}\nsampling: {temperature: 0.7, max_tokens: 48}\n"


@pytest.fixture
def config_file(tmp_path: Path) -> str:
    file = tmp_path / "fake.yaml"
    file.write_text(FAKE)
    return str(file)
