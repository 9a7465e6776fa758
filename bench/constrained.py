"""How near constrained training lands to what was asked: a latency budget (mean, p95) and a score floor, over seeds.

Targets are shares of what the untrained controller of the same seed reaches, so that they mean the same on any engine;
every trained policy is evaluated on test queries by a draw a query, as it was trained. Meant for `engine.kind: simulated`.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from tqdm import tqdm

from bench.asked_reached import draw_asked_reached
from bench.command import new_parser, positive, run_command
from bench.result import open_folder, print_table, show_spread, write_result
from bench.spread import spread
from lamas_local.config import Config, ObjectiveConfig
from lamas_local.evaluation import evaluate
from lamas_local.policy import LearnedPolicy
from lamas_local.run_folder import RunFolder
from lamas_local.session import Session, run as run_session
from lamas_local.trace import RolloutTrace
from lamas_local.trainer import Trainer
from lamas_local.verdict import judge

NAME = "constrained"
TOLERANCE = 0.1
"""Reached over asked is to be within this of 1."""
CONSTRAINTS: Mapping[str, Mapping[str, Any]] = {
    "mean seconds": {"kind": "latency_budget", "latency_budget_statistic": "mean"},
    "p95 seconds": {"kind": "latency_budget", "latency_budget_statistic": "p95"},
    "score": {"kind": "score_floor"},
}
SHARES: Mapping[str, Sequence[float]] = {
    "mean seconds": (0.8, 0.6, 0.4),
    "p95 seconds": (0.8, 0.6, 0.4),
    "score": (0.8, 0.9, 1.0),
}
"""Of what the untrained controller reaches."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One training."""

    constraint: str
    share: float
    seed: int
    asked: float
    reached: float
    score: float
    seconds_mean: float
    multiplier: float
    """At the last step, score per second."""

    @property
    def ratio(self) -> float:
        """Reached over asked."""
        return self.reached / self.asked


def main(argv: Sequence[str] | None = None) -> int:
    """The command; status 0 whether the tolerance is met or not."""
    parser = new_parser(f"python -m bench.{NAME}", "Asked and reached under a latency budget or a score floor.")
    parser.add_argument("--num-seeds", type=positive, default=5, help="trainings of each (%(default)s)")
    parser.add_argument("--num-queries", type=positive, default=500, help="test queries of each (%(default)s)")
    parser.add_argument("--constraint", choices=CONSTRAINTS, action="append", help="only this one; may be repeated")
    return run_command(parser, run, argv)
