"""Everything a rollout did: raw event times and token counts. Nothing derived is stored.

All times are seconds of the loop's clock (`serving.clock`): `time.monotonic()` unless simulated. Times, tokens and cost
are derived by `critical_path` and `latency`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter

from lamas_local.json_lines import read_lines
from lamas_local.sandbox import Status
from serving.types import RequestTiming

ExecutionMode = Literal["sequential", "layered", "dataflow"]
Reads = Literal["problem", "solution", "solutions", "solution_if_any"]
"""`solution`: the current one; `solutions`: all so far; `solution_if_any`: the current one where there is one."""
Architecture = tuple[tuple[str, ...], ...]
"""Operator names per layer, in drawn order; EarlyStop, if drawn, stands last."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why something has no result, attributed where it happened."""

    kind: str
    """The error's class name, for counting."""
    message: str


@dataclass(frozen=True, slots=True)
class RequestSpan:
    """One request to the engine."""

    request_id: str
    seed: int
    started: float
    ended: float
    num_cut_tokens: int = 0
    """Prompt tokens left out because the prompt was too long for the model."""
    timing: RequestTiming | None = None
    """None when the request failed."""
    num_prompt_tokens: int = 0
    num_cached_tokens: int = 0
    num_output_tokens: int = 0
    finish_reason: str | None = None
    text: str | None = None
    failure: Failure | None = None
    replica: str | None = None
    """Which of several engines completed it."""
    num_retries: int = 0
    """How often it was begun again because a replica was lost with it; `timing` is the last attempt's, but for
    `submitted`."""
    is_aborted: bool = False
    """Its answer could no longer matter, so the engine was told to stop; `ended` is that moment. No failure. What the
    engine had made of it by then is not known: its token counts are 0. Where a deadline stopped it and there was no
    other answer, `text` is what it had, and the counts are those of its texts."""
    kind: Literal["request"] = "request"


@dataclass(frozen=True, slots=True)
class ToolSpan:
    """One run of a tool, timeouts with their full time."""

    name: str
    asked: float
    """The operator asked for it; until `started` it waited for a place."""
    started: float
    ended: float
    status: Status | Literal["aborted"]
    """`aborted`: its result could no longer matter; whether it still waited for a place is not known."""
    isolation: str
    """What kept the run from doing harm."""
    output: str = ""
    """The last lines of its traceback, or of what it printed where there is none."""
    kind: Literal["tool"] = "tool"


Span = RequestSpan | ToolSpan
Step = tuple[Span, ...]
"""Spans that an operator ran at the same time. An operator's steps follow one another."""


@dataclass(frozen=True, slots=True)
class Recording:
    """What a run needs besides its spans to be used again (`trainer.reuse`)."""

    place: int
    """Which of the independent runs of its operator on its query and on `solutions` it is, from 0."""
    epoch: int
    """The pass over the split that it belongs to."""
    solutions: tuple[str, ...]
    """What it read."""
    added: tuple[str, ...]
    """What it added."""


@dataclass(frozen=True, slots=True)
class OperatorSpan:
    """One run of one operator."""

    name: str
    started: float
    ended: float
    steps: tuple[Step, ...] = ()
    failure: Failure | None = None
    reads: Reads = "problem"
    """What it declared to read. With the next two it says which results decided what others read."""
    num_added: int = 0
    """Solutions it added."""
    num_replaced: int = 0
    """Solutions, from the newest back, that the added ones stand for."""
    is_aborted: bool = False
    """Its result could no longer matter: it was stopped at `ended`, or never begun. No failure."""
    recording: Recording | None = None
    """Where it can be used again."""
    is_reused: bool = False
    """It did not run for this rollout: from `started` to `ended` it was taken over. Its steps are those of the run that
    was recorded, in an earlier rollout or one beside it, with that run's stamps and token counts."""


@dataclass(frozen=True, slots=True)
class LayerSpan:
    """One layer: its operators in drawn order. An architecture's last layer may be empty (EarlyStop drawn first).

    In `dataflow` a layer is no stage of its own: it spans its operators, and layers overlap.
    """

    started: float
    ended: float
    operators: tuple[OperatorSpan, ...]


@dataclass(frozen=True, slots=True)
class RolloutTrace:
    """An architecture run on a query: one line of `traces.jsonl`."""

    query_id: str
    rollout: int
    policy: str
    """`train` for a training rollout, else the evaluated policy's name."""
    step: int
    """The training step the rollout belongs to; for an evaluation, the number of steps behind its policy."""
    mode: ExecutionMode
    architecture: Architecture
    started: float
    ended: float
    layers: tuple[LayerSpan, ...]
    finaliser: LayerSpan
    answer: str | None
    """The final solution's text; None exactly when `failure` is set."""
    score: float | None = None
    """The task's score of the answer; None when the rollout failed, or where there is nothing to score by."""
    failure: Failure | None = None

    @property
    def is_live(self) -> bool:
        """Whether all of it ran for it: only then is its time on the clock its latency."""
        return not any(span.is_reused for layer in (*self.layers, self.finaliser) for span in layer.operators)


_ADAPTER: TypeAdapter[RolloutTrace] = TypeAdapter(RolloutTrace)


def to_json(trace: RolloutTrace) -> str:
    """One line of `traces.jsonl`, without its newline."""
    return _ADAPTER.dump_json(trace).decode()


def read_traces(path: Path) -> list[RolloutTrace]:
    """Every rollout of a `traces.jsonl`, in file order. A last line cut short by a killed writer is no rollout.

    Raises:
        ConfigError: another line is damaged.
    """
    return read_lines(path, _ADAPTER.validate_json)
