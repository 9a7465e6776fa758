"""Training killed by SIGKILL at random moments and gone on with: is it the run that it would have been?

A small run on the fake engine, with a baseline beside it, a sandbox and an evaluation, is trained once uninterrupted.
Then the same run is begun again and again, killed at a moment drawn uniformly from the time that the whole one took
from the making of its folder to its end, and resumed, half of the times to be killed again, until it ends.
"""

from __future__ import annotations

import argparse
import ctypes
import math
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
from tqdm import tqdm

from bench.command import DEFAULT_OUTPUT, positive
from bench.killed_run import Contents, differences, read_contents
from bench.result import open_folder, print_table, write_result
from lamas_local.config import Config
from lamas_local.config_loader import dump_config
from lamas_local.run_folder import RunFolder

NAME = "crash"
AGAIN = 0.5
"""Probability that a resumed run is killed too."""
START_S, PATIENCE_S = 300.0, 10.0
"""Longest time to begin; time that what a killed process had started may take to end."""
PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True, slots=True)
class Kill:
    """What a killed process left."""

    after_s: float
    """Since it made or took up its run folder."""
    stage: str
    """What it was at."""
    has_half_line: bool
    """In a file of traces or metrics."""
    has_half_file: bool
    """A checkpoint or another file that was not renamed yet, or one that was being removed."""
    num_left: int
    """Processes that it had started and that were there `PATIENCE_S` later."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One run: killed, resumed until it ended."""

    kills: tuple[Kill, ...]
    differences: tuple[str, ...]
    """From the run that was not interrupted."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run it; returns the exit status, 1 where a run is not the one it would have been or a process was left."""
    parser = argparse.ArgumentParser(prog="python -m bench.crash", description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=positive, default=50, metavar="N", help="at least (%(default)s)")
    parser.add_argument("--steps", type=positive, default=40, metavar="N", help="of the training (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the moments (%(default)s)")
    parser.add_argument("--output", type=Path, metavar="DIR", default=DEFAULT_OUTPUT, help="%(default)s")
    args = parser.parse_args(argv)
    folder, load_before = open_folder(args.output, NAME), os.getloadavg()
    adopt_orphans()
    with tempfile.TemporaryDirectory() as place:
        config = settings(Path(place) / "whole", args.steps)
        whole_s = train(config)
        assert whole_s is not None
        whole = read_contents(config.run_dir)
        trials: list[Trial] = []
        moments = random.Random(args.seed)
        with tqdm(total=args.kills, unit="kill") as bar:
            while sum(len(trial.kills) for trial in trials) < args.kills:
                config = settings(Path(place) / f"run-{len(trials)}", args.steps)
                trials.append(kill_and_resume(config, whole, whole_s, moments))
                bar.update(len(trials[-1].kills))
    figures = summarise(trials) | {"whole_s": whole_s, "num_rollouts": whole.num_rollouts}
    path = write_result(folder, config, figures, {"trials": [asdict(trial) for trial in trials]}, load_before)
    print_trials(trials, whole_s, whole)
    print(f"result: {path}")
    return 0 if figures["num_different"] == figures["num_left"] == 0 else 1


def settings(run_dir: Path, num_steps: int) -> Config:
    """A run of which everything but the time is determined by the seed."""
    return Config.model_validate(
        {
            "run_dir": str(run_dir),
            "engine": {"kind": "fake", "delay_s": 0.002},
            "sampling": {"max_tokens": 48},
            "controller": {"encoder": "fake"},
            "latency": {"signal": "tokens"},
            "sandbox": {"isolation": "best-effort"},
            "trainer": {"num_steps": num_steps, "queries_per_step": 2, "rollouts_per_query": 2, "checkpoint_every": 2},
            "evaluation": {
                "policies": ["trained", "lamas", "fixed:Generate", "fixed:Programmer"],
                "num_queries": 8,
                "max_queries_in_flight": 2,
            },
        }
    )


