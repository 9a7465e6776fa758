"""The published objectives that a run is compared with: trained beside it, each into `RUN/<name>`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lamas_local.config import Config
from lamas_local.trace import ExecutionMode

PENALTY: Mapping[str, Any] = {"kind": "penalty", "latency_budget_s": None, "score_floor_share": None}
"""No constraint, whatever the run has."""

BASELINES: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    # MaAS: score minus cost, nobody pays for latency.
    "maas": {"objective": {**PENALTY, "credit": "none"}},
    # LAMaS: the token proxy's critical path (DESIGN.md section 8).
    "lamas": {
        "execution": {"mode": "layered"},
        "latency": {"signal": "tokens", "tokens_per_second": 50.0},
        "objective": {**PENALTY, "credit": "critical_path", "latency_weight": 0.005, "cost_weight": 3.0},
        "trainer": {"baseline": "ema", "ema_momentum": 0.95},
    },
}
"""Run name -> section -> what is set there; everything else is as in the run itself."""

POLICIES: Mapping[str, tuple[str, ExecutionMode]] = {
    "maas": ("maas", "sequential"),
    "maas-parallel": ("maas", "layered"),
    "lamas": ("lamas", "layered"),
}
"""Policy -> the run whose controller it is, and how its architectures run."""


def baseline_runs(policies: Sequence[str]) -> list[str]:
    """The runs that these policies need, each once."""
    return list(dict.fromkeys(POLICIES[name][0] for name in policies if name in POLICIES))


def baseline_config(config: Config, name: str, run_dir: Path) -> Config:
    """The run's configuration with a baseline's objective, in a folder of its own."""
    sections = {
        section: getattr(config, section).model_copy(update=dict(values)) for section, values in BASELINES[name].items()
    }
    return config.model_copy(update={**sections, "run_dir": run_dir})
