from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import capacity
from bench.capacity import main


@pytest.fixture(autouse=True)
def all_cores() -> Iterator[None]:
    cores = os.sched_getaffinity(0)
    yield
    os.sched_setaffinity(0, cores)


def test_a_small_measurement_leaves_a_result(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capacity, "time_encoder", lambda: 6.0)
    assert main(["--repeats", "1", "--queries", "8", "--output", str(tmp_path)]) == 0
    result = json.loads((tmp_path / "capacity" / "result.json").read_text())
    assert result["figures"]["ways"].keys() == {"evaluate", "serve"}
    for way in result["figures"]["ways"].values():
        assert way["queries_per_s"]["median"] > 0
        assert sum(share["share"] for share in way["shares"]) == pytest.approx(1)
    assert "The encoder takes 6.0 ms more" in capsys.readouterr().out
