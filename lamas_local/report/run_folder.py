"""What a run folder holds, read so that an interrupted run still has a report."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError

from lamas_local.config import ConfigError
from lamas_local.trace import RolloutTrace

T = TypeVar("T")
JsonObject = dict[str, Any]

METRICS, TRACES, SUMMARY, CONFIG, ENVIRONMENT = (
    "metrics.jsonl",
    "traces.jsonl",
    "summary.json",
    "config.yaml",
    "environment.json",
)
_TRACE_ADAPTER: TypeAdapter[RolloutTrace] = TypeAdapter(RolloutTrace)


@dataclass(frozen=True, slots=True)
class RunFolder:
    """A run folder's contents; what is missing is empty here and named in `gaps`."""

    name: str
    metrics: tuple[JsonObject, ...]
    """One a training step, in order of steps."""
    traces: tuple[RolloutTrace, ...]
    policies: Mapping[str, JsonObject]
    """Evaluated policies of `summary.json`."""
    comparison: JsonObject
    """Proxy against clock, of `summary.json`."""
    constraint: JsonObject
    """What became of the budget or floor, of `summary.json`; empty for a penalty."""
    config: JsonObject
    config_text: str
    environment: JsonObject
    gaps: tuple[str, ...]
    """What is missing or was skipped, one phrase each."""

    @property
    def tokens_per_second(self) -> float:
        """The rate that turns proxy tokens into proxy seconds."""
        return number(section(self.config, "latency"), "tokens_per_second") or 50.0


def read_run(run_dir: Path) -> RunFolder:
    """Read whatever `run_dir` holds of a run.

    Raises:
        ConfigError: nothing in it comes from a run.
    """
    _require_run(run_dir)
    gaps: list[str] = []
    metrics = _read_lines(run_dir / METRICS, _parse_metrics, gaps)
    traces = _read_lines(run_dir / TRACES, _TRACE_ADAPTER.validate_json, gaps)
    summary = _read_object(run_dir / SUMMARY, json.loads, gaps)
    environment = _read_object(run_dir / ENVIRONMENT, json.loads, gaps)
    config = _read_object(run_dir / CONFIG, yaml.safe_load, gaps)
    # A resumed run repeats the steps after its last checkpoint: the later line is the one that was trained on.
    newest_metrics = {row["step"]: row for row in metrics}
    newest_traces = {(trace.policy, trace.step, trace.query_id, trace.rollout): trace for trace in traces}
    return RunFolder(
        name=run_dir.resolve().name,
        metrics=tuple(newest_metrics[step] for step in sorted(newest_metrics)),
        traces=tuple(newest_traces.values()),
        policies={name: row for name, row in section(summary, "policies").items() if isinstance(row, dict)},
        comparison=section(summary, "comparison"),
        constraint=section(summary, "constraint"),
        config=config,
        config_text=_read_text(run_dir / CONFIG),
        environment=environment,
        gaps=tuple(gaps),
    )


def section(parent: Mapping[str, Any], key: str) -> JsonObject:
    """The object under `key`; empty when there is none."""
    value = parent.get(key)
    return value if isinstance(value, dict) else {}


def number(row: Mapping[str, Any], key: str) -> float | None:
    """The finite number under `key`; None when it is absent, null, NaN or something else."""
    value = row.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return float(value)


def _require_run(run_dir: Path) -> None:
    files = (METRICS, TRACES, SUMMARY, CONFIG, ENVIRONMENT)
    if not any((run_dir / name).is_file() for name in files):
        raise ConfigError(f"{run_dir}: not a run folder (none of {', '.join(files)} there)")


def _read_lines(path: Path, parse: Callable[[bytes], T], gaps: list[str]) -> list[T]:
    """Every line that `parse` accepts. A killed run leaves half a line, at the end or, once resumed, before it."""
    if not path.is_file():
        gaps.append(f"{path.name} is missing")
        return []
    rows: list[T] = []
    num_skipped = 0
    with path.open("rb") as lines:
        for line in lines:
            if not line.strip():
                continue
            try:
                rows.append(parse(line))
            except (ValueError, ValidationError):
                num_skipped += 1
    if num_skipped:
        gaps.append(f"{num_skipped} unreadable {'line' if num_skipped == 1 else 'lines'} of {path.name} skipped")
    if not rows and not num_skipped:
        gaps.append(f"{path.name} is empty")
    return rows


def _parse_metrics(line: bytes) -> JsonObject:
    row = json.loads(line)
    if not isinstance(row, dict) or number(row, "step") is None:
        raise ValueError("not a step's metrics")
    return row


def _read_object(path: Path, parse: Callable[[str], Any], gaps: list[str]) -> JsonObject:
    if not path.is_file():
        gaps.append(f"{path.name} is missing")
        return {}
    try:
        content = parse(_read_text(path))
    except (ValueError, yaml.YAMLError):
        content = None
    if not isinstance(content, dict):
        gaps.append(f"{path.name} is unreadable")
        return {}
    if not content:
        gaps.append(f"{path.name} is empty")
    return content


def _read_text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
