from __future__ import annotations

import pytest

from bench.profile import shares


def test_built_in_functions_count_for_whoever_called_them() -> None:
    run, fit = ("/x/lamas_local/executor.py", 1, "run"), ("/x/lamas_local/prompt.py", 1, "fit")
    found = shares(
        {
            run: (1, 1, 1.0, 9.0, {}),
            fit: (1, 1, 2.0, 3.0, {run: (1, 1, 2.0, 3.0)}),
            ("~", 0, "len"): (4, 4, 4.0, 4.0, {run: (1, 1, 1.0, 1.0), fit: (3, 3, 3.0, 3.0)}),
            ("/usr/lib/json.py", 3, "dumps"): (1, 1, 3.0, 3.0, {run: (1, 1, 3.0, 3.0)}),
        }
    )
    assert {one.part: one.share for one in found} == pytest.approx({"prompts": 0.5, "other": 0.3, "executor": 0.2})
    assert found[0].part == "prompts"
