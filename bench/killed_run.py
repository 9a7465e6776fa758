"""What of a run must be the same however often it was killed on its way."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lamas_local.json_lines import read_lines
from lamas_local.latency import requests
from lamas_local.trace import RolloutTrace, read_traces

Rollout = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Contents:
    """Of a run folder and the baselines in it, by path below the folder."""

    checkpoints: Mapping[str, str]
    """SHA-256 of every file: weights, optimiser and running statistics to the bit."""
    steps: Mapping[str, tuple[tuple[int, float], ...]]
    """Step and loss of every line of metrics."""
    rollouts: Mapping[str, Counter[Rollout]]
    """How often each is in the traces; its stamps are no part of it."""
    leftovers: tuple[str, ...]
    """Hidden files but the locks."""

    @property
    def num_rollouts(self) -> int:
        """All of them."""
        return sum(counts.total() for counts in self.rollouts.values())

    @property
    def num_evaluated(self) -> int:
        """Those that are not of a training."""
        return sum(counts[one] for counts in self.rollouts.values() for one in counts if one[0] != "train")


def read_contents(run: Path) -> Contents:
    """What a run folder holds now, complete or not."""

    def name(path: Path) -> str:
        return str(path.relative_to(run))

    return Contents(
        checkpoints={
            name(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in run.rglob("checkpoints/step-*/*")
        },
        steps={
            name(path): tuple((row["step"], row["loss"]) for row in read_lines(path, json.loads))
            for path in run.rglob("metrics.jsonl")
        },
        rollouts={name(path): Counter(map(describe, read_traces(path))) for path in run.rglob("traces.jsonl")},
        leftovers=tuple(sorted(name(path) for path in run.rglob(".*") if path.name != ".lock")),
    )


def describe(trace: RolloutTrace) -> Rollout:
    """A rollout without its times."""
    texts = tuple(span.text for span in requests(trace))
    place = (trace.policy, trace.step, trace.query_id, trace.rollout)
    return (*place, trace.mode, trace.architecture, trace.answer, trace.score, texts)


def differences(got: Contents, whole: Contents) -> tuple[str, ...]:
    """A sentence for each thing that is not as it should be; none where the run is the same as the whole one."""
    found = [f"{name} is left" for name in got.leftovers]
    for kind in ("checkpoints", "steps", "rollouts"):
        ours, theirs = getattr(got, kind), getattr(whole, kind)
        found += [f"{name}: is not as in the whole run" for name in sorted(ours.keys() | theirs.keys())
                  if ours.get(name) != theirs.get(name)]  # fmt: skip
    found += [
        f"{name}: {one[:4]} is there {count} times"
        for name, counts in got.rollouts.items()
        for one, count in counts.items()
        if count != 1
    ]
    return tuple(found)
