"""What is kept of an evaluated rollout: one line, so that thousands of them fit."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from lamas_local.config import Config
from lamas_local.latency import cost_usd, measure, proxy_agreement
from lamas_local.run_folder import write_atomically
from lamas_local.trace import RolloutTrace


@dataclass(frozen=True, slots=True)
class Outcome:
    """One policy on one query. A failed one scores 0; its other figures say how far it came."""

    policy: str
    query: str
    score: float
    cost_usd: float
    cp_tokens: float
    seconds: float
    operators: tuple[str, ...]
    """What ran, in drawn order."""
    critical_agreement: float | None
    """Share of its layers with a choice where tokens and clock name the same critical operator; None without any."""
    is_failed: bool


def describe_outcome(trace: RolloutTrace, config: Config) -> Outcome:
    """The figures of a rollout."""
    latency = measure(trace, config.latency)
    return Outcome(
        policy=trace.policy,
        query=trace.query_id,
        score=trace.score or 0.0,
        cost_usd=cost_usd(trace, config.objective),
        cp_tokens=latency.tokens.length,
        seconds=latency.wall_s,
        operators=tuple(span.name for layer in trace.layers for span in layer.operators),
        critical_agreement=proxy_agreement([latency]).critical_agreement,
        is_failed=trace.failure is not None,
    )


def append_outcome(path: Path, outcome: Outcome) -> None:
    """Add a line."""
    with path.open("a", encoding="utf-8") as file:
        file.write(_line(outcome))


def take_up_outcomes(path: Path) -> list[Outcome]:
    """Those of an evaluation that was stopped, none where there was none; a line that a kill cut short is removed."""
    if not path.is_file():
        return []
    with path.open(encoding="utf-8") as file:
        outcomes = [_read(line) for line in file if line.endswith("\n")]
    write_atomically(path, "".join(map(_line, outcomes)).encode())
    return outcomes


def _line(outcome: Outcome) -> str:
    return json.dumps(asdict(outcome)) + "\n"


def _read(line: str) -> Outcome:
    row = json.loads(line)
    return Outcome(**row | {"operators": tuple(row["operators"])})