def adopt_orphans() -> None:
    """Become the parent of whatever outlives a process below this one, so that it can be found."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def kill_and_resume(config: Config, whole: Contents, whole_s: float, moments: random.Random) -> Trial:
    """Begin a run, kill it, resume it until it ends."""
    kills: list[Kill] = []
    after_s = moments.uniform(0, whole_s)
    while train(config, after_s) is None:
        kills.append(look_at(config.run_dir, after_s))
        after_s = moments.uniform(0, whole_s) if moments.random() < AGAIN else math.inf
    return Trial(tuple(kills), differences(read_contents(config.run_dir), whole))


def train(config: Config, kill_after_s: float = math.inf) -> float | None:
    """Begin or resume a run in a process of its own; seconds from when it had its folder to its end, None where it was
    killed before.

    Raises:
        RuntimeError: it failed.
    """
    folder = RunFolder(config.run_dir)
    file, log = (config.run_dir.with_suffix(suffix) for suffix in (".yaml", ".log"))
    file.write_text(dump_config(config), encoding="utf-8")
    command = [sys.executable, "-m", "lamas_local.cli", "train", "--config", str(file)]
    environment = folder.path / "environment.json"
    before = stamp(environment)
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--resume"] if folder.holds_run else command, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            latest = time.monotonic() + START_S
            while process.poll() is None and stamp(environment) == before and time.monotonic() < latest:
                time.sleep(0.001)
            begun = time.monotonic()
            process.wait(None if kill_after_s == math.inf else kill_after_s)
        except subprocess.TimeoutExpired:
            return None
        finally:
            process.kill()
            process.wait()
    if process.returncode != 0:
        raise RuntimeError(f"status {process.returncode}: {log.read_text()[-2000:]}")
    return time.monotonic() - begun


def stamp(path: Path) -> int | None:
    """Changes when the file is written again."""
    return path.stat().st_mtime_ns if path.exists() else None


def look_at(run: Path, after_s: float) -> Kill:
    """What is there now that its process is dead."""
    lines = [path.read_bytes() for name in ("traces.jsonl", "metrics.jsonl") for path in run.rglob(name)]
    return Kill(
        after_s=after_s,
        stage=stage_of(run),
        has_half_line=any(content and not content.endswith(b"\n") for content in lines),
        has_half_file=any(path.name != ".lock" for path in run.rglob(".*")),
        num_left=num_left(),
    )


def stage_of(run: Path) -> str:
    """The last thing that has left something in the folder."""
    if not RunFolder(run).holds_run:
        return "opening"
    contents = read_contents(run)
    if contents.num_evaluated:
        return "finished" if (run / "report.html").exists() else "evaluation"
    return "training" if RunFolder(run).metrics.exists() else "training the baseline"


def num_left() -> int:
    """Processes below this one, once what is about to end has ended."""
    latest = time.monotonic() + PATIENCE_S
    while True:
        while children := psutil.Process().children(recursive=True):
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                break
        if not children or time.monotonic() > latest:
            return len(children)
        time.sleep(0.05)


def summarise(trials: Sequence[Trial]) -> dict[str, int]:
    """Counts over all trials."""
    kills = [kill for trial in trials for kill in trial.kills]
    return {
        "num_kills": len(kills),
        "num_runs": len(trials),
        "num_different": sum(bool(trial.differences) for trial in trials),
        "num_left": sum(kill.num_left for kill in kills),
        "num_half_lines": sum(kill.has_half_line for kill in kills),
        "num_half_files": sum(kill.has_half_file for kill in kills),
    }


def print_trials(trials: Sequence[Trial], whole_s: float, whole: Contents) -> None:
    """What was under way at the kills, and what came of the runs."""
    kills = [kill for trial in trials for kill in trial.kills]
    rows = [
        (stage, str(count), *(str(sum(getattr(kill, name) for kill in kills if kill.stage == stage)) for name in LEFT))
        for stage, count in Counter(kill.stage for kill in kills).most_common()
    ]
    found = summarise(trials)
    notes = [
        f"{found['num_kills']} kills in {found['num_runs']} runs of {whole_s:.1f} s and {whole.num_rollouts} rollouts; "
        f"{found['num_different']} runs differ from the one that was not interrupted.",
        *(f"run {index}: {line}" for index, trial in enumerate(trials) for line in trial.differences),
    ]
    print_table("killed", ("at", "kills", "half a line", "half a file", "processes left"), rows, notes)


LEFT = ("has_half_line", "has_half_file", "num_left")

if __name__ == "__main__":
    sys.exit(main())
