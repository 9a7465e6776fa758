"""All of HumanEval: what is right passes and what is not does not."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections import Counter
from pathlib import Path

import pytest

from lamas_local.config import SandboxConfig
from lamas_local.sandbox import Sandbox

FILE = Path(__file__).parents[3].parent / "shared" / "data" / "humaneval.jsonl.gz"


@pytest.mark.skipif(not FILE.exists(), reason=f"{FILE.parent.parent.name}/data beside the repository is absent")
@pytest.mark.parametrize(("body", "status"), [("canonical_solution", "ok"), ("    pass\n", "error")])
async def test_all_rows(body: str, status: str) -> None:
    rows = [json.loads(line) for line in gzip.decompress(FILE.read_bytes()).splitlines()]
    assert len(rows) == 164
    sandbox = Sandbox(SandboxConfig(max_runs=4, wall_s=30.0, cpu_s=30.0))
    results = await asyncio.gather(
        *(
            sandbox.check(
                row["prompt"] + row.get(body, body),
                row["entry_point"],
                f"{row['prompt']}\n{row['test']}\ncheck({row['entry_point']})",
            )
            for row in rows
        )
    )
    wrong = {row["task_id"]: result for row, result in zip(rows, results, strict=True) if result.status != status}
    assert not wrong
    assert Counter(result.status for result in results) == {status: 164}
